/**
 * `/health/ready`: whether this node should be given clients. From what the composition root knows to
 * one line per check, with the reason of each that fails, and a warning for what is wrong and no reason
 * to send clients away. Read by everybody: names of nodes, no addresses and no causes.
 */
import type { DrainProgress } from '../core/drain.ts';
import type { CassandraReport } from './cassandra-view.ts';
import type { ClusterReport, NodeState, OwnNode } from './cluster-view.ts';

export interface Readiness {
  /** The node is stopping. */
  readonly isDraining: boolean;
  readonly isStoreOpen: boolean;
  /** False while the store refuses durable messages, as when the disk is full. */
  readonly isStoreWritable: boolean;
  readonly listenersUp: number;
  readonly listenersConfigured: number;
}

export const checkNames = [
  'store',
  'listeners',
  'draining',
  'cluster',
  'redis',
  'cassandra',
] as const;

export interface ReadinessCheck {
  readonly name: (typeof checkNames)[number];
  readonly ok: boolean;
  /** Why not; absent when it is well. */
  readonly reason?: string;
  /** What is wrong although the node should have clients; absent when nothing is. */
  readonly warning?: string;
}

/**
 * `drain`: null while nobody is sent elsewhere; `cluster`: null when the node is alone; `cassandra`: null
 * when there is none.
 */
export function readinessChecks(
  state: Readiness,
  drain: DrainProgress | null = null,
  cluster: ClusterReport | null = null,
  cassandra: CassandraReport | null = null,
): ReadinessCheck[] {
  const checks = [
    check('store', storeReason(state)),
    check('listeners', listenersReason(state)),
    check('draining', drainingReason(state, drain)),
  ];
  if (cluster !== null) {
    checks.push(check('cluster', clusterReason(cluster.node)), redisCheck(cluster));
  }
  if (cassandra !== null) checks.push(cassandraCheck(cassandra));
  return checks;
}

/** One line for each check that is well but for something. */
export function warningsOf(checks: readonly ReadinessCheck[]): string[] {
  return checks.flatMap(({ name, warning }) =>
    warning === undefined ? [] : [`${name}: ${warning}`],
  );
}

function check(name: ReadinessCheck['name'], reason: string | null): ReadinessCheck {
  return reason === null ? { name, ok: true } : { name, ok: false, reason };
}

function storeReason(state: Readiness): string | null {
  if (!state.isStoreOpen) return 'the store is not open';
  if (!state.isStoreWritable) return 'the store refuses durable messages; the log says why';
  return null;
}

function listenersReason({ listenersUp, listenersConfigured }: Readiness): string | null {
  if (listenersUp === listenersConfigured && listenersUp > 0) return null;
  return `${listenersUp} of ${listenersConfigured} listeners accept connections`;
}

function drainingReason({ isDraining }: Readiness, drain: DrainProgress | null): string | null {
  if (isDraining) return 'the node is stopping';
  if (drain === null) return null;
  const { remaining } = drain;
  return `the node is being drained, ${remaining} ${remaining === 1 ? 'client is' : 'clients are'} left`;
}

/** What a state means, for people. */
export const stateTexts: Readonly<Record<NodeState, string>> = {
  out: 'the node is no member of its datacenter: it has not registered, or the others gave it up',
  joining: 'the node is joining its datacenter',
  ready: 'the node is a member and serves clients',
  fenced: 'the lease could not be renewed, so nothing is matched or acknowledged until it is',
  left: 'the node has left its datacenter',
};

function clusterReason({ state, reason, waitsFor }: OwnNode): string | null {
  if (state === 'ready') return null;
  const more = reason === '' ? '' : `; ${reason}`;
  const waits = waitsFor.length === 0 ? '' : `; it waits for ${waitsFor.join(', ')}`;
  return `${stateTexts[state]}${more}${waits}`;
}

/** Connected clients go on without Redis (P6), so this never takes the node out. */
function redisCheck({ redis, degraded }: ClusterReport): ReadinessCheck {
  const well: ReadinessCheck = { name: 'redis', ok: true };
  if (degraded.isActive && degraded.reason !== '') return { ...well, warning: degraded.reason };
  if (redis.isUp) return well;
  return { ...well, warning: 'Redis does not answer: new durable sessions are refused' };
}

/** The nodes' mirrors serve without it; but not before one of them was read. */
function cassandraCheck({
  isFilling,
  round,
  state,
  reasons,
  warning,
}: CassandraReport): ReadinessCheck {
  const name = 'cassandra';
  if (isFilling) {
    const percent = Math.floor((round?.progress ?? 0) * 100);
    const who = round === null ? 'another node' : 'this node';
    const far = round === null ? '' : `, ${percent} % of the ring done`;
    return { name, ok: false, reason: `${who} reads the retained messages${far}` };
  }
  if (warning !== '') return { name, ok: true, warning };
  if (state === 'up') return { name, ok: true };
  return { name, ok: true, warning: reasons[0] ?? `Cassandra is ${state}` };
}
