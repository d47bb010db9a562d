/**
 * What must be true of a datacenter when nothing happens any more: all nodes know the same sessions,
 * routes and retained messages, Redis knows the same owners, nothing waits; and when every session has
 * ended, nothing is left of any. Used by cluster-run.ts.
 */
import type { SessionImage } from '../../src/core/cluster-ports.ts';
import { decodeSubscriptions } from '../../src/store/redis/subscriptions-codec.ts';
import { RouteShadow } from './route-shadow.ts';
import type { SimLife, SimSite } from './sim-site.ts';

const SESSIONS = 'sim:s:{';
const NOBODYS = ' (nobody has it)';

export interface Differences {
  /** What breaks a promise, or waits. */
  readonly hard: string[];
  /**
   * Nodes that know less than others of a session nobody is connected to. It was never told to its
   * client as done, as the node that was to tell died; whoever opens it next tells all.
   */
  readonly soft: string[];
}

/** Differences in words; none: it is at rest. */
export function unsettled(site: SimSite): Differences {
  const found: string[] = [];
  const lives = site.machines.flatMap(({ life }) => (life === null ? [] : [life]));
  const [first] = lives;
  if (first === undefined) return { hard: ['nobody is there'], soft: [] };
  const sessions = imagesOf(first);
  const retained = retainedOf(first);
  for (const life of lives) {
    const { name } = life.node;
    if (life !== first) {
      found.push(...differences(`sessions at ${name}`, sessions, imagesOf(life)));
      found.push(...differences(`retained at ${name}`, retained, retainedOf(life)));
    }
    for (const other of lives) {
      if (other === life) continue;
      const said = RouteShadow.announced(other.broker.remote!);
      const held = life.shadow.of(other.membership.incarnation);
      if (said.join('\n') === held.join('\n')) continue;
      found.push(`${name} holds of ${other.node.name}: ${held.join(', ')}; it says: ${said}`);
    }
    found.push(...waiting(life));
  }
  found.push(...differences('sessions in Redis', sessions, imagesInRedis(site)));
  return {
    hard: found.filter((line) => !line.endsWith(NOBODYS)),
    soft: found.filter((line) => line.endsWith(NOBODYS)),
  };
}

function differences(
  what: string,
  wanted: ReadonlyMap<string, string>,
  found: ReadonlyMap<string, string>,
): string[] {
  const lines: string[] = [];
  const say = (key: string, text: string, ...values: (string | undefined)[]): void => {
    const isNobodys = values.every((value) => value === undefined || value.includes(' - '));
    lines.push(`${what}: ${key}${text}${isNobodys ? NOBODYS : ''}`);
  };
  for (const [key, value] of wanted) {
    const other = found.get(key);
    if (other !== value) say(key, `: ${other}, not ${value}`, other, value);
  }
  for (const [key, value] of found) if (!wanted.has(key)) say(key, ' is nowhere else', value);
  return lines;
}

function imagesOf({ broker }: SimLife): Map<string, string> {
  const images = new Map<string, string>();
  for (const image of broker.remote!.knownSessions()) images.set(image.clientId, shown(image));
  return images;
}

function subscriptionsOf(record: string): SessionImage['subscriptions'] {
  return record === '' ? [] : decodeSubscriptions(Buffer.from(record, 'latin1')).subscriptions;
}

type Shown = Pick<SessionImage, 'sid' | 'epoch' | 'owner' | 'subscriptions'>;

function shown({ sid, epoch, owner, subscriptions }: Shown): string {
  const filters = subscriptions.map(({ filter, qos }) => `${filter}:${qos}`).sort();
  return `${sid} ${epoch} ${owner ?? '-'} ${filters.length > 0 ? filters.join(' ') : 'nothing'}`;
}

/** What whoever opens it next, or joins, will read. */
function imagesInRedis(site: SimSite): Map<string, string> {
  const images = new Map<string, string>();
  for (const [key, value] of site.redis.db.values()) {
    if (!key.startsWith(SESSIONS) || !key.endsWith('}:m') || value.type !== 'hash') continue;
    if (!value.hash.has('head')) continue;
    // As keys.ts escapes what is plain ASCII.
    const clientId = decodeURIComponent(key.slice(SESSIONS.length, -3));
    const owner = value.hash.get('owner')!;
    images.set(
      clientId,
      shown({
        subscriptions: subscriptionsOf(value.hash.get('rec') ?? ''),
        sid: value.hash.get('sid')!,
        epoch: Number(value.hash.get('epoch')),
        owner: owner === '' ? null : owner,
      }),
    );
  }
  return images;
}

export function retainedOf({ broker }: SimLife): Map<string, string> {
  const retained = new Map<string, string>();
  for (const { topic, payload, version } of broker.admin.kept()) {
    const { timeUs = 0, writer = 0 } = version ?? {};
    retained.set(topic, `${payload.toString('latin1')} ${timeUs}/${writer}`);
  }
  return retained;
}

/** What waits for something, though nothing happens. */
function waiting({ node, broker, cluster, store, journal }: SimLife): string[] {
  const state = cluster.state();
  const counts = {
    parkedAcks: broker.stats.parkedAcks,
    outboxBytes: broker.stats.outboxBytes,
    answersWaiting: state.answersWaiting,
    opening: state.opening,
    deadNodes: state.deadNodes,
    waitingMessages: store.waitingMessages,
    ticketsWaiting: store.ticketsWaiting,
    settleLag: store.settleLag,
    journaled: journal.messages,
    copies: journal.copies,
    internalErrors: broker.stats.internalErrors,
  };
  return Object.entries(counts).flatMap(([name, count]) =>
    count === 0 ? [] : [`${node.name}: ${name} is ${count}`],
  );
}

/** A durable subscription that was granted: every node has to know it. */
export function isKnown(site: SimSite, clientId: string, filter: string): string[] {
  return site.machines.flatMap(({ life }) => {
    const image = life?.broker.remote?.knownSession(clientId) ?? null;
    const known = image?.subscriptions.some((one) => one.filter === filter) === true;
    return known || life === null
      ? []
      : [`${life.node.name} does not know ${clientId} at ${filter}`];
  });
}

/**
 * Every client has ended its session: what is left all the same. `isForgiving`: nodes did not know of all
 * sessions, so they cannot have told of all ends.
 */
export function leftOver(site: SimSite, isForgiving: boolean): string[] {
  const found: string[] = [];
  for (const { life } of site.machines) {
    if (life === null) continue;
    const { stats } = life.broker;
    const counts = {
      sessions: stats.sessions,
      subscriptions: stats.subscriptions,
      sharedSubscriptions: stats.sharedSubscriptions,
      connections: stats.connections,
      clientsConnected: stats.clientsConnected,
      queuedMessages: stats.queuedMessages,
      queuedBytes: stats.queuedBytes,
      inflightMessages: stats.inflightMessages,
    };
    for (const [name, count] of Object.entries(counts)) {
      if (isForgiving && /^(sessions|subscriptions|sharedSubscriptions)$/.test(name)) continue;
      if (count !== 0) found.push(`${life.node.name}: ${name} is ${count} in the end`);
    }
    found.push(...waiting(life));
  }
  const members = site.machines.map(({ life }) => `sim:o:{${life?.membership.incarnation}}`);
  for (const key of site.redis.db.values().keys()) {
    // What a living node has opened may still stand there: it is looked at in vain when it dies.
    if (members.includes(key)) continue;
    // That a session has ended goes by itself after a while.
    if (key.endsWith('}:e')) continue;
    if (/^sim:[sxo]:/.test(key)) found.push(`Redis still has ${key} in the end`);
  }
  return found;
}
