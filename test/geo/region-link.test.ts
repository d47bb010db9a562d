// What a link does where sessions move: with what another region says of them, which in a datacenter has a place among
// the messages and is acknowledged when it is kept, and with messages of regions it has no link to (ADR 0023). And what
// it has subscribed to there.
import t from 'tap';
import type { TransportHandler } from '../../src/client/transport.ts';
import { LinkBlocks } from '../../src/core/link-properties.ts';
import { makeMessage } from '../../src/core/message.ts';
import type { Log } from '../../src/core/ports.ts';
import { Publication } from '../../src/core/publication.ts';
import { REGION_PROPERTY, RegionLinks } from '../../src/core/region-links.ts';
import type { SayWord } from '../../src/geo/applied-words.ts';
import { type LinkParts, RegionLink } from '../../src/geo/region-link.ts';
import type { RoamingEars } from '../../src/geo/roaming/roaming-links.ts';
import { encodeConnack } from '../../src/wire/connack.ts';
import { PacketType } from '../../src/wire/packet-type.ts';

const log: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

/** Of QoS 1. */
function publish(
  topic: string,
  packetId: number,
  payload: string,
  properties: Buffer = Buffer.alloc(0),
): Buffer {
  const text = Buffer.from(topic);
  const body = Buffer.alloc(2 + text.length + 2);
  body.writeUInt16BE(text.length, 0);
  text.copy(body, 2);
  body.writeUInt16BE(packetId, 2 + text.length);
  const size = Buffer.from([properties.length]);
  const rest = Buffer.concat([body, size, properties, Buffer.from(payload)]);
  return Buffer.concat([Buffer.from([0x32, rest.length]), rest]);
}

/** What `us` sends of a message that came to it over this path. */
function relayed(path: string): Buffer {
  const publication = new Publication();
  const id = 'ap._____________________w.AAAAAAAB.AYvP5Wh7';
  publication.setMessage(makeMessage(1, 'a/b', Buffer.from('x'), { qos: 1 }), 1);
  publication.mark = { origin: path === '' ? null : { id, path }, version: null };
  const blocks = new LinkBlocks(new RegionLinks('us', Buffer.alloc(16, 0xff)));
  blocks.write(publication, 1_700_000_000_123);
  return Buffer.from(blocks.bytes.subarray(0, blocks.end));
}

/** To one filter. */
function answer(type: number, packetId: number, code: number): Buffer {
  return Buffer.from([type << 4, 4, packetId >> 8, packetId & 0xff, 0, code]);
}

function world(isAtomic: boolean, more: Partial<LinkParts> = {}) {
  const handlers: TransportHandler[] = [];
  const acknowledged: number[] = [];
  /** SUBSCRIBE and UNSUBSCRIBE, with their packet identifiers. */
  const asked: [type: number, packetId: number][] = [];
  const wanted: Set<string> = new Set();
  /** Of what is noted: told when Redis has it. */
  const noted: ((failed: boolean) => void)[] = [];
  const notes: Map<string, Buffer | null> = new Map();
  const time = { nowMs: 1000 };
  const clock = { monotonicMs: () => time.nowMs, wallMs: () => 0 };
  const heard: string[] = [];
  const ends: ((isTaken: boolean) => void)[] = [];
  const words: { readonly say: SayWord; readonly done: (failed: boolean) => void }[] = [];
  const ears: RoamingEars = {
    answered: (region, payload) => heard.push(`${region} answers ${payload}`),
    moved: (region, payload, earlier, done) => {
      heard.push(`${region} says ${payload}`);
      earlier((failed) => heard.push(`keep ${payload} ${failed}`));
      ends.push(done);
    },
    missed: () => {},
  };
  const parts: LinkParts = {
    settings: {
      ...{ region: 'us', url: 'mqtt://us', username: undefined, password: undefined },
      ...{ tls: undefined, allow: ['#'], budgetAgeS: 60, budgetBytes: 1e6 },
    },
    region: 'eu',
    inlet: {} as LinkParts['inlet'],
    window: {} as LinkParts['window'],
    line: {
      addWord: (say: SayWord, done: (failed: boolean) => void) => words.push({ say, done }),
    } as unknown as LinkParts['line'],
    notes: {
      isAtomic,
      putNote: (key: string, value: Buffer | null) => notes.set(key, value).size,
      whenDurable: (_ticket: number, settled: (failed: boolean) => void) => noted.push(settled),
    } as unknown as LinkParts['notes'],
    *interest() {
      yield;
      return new Set(wanted);
    },
    memory: { hadSession: true, startsClean: false, filters: new Set() },
    isHolder: () => true,
    missed: () => {},
    linkTo: () => null,
    unlinked: { heard: () => {} },
    ears,
    clock,
    log,
    world: {
      timers: { nowMs: () => 0, after: () => () => {}, every: () => () => {} },
      random: () => 0.5,
      open: (_url, handler) => {
        handlers.push(handler);
        return {
          write: (bytes) => {
            for (let at = 0; at < bytes.length; at += 2 + bytes[at + 1]!) {
              const type = bytes[at]! >> 4;
              const packetId = bytes.readUInt16BE(at + 2);
              if (type === PacketType.PUBACK) acknowledged.push(packetId);
              if (type === PacketType.SUBSCRIBE || type === PacketType.UNSUBSCRIBE)
                asked.push([type, packetId]);
            }
          },
          ...{ unsentBytes: () => 0, pause: () => {}, resume: () => {} },
          ...{ end: () => {}, destroy: () => {} },
        };
      },
    },
    unsubscribeAfterMs: 1000,
    ...more,
  };
  const link = new RegionLink(parts);
  link.start();
  const [handler] = handlers;
  handler!.onOpen();
  handler!.onBytes(
    encodeConnack(5, {
      sessionPresent: true,
      reasonCode: 0,
      userProperties: [[REGION_PROPERTY, 'us']],
    }),
  );
  t.ok(link.isUp);
  const bytes = async (...packets: Buffer[]) => {
    const chunk = Buffer.concat(packets);
    handler!.onBytes(chunk);
    chunk.fill(0);
    await new Promise(setImmediate);
  };
  return { link, bytes, acknowledged, heard, ends, words, asked, wanted, noted, notes, time };
}

