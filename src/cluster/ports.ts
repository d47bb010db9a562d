/**
 * What the parts of the cluster room are to each other: membership tells who is there, the mesh carries
 * frames between members, the bus (bus.ts) turns them into what the core asked for. Start with
 * docs/adr/0010 to 0014. Everything here is callbacks on injected time: the simulation runs it whole.
 */
import type { Incarnation } from '../core/cluster-ports.ts';
import type { Audience } from '../core/outlet.ts';

export interface Member {
  readonly incarnation: Incarnation;
  /** A label: two members may have the same. */
  readonly nodeId: string;
  /** `host:port` of its peer listener. */
  readonly address: string;
  readonly release: string;
  readonly protocol: number;
}

// ---------------------------------------------------------------------------------- membership

export type MembershipState =
  /** Not registered, or fenced and about to join anew. */
  | 'out'
  /** Registered; the tables of some member or of Redis are missing. */
  | 'joining'
  | 'ready'
  /** A member whose lease may be over: it neither matches nor acks. */
  | 'fenced'
  | 'left';

export interface MembershipEvents {
  /** Registered under this incarnation (a new one after `lost`). */
  joined(incarnation: Incarnation, generation: string, secret: string): void;
  /** The other live members, each time they change. */
  members(members: readonly Member[]): void;
  /** A member was buried, or left. Follows `members` without it. */
  died(member: Member): void;
  /** The lease may be over / was renewed in time after all. */
  fenced(): void;
  unfenced(): void;
  /** This incarnation is dead: forget everything, `joined` follows with another. */
  lost(): void;
  /** Redis came back empty; registered again under the same incarnation: re-assert (ADR 0010). */
  emptied(generation: string, isLowest: boolean): void;
}

export interface Membership {
  readonly state: MembershipState;
  readonly incarnation: Incarnation;
  readonly members: readonly Member[];
  /** Reads a fresh monotonic clock. */
  mayServe(): boolean;
  /** Redis' wall clock as last heard, carried on by the monotonic clock; ms. */
  redisTimeMs(): number;
  start(): void;
  /** Everything a joiner needs is here. */
  becomeReady(): void;
  leave(done: () => void): void;
  /** From heartbeats on links (ADR 0010: Redis away, RENEW_FOR). */
  heard(peer: Incarnation, heartbeat: Heartbeat): void;
  /** Evicts a member that the mesh cannot reach though it lives (hard case 4). */
  unreachable(peer: Incarnation, forMs: number, linksUp: number): void;
  /** The connection of a link that was up is no more. */
  linkEnded(peer: Incarnation): void;
  /** It is up again, and the other end has said so. */
  linkUp(peer: Incarnation): void;
  /** Since then the machine of that member refuses connections, and it has none to here. */
  linkRefused(peer: Incarnation): void;
}

export interface Heartbeat {
  /** Sender's monotonic ms when sent, and the latest of the receiver's that it has seen (echo). */
  readonly sentMs: number;
  readonly echoMs: number;
  readonly hasRedis: boolean;
  /** Outbound links that are up. */
  readonly linksUp: number;
  /** Position in the sender's stream, and digest of what it has announced (ADR 0011). */
  readonly position: number;
  readonly items: number;
  readonly digest: number;
}

// ---------------------------------------------------------------------------------- mesh

/** One byte; the acceptor's answers (WELCOME, ACK) are the link's own and not listed. */
export const FrameType = {
  INTEREST: 1,
  GROUP: 2,
  IMAGE: 3,
  CHANGE: 4,
  END: 5,
  PUBLISH: 6,
  GROUP_PUBLISH: 7,
  RETAINED: 8,
  HINT: 9,
  LET_GO: 10,
  LET_GO_DONE: 11,
  TABLES_BEGIN: 12,
  TABLES_END: 13,
  COUNTED_IN: 14,
  NEED_TABLES: 15,
  NEED_SESSION: 16,
  HEARTBEAT: 17,
  RENEW_FOR: 18,
  RENEWED: 19,
  RETAINED_WANT: 20,
  RETAINED_PAGE: 21,
  JOURNAL: 22,
  JOURNAL_DONE: 23,
  GOODBYE: 24,
  JOURNAL_OWED: 25,
  ROAM: 26,
} as const;
export type FrameType = (typeof FrameType)[keyof typeof FrameType];

/** Carries frames, in order and once, to every member for as long as both ends live. */
export interface Mesh {
  /** Dials who is new, closes who is gone. For each new member `tablesWanted` is called at once. */
  setMembers(self: Incarnation, members: readonly Member[]): void;
  /** A frame as `frame-codec.ts` makes it: length, type, body. Handed over, not to be changed. */
  send(peer: Incarnation, frame: Buffer): void;
  broadcast(frame: Buffer): void;
  /** As `send`, but dropped (false, counted) when the peer is behind: QoS 0. */
  sendDroppable(peer: Incarnation, frame: Buffer): boolean;
  /** Sequence of the last frame handed over for the peer; 0: none. */
  position(peer: Incarnation): number;
  /** Highest sequence that the peer has applied. */
  applied(peer: Incarnation): number;
  audience(peer: Incarnation): Audience | null;
  links(): readonly LinkState[];
  stop(): void;
}

export interface MeshEvents {
  /** Applies one frame: buffer[start, end) is its body, valid during the call only. */
  frame(from: Incarnation, type: number, buffer: Buffer, start: number, end: number): void;
  /** A link session towards the peer begins: its first frames must be the tables (ADR 0011). */
  tablesWanted(peer: Incarnation): void;
  /** The peer has applied more, or is gone. */
  progressed(peer: Incarnation): void;
  /** Live publications that were given up with a link session. */
  lost(peer: Incarnation, messages: number): void;
  /** Once a second for each member whose outbound link is down. */
  down(peer: Incarnation, forMs: number): void;
  /** The outbound link to a member was up, and its connection has ended. */
  ended(peer: Incarnation): void;
  /** It is up, as the peer has answered. */
  up(peer: Incarnation): void;
  /** It is dialled again, nothing listens there, and nothing comes from there either. */
  refused(peer: Incarnation): void;
}

/** For operators and metrics. */
export interface LinkState {
  readonly peer: Incarnation;
  readonly nodeId: string;
  readonly direction: 'out' | 'in';
  readonly isUp: boolean;
  /** Frames and bytes handed over and not yet applied. */
  readonly unackedFrames: number;
  readonly unackedBytes: number;
  readonly framesTotal: number;
  readonly bytesTotal: number;
  readonly reconnects: number;
  readonly dropped: number;
  /** Last round trip of a heartbeat, ms; -1: none yet. */
  readonly roundTripMs: number;
  readonly release: string;
}

/** Sockets, real or simulated. */
export interface LinkTransport {
  /** Calls `events.opened` or `events.closed` later. */
  dial(address: string, events: LinkSocketEvents): LinkSocket;
  /** `accepted` for each incoming connection; returns who hears it. */
  listen(accepted: (socket: LinkSocket) => LinkSocketEvents): void;
}

export interface LinkSocket {
  /** Takes the buffer over. */
  write(buffer: Buffer): void;
  readonly unsentBytes: number;
  close(): void;
}

export interface LinkSocketEvents {
  opened(): void;
  /** buffer[start, end) is valid during the call only. */
  bytes(buffer: Buffer, start: number, end: number): void;
  /** Everything written was taken. */
  drained(): void;
  /** `isRefused`: it was never open, as nothing listens there. */
  closed(why: string, isRefused: boolean): void;
}
