/**
 * The answer of /cluster as lines for people: what this node is as pairs, and one row for each node with
 * both directions of its link. Pure; what other nodes said of themselves comes out safe for a terminal.
 */
import type { Column } from './action.ts';
import { safeText } from './terminal-text.ts';
import { valueText } from './value-text.ts';

type Fields = Readonly<Record<string, unknown>>;

export const nodeColumns: readonly Column[] = [
  { field: 'nodeId', title: 'NODE' },
  { field: 'incarnation', title: 'INCARNATION' },
  { field: 'address', title: 'ADDRESS' },
  { field: 'release', title: 'RELEASE' },
  { field: 'protocol', title: 'PROTOCOL', isNumber: true },
  { field: 'state', title: 'STATE' },
  { field: 'since', title: 'SINCE' },
  { field: 'out', title: 'OUT' },
  { field: 'in', title: 'IN' },
  { field: 'lag', title: 'LAG', isNumber: true },
  { field: 'lagBytes', title: 'LAG BYTES', isNumber: true },
  { field: 'roundTrip', title: 'RTT MS', isNumber: true },
  { field: 'answersWaiting', title: 'HELD', isNumber: true },
  { field: 'sessionsOwned', title: 'SESSIONS', isNumber: true },
  { field: 'reconnects', title: 'RECONNECTS', isNumber: true },
  { field: 'dropped', title: 'DROPPED', isNumber: true },
];

/** Enough to tell two of them apart. */
const INCARNATION_SHOWN = 8;

function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : {};
}

function listOf(value: unknown): Fields[] {
  return Array.isArray(value) ? value.map(fieldsOf) : [];
}

function textOf(fields: Fields, name: string): string {
  return valueText(name, fields[name]);
}

function numberOf(fields: Fields, name: string): number {
  const value = fields[name];
  return typeof value === 'number' ? value : 0;
}

function timeOf(fields: Fields): string {
  return valueText('sinceAtMs', fields.sinceMs);
}

function incarnationOf(fields: Fields, name = 'incarnation'): string {
  return safeText(String(fields[name] ?? '').slice(0, INCARNATION_SHOWN));
}

export function clusterPairs(answer: unknown): [string, string][] {
  const top = fieldsOf(answer);
  const [node, redis, degraded] = [top.node, top.redis, top.degraded].map(fieldsOf) as [
    Fields,
    Fields,
    Fields,
  ];
  const state = textOf(node, 'state');
  const waits = Array.isArray(node.waitsFor) && node.waitsFor.length > 0;
  const pairs: [string, string][] = [
    ['node', `${textOf(node, 'nodeId')} (${incarnationOf(node)})`],
    ['state', node.sinceMs ? `${state} since ${timeOf(node)}` : state],
  ];
  if (node.reason) pairs.push(['', textOf(node, 'reason')]);
  if (waits) pairs.push(['waits for', textOf(node, 'waitsFor')]);
  pairs.push(['lease', `${Math.round(numberOf(node, 'leaseRemainingMs'))} ms left`]);
  pairs.push(['redis', redis.isUp === true ? 'up' : `away: ${textOf(redis, 'problem')}`]);
  for (const server of listOf(redis.servers)) {
    const { problem } = server;
    const state = `${textOf(server, 'state')}${problem ? `: ${textOf(server, 'problem')}` : ''}`;
    const version = textOf(server, 'version');
    pairs.push(['  server', `${textOf(server, 'server')}  Redis ${version}  ${state}`]);
  }
  const [p50, p99] = [textOf(redis, 'roundTripP50Ms'), textOf(redis, 'roundTripP99Ms')];
  pairs.push(['  round trip', `p50 ${p50} ms, p99 ${p99} ms`]);
  const waiting = `${textOf(redis, 'waitingCalls')} calls, ${textOf(redis, 'waitingMessages')} messages`;
  pairs.push(['  waiting', waiting]);
  const lost = `${textOf(redis, 'lostMessages')} messages in all`;
  if (numberOf(redis, 'lostMessages') > 0) pairs.push(['  lost', lost]);
  for (const promise of listOf(redis.promises)) {
    const { holds } = promise;
    const word = holds === true ? 'holds' : 'does not hold';
    pairs.push([`  ${textOf(promise, 'promise')}`, `${word}: ${textOf(promise, 'detail')}`]);
  }
  const mode = `mode ${textOf(degraded, 'mode')}`;
  const why = `${textOf(degraded, 'reason')} (${mode}, ${textOf(degraded, 'journaledMessages')} messages in the journal)`;
  pairs.push(['degraded', degraded.isActive === true ? why : `no (${mode})`]);
  const owned = `${textOf(top, 'sessionsOwned')} owned here`;
  pairs.push(['sessions', `${owned}, ${textOf(top, 'sessionsKnown')} known`]);
  pairs.push(['answers held', textOf(top, 'barrierWaiting')]);
  pairs.push(['route drifts', textOf(top, 'routeDrifts')]);
  return pairs;
}

/** This node first; then members, then who has a link and is none. */
export function clusterRows(answer: unknown): string[][] {
  const top = fieldsOf(answer);
  const node = fieldsOf(top.node);
  const links = listOf(top.links);
  const members = listOf(top.members);
  const { barrierWaiting: answersWaiting, sessionsOwned } = top;
  const nodeId = `${String(node.nodeId ?? '')} *`;
  const own = { ...node, nodeId, answersWaiting, sessionsOwned };
  const rows = [rowOf(own, [])];
  const ofPeer = (incarnation: unknown): Fields[] =>
    links.filter(({ peer }) => peer === incarnation);
  for (const member of members) rows.push(rowOf(member, ofPeer(member.incarnation)));
  const known = new Set(members.map(({ incarnation }) => incarnation));
  const strangers = new Set(links.map(({ peer }) => peer).filter((peer) => !known.has(peer)));
  for (const peer of strangers) {
    const both = ofPeer(peer);
    const { nodeId, release } = both[0]!;
    rows.push(rowOf({ nodeId, release, incarnation: peer }, both));
  }
  return rows;
}

function rowOf(node: Fields, links: readonly Fields[]): string[] {
  const [out, back] = ['out', 'in'].map((way) => links.find(({ direction }) => direction === way));
  const sum = (name: string): string =>
    links.length === 0 ? '-' : String(links.reduce((all, link) => all + numberOf(link, name), 0));
  const up = (link: Fields | undefined): string =>
    link === undefined ? '-' : link.isUp === true ? 'up' : 'down';
  const cells: Record<string, string> = {
    nodeId: textOf(node, 'nodeId'),
    incarnation: incarnationOf(node),
    address: textOf(node, 'address'),
    release: textOf(node, 'release'),
    protocol: textOf(node, 'protocol'),
    state: textOf(node, 'state'),
    since: timeOf(node),
    answersWaiting: textOf(node, 'answersWaiting'),
    sessionsOwned: textOf(node, 'sessionsOwned'),
    out: up(out),
    in: up(back),
    lag: sum('unackedFrames'),
    lagBytes: sum('unackedBytes'),
    roundTrip: out === undefined ? '-' : textOf(out, 'roundTripMs'),
    reconnects: sum('reconnects'),
    dropped: sum('dropped'),
  };
  return nodeColumns.map(({ field }) => cells[field] ?? '-');
}
