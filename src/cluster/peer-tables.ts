/**
 * Applies what a member announces (docs/adr/0011): to the core, and to a table of what is held of that
 * member, whose digest its heartbeats are compared with. On a difference it asks for the tables again.
 * Called by cluster.ts for each frame of that kind; damage in a frame is thrown as the codec throws it.
 */
import {
  type Incarnation,
  Interest,
  type RemoteSide,
  type SessionImage,
} from '../core/cluster-ports.ts';
import type { Clock, Log } from '../core/ports.ts';
import type { ClusterCounters } from './cluster-counters.ts';
import {
  decodeChange,
  decodeEnd,
  decodeGroup,
  decodeImage,
  decodeInterest,
  encodeNeedSession,
  encodeNeedTables,
} from './link/frame-codec.ts';
import type { PeerNode } from './peer-node.ts';
import type { Heartbeat, Mesh } from './ports.ts';
import { groupKey, RouteTable } from './route-table.ts';
import { isRelease } from './routes-announcer.ts';

/** Tables that were asked for and do not come are asked for again. */
const ASK_AGAIN_MS = 10_000;

export interface PeerTablesParts {
  readonly mesh: Mesh;
  readonly clock: Clock;
  readonly log: Log;
  readonly counters: ClusterCounters;
  readonly remote: () => RemoteSide;
  readonly isMember: (incarnation: Incarnation) => boolean;
  /** A member tells of a session: who owned it before does not any more; it was heard of. */
  readonly heardOf: (clientId: string, epoch: number) => void;
  /** A session that was somebody's is nobody's. */
  readonly closed: (image: SessionImage) => void;
}

export class PeerTables {
  readonly #parts: PeerTablesParts;

  constructor(parts: PeerTablesParts) {
    this.#parts = parts;
  }

  interest(peer: PeerNode, buffer: Buffer, start: number, end: number): void {
    const { filter, interest } = decodeInterest(buffer, start, end);
    peer.table.setInterest(filter, interest);
    this.#parts.remote().setInterest(peer, filter, interest);
  }

  group(peer: PeerNode, buffer: Buffer, start: number, end: number): void {
    const { group, filter, members } = decodeGroup(buffer, start, end);
    peer.table.setGroup(group, filter, members);
    this.#parts.remote().setGroup(peer, group, filter, members);
  }

  image(peer: PeerNode, buffer: Buffer, start: number, end: number): void {
    const image = decodeImage(buffer, start, end);
    const { clientId, sid, epoch, counter } = image;
    const entry = peer.table.owned.get(clientId);
    // One that comes again with tables may be older than what has come since.
    const isNewer =
      entry === undefined ||
      epoch > entry.epoch ||
      (epoch === entry.epoch && counter >= entry.counter);
    if (isNewer) {
      if (image.owner === peer.incarnation) peer.table.setOwned(clientId, sid, epoch, counter);
      else peer.table.removeOwned(clientId);
    }
    this.#heardOf(peer, clientId, epoch);
    const { remote, closed, isMember } = this.#parts;
    const known = remote().knownSession(clientId);
    const owner = known?.owner ?? null;
    if (image.owner !== null || owner === null) {
      remote().applySession(image);
      return;
    }
    // Written again as nobody's by one that could not know: only its owner says that it has left it.
    const isOwners = owner === peer.incarnation || epoch > known!.epoch || !isMember(owner);
    if (!isOwners) return;
    remote().applySession(image);
    closed(image);
  }

  #heardOf({ news }: PeerNode, clientId: string, epoch: number): void {
    news.note(clientId, epoch, this.#parts.clock.monotonicMs());
    this.#parts.heardOf(clientId, epoch);
  }

  change(peer: PeerNode, buffer: Buffer, start: number, end: number): void {
    const change = decodeChange(buffer, start, end);
    const { clientId, sid, epoch, counter } = change;
    if (isRelease(change)) {
      this.#removeOwned(peer, clientId, epoch);
      return;
    }
    peer.table.setOwned(clientId, sid, epoch, counter);
    this.#heardOf(peer, clientId, epoch);
    if (this.#parts.remote().applyChange(change)) return;
    this.#parts.mesh.send(peer.incarnation, encodeNeedSession(clientId));
  }

  ended(peer: PeerNode, buffer: Buffer, start: number, end: number): void {
    const { clientId, sid, epoch } = decodeEnd(buffer, start, end);
    this.#removeOwned(peer, clientId, epoch);
    this.#heardOf(peer, clientId, epoch);
    this.#parts.remote().applyEnd(clientId, sid, epoch);
  }

  #removeOwned({ table }: PeerNode, clientId: string, epoch: number): void {
    const entry = table.owned.get(clientId);
    if (entry !== undefined && entry.epoch <= epoch) table.removeOwned(clientId);
  }

  // ------------------------------------------------------------------------------ tables

  begin(peer: PeerNode): void {
    const { before, table } = peer;
    if (before === null) {
      peer.before = table;
    } else {
      // Begun again before their end: what either has told is doubted.
      for (const [filter, interest] of table.interests) before.setInterest(filter, interest);
      for (const { group, filter, members } of table.groups.values()) {
        before.setGroup(group, filter, members);
      }
      for (const [clientId, { sid, epoch, counter }] of table.owned) {
        before.setOwned(clientId, sid, epoch, counter);
      }
    }
    peer.table = new RouteTable();
  }

  /** What was not repeated is no more. */
  end(peer: PeerNode): void {
    const { before, table } = peer;
    const remote = this.#parts.remote();
    peer.before = null;
    peer.isTabled = true;
    peer.tablesAskedMs = 0;
    if (before === null) return;
    for (const filter of before.interests.keys()) {
      if (!table.interests.has(filter)) remote.setInterest(peer, filter, Interest.NONE);
    }
    for (const { group, filter } of before.groups.values()) {
      if (!table.groups.has(groupKey(group, filter))) remote.setGroup(peer, group, filter, 0);
    }
    for (const clientId of before.owned.keys()) {
      // It knows who has the session by now, or that there is none.
      if (table.owned.has(clientId)) continue;
      this.#parts.mesh.send(peer.incarnation, encodeNeedSession(clientId));
    }
  }

  // ------------------------------------------------------------------------------ digests

  /**
   * A heartbeat stands in the stream behind all it counts, so everything up to its position is applied
   * here when it is (hard case 6).
   */
  compare(peer: PeerNode, heartbeat: Heartbeat): void {
    if (!peer.isTabled || peer.before !== null) return;
    const { table } = peer;
    if (heartbeat.items === table.items && heartbeat.digest === table.digest) return;
    const { clock, counters, log, mesh } = this.#parts;
    const nowMs = clock.monotonicMs();
    if (peer.tablesAskedMs !== 0 && nowMs - peer.tablesAskedMs < ASK_AGAIN_MS) return;
    peer.tablesAskedMs = nowMs;
    peer.drifts++;
    counters.routeDrifts++;
    log.warn(
      { peer: peer.nodeId, announced: heartbeat.items, held: table.items },
      'routes of a peer have drifted',
    );
    mesh.send(peer.incarnation, encodeNeedTables());
  }

  /** Forgets all that is held of a member. */
  forget(peer: PeerNode): void {
    peer.table.clear();
    peer.before = null;
    this.#parts.remote().removePeer(peer);
  }
}
