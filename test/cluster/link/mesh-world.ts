/**
 * A few simulated nodes with nothing but their mesh, and a ledger of what each handed over and applied.
 * Every frame says which link session and place in it the sender meant, and its position; the ledger
 * stops the run at the first frame that comes twice, too early, never, or ahead of the tables.
 */
import { FrameReader } from '../../../src/cluster/link/frame-reader.ts';
import { FrameWriter } from '../../../src/cluster/link/frame-writer.ts';
import type { LinkLimits } from '../../../src/cluster/link/link-world.ts';
import { PeerMesh } from '../../../src/cluster/link/mesh.ts';
import { FrameType, type Member, type MeshEvents } from '../../../src/cluster/ports.ts';
import type { Log } from '../../../src/core/ports.ts';
import type { Kernel } from '../../sim/kernel.ts';
import type { LinkNetwork } from '../../sim/link-network.ts';
import type { SimNode } from '../../sim/sim-node.ts';

export const quietLog: Log = { debug() {}, info() {}, warn() {}, error() {} };

export const LIMITS: LinkLimits = {
  leaseMs: 3000,
  bufferBytesMax: 64 * 1024 * 1024,
  frameBytesMax: 1024 * 1024,
};

/** What a node handed over for a peer. */
interface Sent {
  /** Link sessions so far, as told by tablesWanted, and frames in this one. */
  session: number;
  /** Position of its first frame. */
  start: number;
  /** All of its tables are handed over. */
  hasTables: boolean;
  index: number;
  publications: number;
  dropped: number;
  lost: number;
}

/** What a node applied from a peer. */
interface Applied {
  session: number;
  index: number;
  position: number;
  publications: number;
  hasTables: boolean;
}

/** Enough of an entry of a table to see that tables come first and whole. */
const TABLE_FRAMES = 3;

export class MeshNode implements MeshEvents {
  readonly world: MeshWorld;
  readonly node: SimNode;
  readonly mesh: PeerMesh;
  readonly member: Member;
  readonly sent: Map<string, Sent> = new Map();
  readonly applied: Map<string, Applied> = new Map();
  /** Bytes of what is sent besides its marks. */
  paddingBytes = 0;
  /** How long the rest of a table takes after its beginning; 0: it is sent at once. */
  tablesMs = 0;
  readonly downs: string[] = [];
  /** Ends, ups and refusals. */
  readonly turns: string[] = [];

  constructor(world: MeshWorld, name: string, incarnation: string, limits: LinkLimits) {
    this.world = world;
    this.node = world.kernel.node(name);
    this.member = { incarnation, nodeId: name, address: name, release: '1.0.0', protocol: 1 };
    this.mesh = new PeerMesh({
      transport: world.network.transport(this.node, name),
      clock: this.node.clock,
      random: this.node.random,
      scheduler: this.node,
      log: quietLog,
      limits,
      release: '1.0.0',
    });
    this.mesh.identify('generation', 'secret');
    this.mesh.start(this);
  }

  get incarnation(): string {
    return this.member.incarnation;
  }

  sentTo(peer: string): Sent {
    let sent = this.sent.get(peer);
    if (sent === undefined) {
      sent = {
        session: 0,
        start: 0,
        hasTables: false,
        index: 0,
        publications: 0,
        dropped: 0,
        lost: 0,
      };
      this.sent.set(peer, sent);
    }
    return sent;
  }

  appliedFrom(peer: string): Applied {
    let applied = this.applied.get(peer);
    if (applied === undefined) {
      applied = { session: 0, index: 0, position: 0, publications: 0, hasTables: false };
      this.applied.set(peer, applied);
    }
    return applied;
  }

  publish(peer: string, isDroppable = false): void {
    const sent = this.sentTo(peer);
    if (!sent.hasTables) return;
    const frame = this.#frame(sent, this.mesh.position(peer) + 1, FrameType.PUBLISH);
    if (isDroppable && !this.mesh.sendDroppable(peer, frame)) {
      sent.index--;
      sent.dropped++;
      return;
    }
    if (!isDroppable) this.mesh.send(peer, frame);
    sent.publications++;
  }

  announce(peer: string): void {
    if (this.sentTo(peer).hasTables) this.#send(peer, FrameType.INTEREST);
  }

