/**
 * Tells the other members what this node's clients want and which sessions it owns (docs/adr/0011): each
 * change at once to all, everything in tables to a link session that begins, told a slice a turn. Keeps
 * the digest of what it has said. Called by the bus; it applies nothing.
 *
 * Frames of changes may come between those of tables: what a slice has not told yet it tells as it is
 * by then. What tables would not repeat (ends, closed sessions, retained messages) is kept per peer until
 * it was applied, and sent again within the tables of the next link session.
 */
import type {
  Incarnation,
  Interest,
  RemoteSide,
  SessionImage,
  SubscriptionChange,
} from '../core/cluster-ports.ts';
import type { Scheduler } from '../core/ports.ts';
import {
  encodeChange,
  encodeEnd,
  encodeGroup,
  encodeImage,
  encodeInterest,
  encodeTablesBegin,
  encodeTablesEnd,
} from './link/frame-codec.ts';
import type { PeerNode } from './peer-node.ts';
import type { Mesh } from './ports.ts';
import { RouteTable } from './route-table.ts';

/** Items of tables told in one turn. */
const ITEMS_PER_TURN = 1000;

export interface AnnouncerParts {
  readonly mesh: Mesh;
  readonly scheduler: Scheduler;
  readonly remote: () => RemoteSide;
  readonly peers: () => Iterable<PeerNode>;
  readonly self: () => Incarnation;
  /** What is told behind the tables, before their end. */
  readonly tellMoves: (peer: Incarnation) => void;
  /** All tables have been told to the peer. */
  readonly told: (peer: PeerNode) => void;
}

/** Tables on their way to one peer. */
interface Telling {
  readonly peer: PeerNode;
  readonly interests: Iterator<readonly [string, Interest]>;
  readonly groups: Iterator<{ group: string; filter: string; members: number }>;
  readonly sessions: Iterator<SessionImage>;
  /** Owned, as far as they were told or announced while the tables are. */
  readonly current: Set<string>;
  check: Iterator<string> | null;
}

export class RoutesAnnouncer {
  /** What this node has announced. */
  readonly own: RouteTable = new RouteTable();
  readonly #parts: AnnouncerParts;
  readonly #tellings: Map<Incarnation, Telling> = new Map();

  constructor(parts: AnnouncerParts) {
    this.#parts = parts;
  }

  // ------------------------------------------------------------------------------ changes

  interest(filter: string, interest: Interest): void {
    this.own.setInterest(filter, interest);
    this.#parts.mesh.broadcast(encodeInterest(filter, interest));
  }

  group(group: string, filter: string, members: number): void {
    this.own.setGroup(group, filter, members);
    this.#parts.mesh.broadcast(encodeGroup(group, filter, members));
  }

  session(image: SessionImage): void {
    const { clientId, sid, epoch, counter } = image;
    const frame = encodeImage(image);
    this.#touched(clientId);
    if (image.owner === this.#parts.self()) {
      this.own.setOwned(clientId, sid, epoch, counter);
      this.#parts.mesh.broadcast(frame);
    } else {
      this.own.removeOwned(clientId);
      this.kept(frame, false);
    }
  }

  change(change: SubscriptionChange): void {
    const { clientId, sid, epoch, counter } = change;
    this.#touched(clientId);
    this.own.setOwned(clientId, sid, epoch, counter);
    this.#parts.mesh.broadcast(encodeChange(change));
  }

  end(clientId: string, sid: string, epoch: number): void {
    this.#touched(clientId);
    this.own.removeOwned(clientId);
    this.kept(encodeEnd(clientId, sid, epoch), false);
  }

  /** Another node owns the session by now: it belongs to what that one announces. */
  release(clientId: string, epoch: number): void {
    const entry = this.own.owned.get(clientId);
    if (entry === undefined || entry.epoch >= epoch) return;
    this.#release(clientId, entry.sid, entry.epoch);
  }

