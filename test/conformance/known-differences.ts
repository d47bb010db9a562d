/**
 * Where a foreign broker answers otherwise than the tests ask, and why: used when the tests
 * run with MQTT_HOST and CONFORMANCE_PEER. Each entry is expected to fail there; one that
 * passes fails the run, so the list stays true. Our own broker has no such list.
 */
import type { ProtocolVersion } from './packets.ts';

export interface Difference {
  readonly reason: string;
  /** What the titles of the tests contain. */
  readonly titles: readonly string[];
  /** Empty: every version the test runs for. */
  readonly versions: readonly ProtocolVersion[];
  /** It depends on the moment, so passing is no surprise. */
  readonly sometimes?: boolean;
}

/** mosquitto 2.0.11, as Debian 12 ships it, with one anonymous listener. */
export const MOSQUITTO: readonly Difference[] = [
  {
    reason: 'it closes on a wrong CONNECT without the CONNACK that MQTT 5 allows',
    versions: [5],
    titles: [
      'will fields without a will flag are malformed',
      'will QoS must be 0 without a will',
      'will QoS 3 is refused',
      'will retain must be 0 without a will',
      'a user name without its flag is malformed',
      'a user name flag needs a user name',
      'a password without its flag is malformed',
      'a password flag needs a password',
      'the reserved CONNECT flag must be 0',
      'a will flag without will topic and payload is malformed',
      'the will topic must be UTF-8',
      'the user name must be UTF-8',
      'a CONNECT without a client id field is malformed',
      'the client id must be UTF-8',
      'a malformed CONNECT is closed, before MQTT 5 without CONNACK',
      'wrong CONNECT properties are refused',
      'an unknown property or a wrong property length is malformed',
      'ill-formed UTF-8 in a client id is refused',
      'a will topic must not have wildcards',
    ],
  },
  {
    reason: 'it closes without the DISCONNECT that MQTT 5 asks for',
    versions: [5],
    titles: [
      'a second CONNECT is a protocol error',
      'a second connection with the same client id takes over',
      'an empty client id gets a new one, told in CONNACK',
      'taking over goes on with the session of the old connection',
      'taking over with clean start 1 leaves nothing of the old session',
      'an empty topic without an alias, and two aliases, are protocol errors',
      'reserved flags of AUTH must be 0',
      'AUTH from a client without an authentication method',
      'wrong properties in DISCONNECT are refused',
      'a DISCONNECT longer than it may be is malformed',
      'reserved flags of DISCONNECT must be 0',
      'ill-formed strings in properties are malformed',
      'a remaining length of more than four bytes is malformed',
      'packets cut short inside are malformed',
      'properties of another packet are refused in acknowledgements',
      'a reason string given twice is a protocol error',
      'subscription identifier 0, or two of them, is a protocol error',
      'choice: DISCONNECT 0x8D tells a silent client',
    ],
  },
  {
    reason: 'it takes wrong flags or bytes too many in packets that need nothing of them',
    versions: [],
    titles: [
      'reserved flags of acknowledgements must be as listed',
      'reserved flags of PINGREQ must be 0',
      'a PINGREQ with a body is malformed',
      'acknowledgements with bytes too many are malformed',
      'packets only a server sends are refused from a client',
    ],
  },
  {
    reason: 'it closes on wrong flags of PUBREL without DISCONNECT',
    versions: [5],
    titles: ['reserved flags of PUBREL must be 0010'],
  },
  {
    reason: 'it takes lengths that are not in their shortest form',
    versions: [5],
    titles: ['lengths that are not in their shortest form are malformed'],
  },
  {
    reason: 'it does not look at DUP of a QoS 0 PUBLISH',
    versions: [4, 5],
    titles: ['DUP on QoS 0 is refused'],
  },
  {
    reason: 'it does not check all rules for properties of PUBLISH and of the will',
    versions: [5],
    titles: [
      'wrong will properties are refused',
      'wildcards in a response topic are refused',
      'a subscription identifier from a client is a protocol error',
      'wrong PUBLISH properties are refused',
    ],
  },
  {
    reason: 'it closes when a QoS 2 identifier under way comes again without DUP',
    versions: [],
    titles: ['until PUBREL a repeated PUBLISH is acknowledged and delivered once'],
  },
  {
    reason: 'it answers unknown QoS 2 identifiers as if it knew them',
    versions: [5],
    titles: [
      'PUBREL for an unknown identifier gets PUBCOMP, 0x92 in MQTT 5',
      'PUBREC for an unknown identifier gets PUBREL 0x92',
    ],
  },
  {
    reason: 'it lets messages expire that were sent, and then sends nothing behind them',
    versions: [5],
    titles: [
      'a message that has been sent does not expire any more',
      'a message waiting for the receive maximum expires',
    ],
  },
  {
    reason: 'it counts a place of the receive maximum as free at PUBREC',
    versions: [5],
    titles: ['no more QoS 1 and 2 messages are under way than the client takes'],
  },
  {
    reason: 'it sends everything unacknowledged again, whatever the new receive maximum',
    versions: [5],
    titles: ['the receive maximum of a new connection holds for what is sent again'],
  },
  {
    reason: 'it answers PUBREC 0x97 to what exceeds its receive maximum, and goes on',
    versions: [5],
    titles: ['more than the receive maximum of the server is refused with 0x93'],
  },
  {
    reason: 'a message it drops for its size keeps its place in the receive maximum',
    versions: [5],
    titles: ['a message larger than the client takes is not sent, and counts as sent'],
  },
  {
    reason: 'it forgets the first byte when it compares with the maximum packet size',
    versions: [5],
    titles: ['a packet of exactly the maximum size is sent'],
  },
  {
    reason: 'it checks keep alives every few seconds only',
    versions: [],
    sometimes: true,
    titles: [
      'a client silent for 1.5 times its keep alive is closed',
      'the will is published when the keep alive runs out',
    ],
  },
  {
    reason: 'it publishes the will after DISCONNECT 0x04 only, not after other reasons',
    versions: [5],
    titles: ['a DISCONNECT with an error code publishes the will'],
  },
  {
    reason: 'the end of a session does not publish its delayed will',
    versions: [5],
    titles: [
      'the end of the session publishes a will before its delay is over',
      'clean start ends the old session and so publishes its delayed will',
    ],
  },
  {
    reason: 'of overlapping subscriptions it uses the first it finds',
    versions: [3, 4],
    titles: ['overlapping subscriptions deliver with the highest of their QoS'],
  },
  {
    reason: 'it sends a copy for each overlapping subscription, or the first it finds',
    versions: [],
    titles: [
      'choice: overlapping subscriptions deliver one copy, with the highest QoS',
      'choice: one copy carries the identifiers of all matching subscriptions',
    ],
  },
  {
    reason: 'a subscription made again keeps its old No Local',
    versions: [5],
    titles: ['no local keeps messages from the connection that published them'],
  },
  {
    reason: 'it accepts No Local on shared subscriptions',
    versions: [5],
    titles: ['no local on a shared subscription is a protocol error'],
  },
  {
    reason: 'it takes a share name without characters',
    versions: [5],
    titles: ['malformed shared filters are refused'],
  },
  {
    reason: 'it sends retained messages to new shared subscriptions',
    versions: [],
    titles: ['a shared subscription gets no retained messages when it is made'],
  },
  {
    reason: 'it drops what a leaving member of a group left unacknowledged, as it may',
    versions: [],
    titles: ['choice: QoS 1 messages a member left unacknowledged go to another member'],
  },
  {
    reason: 'it sends no topic aliases, as it may',
    versions: [],
    titles: ['choice: the server uses aliases towards a client that takes them'],
  },
  {
    reason: 'to it a $-topic other than its own is a topic like any other',
    versions: [],
    titles: ['choice: a filter of a $-namespace that is not open', 'choice: a will to a $-topic'],
  },
  {
    reason: 'it reads text frames like binary ones',
    versions: [],
    titles: ['a text frame closes the connection'],
  },
];

const PEERS: Readonly<Record<string, readonly Difference[]>> = { mosquitto: MOSQUITTO };

export interface KnownDifference {
  readonly reason: string;
  readonly isSometimes: boolean;
}

/** Why this test fails on this peer, or null where it must pass. */
export function differenceOf(
  peer: string,
  title: string,
  version: ProtocolVersion,
): KnownDifference | null {
  if (peer === '') return null;
  const list = PEERS[peer];
  if (list === undefined) throw new Error(`no list of known differences for ${peer}`);
  const found = list.find(
    ({ titles, versions }) =>
      titles.some((part) => title.includes(part)) &&
      (versions.length === 0 || versions.includes(version)),
  );
  return found === undefined
    ? null
    : { reason: found.reason, isSometimes: found.sometimes ?? false };
}
