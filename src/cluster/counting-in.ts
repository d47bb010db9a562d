/**
 * How a member comes to count here (docs/adr/0011, hard case 5): it is made known as a peer, told this
 * node's tables, and counted in once it has applied them. What a lost link session may have taken is told
 * or asked for again behind the tables. Called by cluster.ts for what the mesh and the announcer tell.
 */
import type { Incarnation, RemoteSide } from '../core/cluster-ports.ts';
import type { Barrier } from './barrier.ts';
import type { JournalLinks } from './journal-links.ts';
import { encodeCountedIn } from './link/frame-codec.ts';
import { PeerNode } from './peer-node.ts';
import type { Member, Mesh } from './ports.ts';
import type { RetainedSync } from './retained-sync.ts';
import type { RoutesAnnouncer } from './routes-announcer.ts';
import type { Takeover } from './takeover.ts';

export interface CountingInParts {
  readonly mesh: Mesh;
  readonly barrier: Barrier;
  readonly announcer: RoutesAnnouncer;
  readonly takeover: Takeover;
  readonly retained: RetainedSync;
  readonly journal: JournalLinks | null;
  readonly remote: () => RemoteSide;
  /** Members and joiners that are known to the core; who is new is put in here. */
  readonly peers: Map<Incarnation, PeerNode>;
  readonly member: (incarnation: Incarnation) => Member | undefined;
  /** What Redis has lost is being written again. */
  readonly isReasserting: () => boolean;
  /** A joiner may have what it waits for. */
  readonly check: () => void;
}

export class CountingIn {
  readonly #parts: CountingInParts;

  constructor(parts: CountingInParts) {
    this.#parts = parts;
  }

  /** A link session towards it begins. */
  tablesWanted(incarnation: Incarnation): void {
    const { peers, mesh, remote } = this.#parts;
    let peer = peers.get(incarnation);
    if (peer === undefined) {
      const member = this.#parts.member(incarnation);
      const audience = mesh.audience(incarnation);
      if (member === undefined || audience === null) return;
      peer = new PeerNode(member, audience);
      peers.set(incarnation, peer);
      remote().addPeer(peer);
    }
    this.tell(peer);
  }

  tell(peer: PeerNode): void {
    peer.tablesEnd = 0;
    this.#parts.announcer.tell(peer);
  }

  /** Tables are handed over: what else a lost link session may have taken follows. */
  told(peer: PeerNode): void {
    const { mesh, barrier, takeover, retained, journal } = this.#parts;
    const { incarnation } = peer;
    peer.tablesEnd = mesh.position(incarnation);
    if (barrier.isCounted(incarnation)) mesh.send(incarnation, encodeCountedIn());
    takeover.askAgain(incarnation);
    retained.wantAgain(incarnation);
    if (peer.isForgetful) retained.retell(peer);
    journal?.linked(incarnation);
    this.#count(peer);
  }

  progressed(incarnation: Incarnation): void {
    const { peers, mesh, barrier } = this.#parts;
    const peer = peers.get(incarnation);
    if (peer === undefined) return;
    peer.confirmed(mesh.applied(incarnation));
    barrier.progressed(incarnation);
    this.#count(peer);
  }

  /** What kept them from being counted in is over. */
  countAll(): void {
    for (const peer of this.#parts.peers.values()) this.#count(peer);
  }

  /**
   * It has applied the tables. It is counted in when the others have what was sent to them before it
   * came: whoever it catches up from has that then.
   */
  #count(peer: PeerNode): void {
    const { mesh, barrier, peers } = this.#parts;
    const { incarnation } = peer;
    // It would take what it does not find for what has never been.
    if (this.#parts.isReasserting()) return;
    if (peer.isCountingIn || barrier.isCounted(incarnation) || !this.#isTold(peer)) return;
    peer.isCountingIn = true;
    barrier.whenApplied((isApplied) => {
      peer.isCountingIn = false;
      // A link session may have been lost meanwhile: then the next progress comes here again.
      if (!isApplied || peers.get(incarnation) !== peer || !this.#isTold(peer)) return;
      barrier.count(incarnation);
      mesh.send(incarnation, encodeCountedIn());
      this.#parts.check();
    });
  }

  #isTold({ incarnation, tablesEnd }: PeerNode): boolean {
    return tablesEnd > 0 && this.#parts.mesh.applied(incarnation) >= tablesEnd;
  }
}