  #frame(sent: Sent, position: number, type: number): Buffer {
    const writer = new FrameWriter();
    writer.u32(sent.session);
    writer.u32(++sent.index);
    writer.u53(position);
    writer.skip(this.paddingBytes);
    return writer.finish(type);
  }

  // ------------------------------------------------------------------------------ MeshEvents

  tablesWanted(peer: string): void {
    const sent = this.sentTo(peer);
    sent.session++;
    sent.start = this.mesh.position(peer) + 1;
    sent.index = 0;
    const { session } = sent;
    this.#send(peer, FrameType.TABLES_BEGIN);
    const rest = (): void => {
      // Another life of the peer, or another session, has tables of its own.
      if (sent.session !== session || this.mesh.position(peer) === 0) return;
      for (let i = 2; i < TABLE_FRAMES; i++) this.#send(peer, FrameType.INTEREST);
      this.#send(peer, FrameType.TABLES_END);
      sent.hasTables = true;
    };
    sent.hasTables = false;
    if (this.tablesMs === 0) rest();
    else this.world.kernel.after(this.node, this.tablesMs, rest);
  }

  #send(peer: string, type: number): void {
    this.mesh.send(peer, this.#frame(this.sentTo(peer), this.mesh.position(peer) + 1, type));
  }

  frame(from: string, type: number, buffer: Buffer, start: number, end: number): void {
    const reader = new FrameReader(buffer, start, end);
    const session = reader.u32();
    const index = reader.u32();
    const position = reader.u53();
    const applied = this.appliedFrom(from);
    const name = `${this.member.nodeId} applies ${session}/${index} of ${from}`;
    if (session < applied.session)
      this.world.kernel.fail(`${name} after session ${applied.session}`);
    if (session > applied.session) {
      applied.session = session;
      applied.index = 0;
      applied.hasTables = false;
    }
    if (index !== applied.index + 1) this.world.kernel.fail(`${name} after ${applied.index}`);
    if (position <= applied.position) this.world.kernel.fail(`${name}: position ${position}`);
    applied.index = index;
    applied.position = position;
    if (type === FrameType.TABLES_END) applied.hasTables = true;
    if (index === 1 && type !== FrameType.TABLES_BEGIN)
      this.world.kernel.fail(`${name}: no tables`);
    if (type === FrameType.PUBLISH) {
      applied.publications++;
      if (!applied.hasTables) this.world.kernel.fail(`${name} before the tables`);
    }
  }

  progressed(_peer: string): void {}

  lost(peer: string, messages: number): void {
    this.sentTo(peer).lost += messages;
  }

  down(peer: string, forMs: number): void {
    this.downs.push(`${peer} ${Math.floor(forMs / 1000)}`);
  }

  ended(peer: string): void {
    this.turns.push(`${peer} ended`);
  }

  up(peer: string): void {
    this.turns.push(`${peer} up`);
  }

  refused(peer: string): void {
    this.turns.push(`${peer} refused`);
  }
}

export class MeshWorld {
  readonly kernel: Kernel;
  readonly network: LinkNetwork;
  readonly limits: LinkLimits;
  readonly nodes: MeshNode[] = [];
  #lives = 0;

  constructor(kernel: Kernel, network: LinkNetwork, limits: LinkLimits = LIMITS) {
    this.kernel = kernel;
    this.network = network;
    this.limits = limits;
    kernel.afterTurn = () => this.check();
  }

  /** A process; under a name that was used it is another life of that node. */
  add(name: string): MeshNode {
    const node = new MeshNode(this, name, `${name}-${++this.#lives}`, this.limits);
    const old = this.nodes.findIndex(({ member }) => member.nodeId === name);
    if (old === -1) this.nodes.push(node);
    else this.nodes[old] = node;
    return node;
  }

  get members(): Member[] {
    return this.nodes.map(({ member }) => member);
  }

  /** Every node hears of the members, each within `spreadMs`. */
  gather(spreadMs = 0): void {
    for (const { node, mesh, incarnation } of this.nodes) {
      const delayMs = spreadMs * this.kernel.chance.next();
      this.kernel.after(node, delayMs, () => mesh.setMembers(incarnation, this.members));
    }
  }

  /** What a sender believes to be applied, is. */
  check(): void {
    for (const sender of this.nodes) {
      for (const receiver of this.nodes) {
        if (sender === receiver) continue;
        const believed = sender.mesh.applied(receiver.incarnation);
        if (believed === 0) continue;
        const applied = receiver.appliedFrom(sender.incarnation);
        const who = `${sender.member.nodeId} of ${receiver.member.nodeId}`;
        if (believed > applied.position) {
          this.kernel.fail(`${who} believes ${believed}, it has applied ${applied.position}`);
        }
        // What was announced in a session before is applied when the tables after it are.
        const { session, start } = sender.sentTo(receiver.incarnation);
        if (session > 1 && believed >= start && !applied.hasTables) {
          this.kernel.fail(`${who} believes ${believed}, it has not the tables at ${start}`);
        }
      }
    }
  }

  /** Everything that was handed over has been applied, and the sender knows. */
  get isSettled(): boolean {
    for (const sender of this.nodes) {
      for (const receiver of this.nodes) {
        if (sender === receiver) continue;
        const position = sender.mesh.position(receiver.incarnation);
        if (position === 0 || sender.mesh.applied(receiver.incarnation) !== position) return false;
        const sent = sender.sentTo(receiver.incarnation);
        const applied = receiver.appliedFrom(sender.incarnation);
        if (applied.session !== sent.session || applied.index !== sent.index) return false;
      }
    }
    return true;
  }
}