t.test('in a datacenter a word is put into the line', async (t) => {
  const { bytes, acknowledged, heard, ends, words } = world(false);
  await bytes(publish('$roam/moved', 7, 'W'), publish('$roam/answer', 8, 'A'));
  t.strictSame(heard, ['us answers A'], 'it is not its turn');
  const later: ((failed: boolean) => void)[] = [];
  words[0]!.say(
    (then) => later.push(then),
    (isTaken) => words[0]!.done(!isTaken),
  );
  t.strictSame(heard.slice(1), ['us says W'], 'as it was, whatever the buffer has by now');
  later[0]!(false);
  t.strictSame(heard.slice(2), ['keep W false']);
  await bytes();
  t.strictSame(acknowledged, [], 'nothing before it is kept');
  ends[0]!(true);
  await bytes();
  t.strictSame(acknowledged, [7, 8]);
});

t.test('on a node alone it is heard at once', async (t) => {
  const { bytes, acknowledged, heard, ends, words } = world(true);
  await bytes(publish('$roam/moved', 7, 'W'));
  t.strictSame(heard, ['us says W', 'keep W false']);
  t.equal(words.length, 0);
  t.strictSame(acknowledged, []);
  ends[0]!(true);
  await bytes();
  t.strictSame(acknowledged, [7]);
});

t.test('regions are noted whose messages come by way of another one', async (t) => {
  const unlinked: string[] = [];
  const more: Partial<LinkParts> = {
    inlet: { refusal: () => null } as unknown as LinkParts['inlet'],
    notes: {
      isAtomic: true,
      putNote: () => 0,
      whenDurable: () => {},
    } as unknown as LinkParts['notes'],
    // All of them have come before.
    window: { seen: () => 1 } as unknown as LinkParts['window'],
    unlinked: { heard: (region) => unlinked.push(region) },
  };
  const { bytes } = world(true, more);
  await bytes(publish('a/b', 1, 'x', relayed('')));
  t.strictSame(unlinked, []);
  await bytes(publish('a/b', 2, 'x', relayed('ap')), publish('a/b', 3, 'x', relayed('ap')));
  t.strictSame(unlinked, ['ap'], 'once for a path that stays');
  unlinked.length = 0;
  const staying = world(true, { ...more, ears: null });
  await staying.bytes(publish('a/b', 1, 'x', relayed('ap')));
  t.strictSame(unlinked, [], 'sessions stay: all is well');
});

t.test(
  'what is not wanted any more is given up when its SUBSCRIBE is answered, not before',
  async (t) => {
    const { link, bytes, asked, wanted, noted, notes, time } = world(false);
    wanted.add('a/#');
    link.sync();
    t.strictSame(asked, [], 'its note is not in Redis');
    wanted.clear();
    link.sync();
    time.nowMs += 5000;
    link.tick();
    t.strictSame(asked, [], 'it would come behind the UNSUBSCRIBE, and nobody would know of it');
    for (const settled of noted) settled(false);
    link.tick();
    await bytes();
    t.strictSame(
      asked.map(([type]) => type),
      [PacketType.SUBSCRIBE],
    );
    await bytes(answer(PacketType.SUBACK, asked[0]![1], 2));
    link.tick();
    await bytes();
    t.strictSame(
      asked.map(([type]) => type),
      [PacketType.SUBSCRIBE, PacketType.UNSUBSCRIBE],
    );
    t.ok(notes.get('s/us/a/#'), 'it is known for as long as it may be there');
    await bytes(answer(PacketType.UNSUBACK, asked[1]![1], 0));
    t.equal(notes.get('s/us/a/#'), null);
  },
);