  #release(clientId: string, sid: string, epoch: number): void {
    this.#touched(clientId);
    this.own.removeOwned(clientId);
    this.#parts.mesh.broadcast(encodeRelease(clientId, sid, epoch));
  }

  /** To all, and again to who loses it with a link session. `mayForget`: see PeerNode.keep. */
  kept(frame: Buffer, mayForget: boolean): void {
    const { mesh, peers } = this.#parts;
    mesh.broadcast(frame);
    for (const peer of peers()) peer.keep(mesh.position(peer.incarnation), frame, mayForget);
  }

  #touched(clientId: string): void {
    for (const telling of this.#tellings.values()) telling.current.add(clientId);
  }

  // ------------------------------------------------------------------------------ tables

  /** A new life: what the core says is what there is. */
  reset(): void {
    const remote = this.#parts.remote();
    const { own } = this;
    own.clear();
    for (const [filter, interest] of remote.interests()) own.setInterest(filter, interest);
    for (const [group, filter, members] of remote.groups()) own.setGroup(group, filter, members);
    for (const { clientId, sid, epoch, counter } of remote.ownedSessions()) {
      own.setOwned(clientId, sid, epoch, counter);
    }
  }

  /** Begins at once, so that nothing comes before the tables; goes on in the turns that follow. */
  tell(peer: PeerNode): void {
    this.forget(peer.incarnation);
    const telling: Telling = {
      peer,
      interests: this.own.interests[Symbol.iterator](),
      groups: this.own.groups.values(),
      sessions: this.#parts.remote().ownedSessions()[Symbol.iterator](),
      current: new Set(),
      check: null,
    };
    this.#tellings.set(peer.incarnation, telling);
    this.#parts.mesh.send(peer.incarnation, encodeTablesBegin());
    this.#tellSome(telling);
  }

  /** The peer is gone, or its tables begin again. */
  forget(peer: Incarnation): void {
    this.#tellings.delete(peer);
  }

  #tellSome(telling: Telling): void {
    const { incarnation } = telling.peer;
    if (this.#tellings.get(incarnation) !== telling) return;
    const { mesh, scheduler } = this.#parts;
    for (let items = 0; items < ITEMS_PER_TURN; items++) {
      if (!this.#tellNext(telling)) {
        this.#tellings.delete(incarnation);
        for (const frame of telling.peer.takeUnconfirmed()) {
          mesh.send(incarnation, frame);
          telling.peer.keep(mesh.position(incarnation), frame, false);
        }
        this.#parts.tellMoves(incarnation);
        mesh.send(incarnation, encodeTablesEnd(mesh.position(incarnation)));
        this.#parts.told(telling.peer);
        return;
      }
    }
    scheduler.nextTurn(() => this.#tellSome(telling));
  }

  /** False: everything has been told. */
  #tellNext(telling: Telling): boolean {
    const { mesh } = this.#parts;
    const { incarnation } = telling.peer;
    const interest = telling.interests.next();
    if (interest.done !== true) {
      mesh.send(incarnation, encodeInterest(interest.value[0], interest.value[1]));
      return true;
    }
    const group = telling.groups.next();
    if (group.done !== true) {
      const { members, filter } = group.value;
      mesh.send(incarnation, encodeGroup(group.value.group, filter, members));
      return true;
    }
    const session = telling.sessions.next();
    if (session.done !== true) {
      this.#tellSession(telling, session.value);
      return true;
    }
    // What was announced as owned and is not any more: the store, not a peer, has told the core.
    telling.check ??= this.own.owned.keys();
    const owned = telling.check.next();
    if (owned.done === true) return false;
    if (!telling.current.has(owned.value)) {
      const entry = this.own.owned.get(owned.value)!;
      this.#release(owned.value, entry.sid, entry.epoch);
    }
    return true;
  }

  #tellSession(telling: Telling, image: SessionImage): void {
    const { clientId, sid, epoch, counter } = image;
    const entry = this.own.owned.get(clientId);
    if (entry?.sid === sid && entry.epoch === epoch && entry.counter === counter) {
      telling.current.add(clientId);
      this.#parts.mesh.send(telling.peer.incarnation, encodeImage(image));
    } else {
      this.session(image);
    }
  }

  // ------------------------------------------------------------------------------ single sessions

  /** A peer has missed a change of the session. */
  asked(peer: Incarnation, clientId: string): void {
    const image = this.#parts.remote().knownSession(clientId);
    if (image !== null) this.#parts.mesh.send(peer, encodeImage(image));
  }
}

/** Counter 0, as no change ever has, and nothing changed: "not mine any more". */
function encodeRelease(clientId: string, sid: string, epoch: number): Buffer {
  return encodeChange({ clientId, sid, epoch, counter: 0, added: [], removed: [] });
}

export function isRelease(change: SubscriptionChange): boolean {
  return change.counter === 0 && change.added.length === 0 && change.removed.length === 0;
}
