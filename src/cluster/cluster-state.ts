/** What operators see of the datacenter from one node: `causeway ctl cluster`, health and metrics. */
import type { Incarnation } from '../core/cluster-ports.ts';
import type { ClusterCounters } from './cluster-counters.ts';
import type { JoiningPhase } from './joining.ts';
import type { PeerNode } from './peer-node.ts';
import type { LinkState, MembershipState } from './ports.ts';
import type { StartedMembership } from './ports-local.ts';
import type { RouteTable } from './route-table.ts';

export interface NodeState {
  readonly incarnation: Incarnation;
  readonly nodeId: string;
  readonly address: string;
  readonly release: string;
  readonly isSelf: boolean;
  /** Of a peer: `joining` until it counts this node in and is counted in by it. */
  readonly state: MembershipState;
  /** Ms of its own lease that are left; -1: not known, as of peers. */
  readonly leaseRemainingMs: number;
  /** Outbound and inbound; null: none yet, or self. */
  readonly linkOut: LinkState | null;
  readonly linkIn: LinkState | null;
  /** Frames it was sent and has not applied. */
  readonly lagFrames: number;
  readonly drifts: number;
  readonly interests: number;
  readonly sessionsOwned: number;
  /** Answers here that wait until it has applied something. */
  readonly answersWaiting: number;
  /** Sessions it was asked to let go of. */
  readonly takeoversWaiting: number;
}

export interface ClusterState {
  readonly state: MembershipState;
  readonly phase: JoiningPhase;
  readonly hasRedis: boolean;
  readonly generation: string;
  readonly nodes: readonly NodeState[];
  /** Members this node waits for before it is ready. */
  readonly joinWaitsOn: readonly Incarnation[];
  readonly answersWaiting: number;
  readonly opening: number;
  /** Dead nodes whose sessions are not all taken yet. */
  readonly deadNodes: number;
  readonly isReasserting: boolean;
  readonly tombstones: number;
  readonly counters: Readonly<ClusterCounters>;
}

export function selfState(
  membership: StartedMembership,
  record: { readonly nodeId: string; readonly address: string; readonly release: string },
  own: RouteTable,
  nowMs: number,
): NodeState {
  const { leaseEndMs } = membership;
  return {
    incarnation: membership.incarnation,
    nodeId: record.nodeId,
    address: record.address,
    release: record.release,
    isSelf: true,
    state: membership.state,
    leaseRemainingMs: leaseEndMs === undefined ? -1 : Math.max(0, leaseEndMs - nowMs),
    linkOut: null,
    linkIn: null,
    lagFrames: 0,
    drifts: 0,
    interests: own.interests.size,
    sessionsOwned: own.owned.size,
    answersWaiting: 0,
    takeoversWaiting: 0,
  };
}

export function peerState(
  peer: PeerNode,
  links: readonly LinkState[],
  waiting: Pick<NodeState, 'state' | 'answersWaiting' | 'takeoversWaiting'>,
): NodeState {
  const { incarnation, nodeId, member, table, drifts } = peer;
  const linkOut = links.find((one) => one.peer === incarnation && one.direction === 'out') ?? null;
  const linkIn = links.find((one) => one.peer === incarnation && one.direction === 'in') ?? null;
  return {
    incarnation,
    nodeId,
    address: member.address,
    release: member.release,
    isSelf: false,
    leaseRemainingMs: -1,
    linkOut,
    linkIn,
    lagFrames: linkOut?.unackedFrames ?? 0,
    drifts,
    interests: table.interests.size,
    sessionsOwned: table.owned.size,
    ...waiting,
  };
}
