/**
 * Links between the nodes of a fake site: streams in memory, delivered a turn later, that a test can cut,
 * hold, or lose with all that is on them. Positions and `applied` mean what Mesh says they mean.
 */

import {
  FrameType,
  type LinkState,
  type Member,
  type MeshEvents,
} from '../../src/cluster/ports.ts';
import type { ClusterMesh } from '../../src/cluster/ports-local.ts';
import type { Incarnation } from '../../src/core/cluster-ports.ts';
import type { Audience } from '../../src/core/outlet.ts';
import type { ManualTime } from '../core/manual-time.ts';

interface Sent {
  readonly position: number;
  readonly frame: Buffer;
}

export class FakeStream {
  frames: Sent[] = [];
  position = 0;
  applied = 0;
  /** `applied` stands still until then, after a session was lost. */
  tablesEnd = 0;
  needsTables = false;
  isPumping = false;
  audience: Audience & { pressed: boolean } = {
    slow: false,
    progress: 0,
    waiters: null,
    closed: false,
    pressed: false,
  };
}

/** All meshes of a site. */
export class FakeNetwork {
  readonly time: ManualTime;
  readonly meshes: Map<Incarnation, FakeMesh> = new Map();
  /** `from>to` of streams that bring nothing; acks of theirs neither. */
  readonly cuts: Set<string> = new Set();
  /** Frames that are dropped on their way without a word: a bug that digests must find. */
  swallow: ((from: Incarnation, to: Incarnation, type: number) => boolean) | null = null;
  /** Every frame that arrived, as `from>to type`. */
  readonly arrived: string[] = [];

  constructor(time: ManualTime) {
    this.time = time;
  }

  cut(from: Incarnation, to: Incarnation): void {
    this.cuts.add(`${from}>${to}`);
  }

  mend(from: Incarnation, to: Incarnation): void {
    this.cuts.delete(`${from}>${to}`);
    this.meshes.get(from)?.pump(to);
  }

  count(type: number, from?: Incarnation, to?: Incarnation): number {
    let count = 0;
    for (const line of this.arrived) {
      const [ends, kind] = line.split(' ');
      const [sender, receiver] = ends!.split('>');
      if (Number(kind) !== type) continue;
      if ((from ?? sender) === sender && (to ?? receiver) === receiver) count++;
    }
    return count;
  }
}

export class FakeMesh implements ClusterMesh {
  readonly #network: FakeNetwork;
  #self: Incarnation = '';
  readonly streams: Map<Incarnation, FakeStream> = new Map();
  events!: MeshEvents;
  generation = '';
  secret = '';
  isStopped = false;
  linksUp = 0;

  constructor(network: FakeNetwork) {
    this.#network = network;
  }

  start(events: MeshEvents): void {
    this.events = events;
  }

  identify(generation: string, secret: string): void {
    this.generation = generation;
    this.secret = secret;
  }

  setMembers(self: Incarnation, members: readonly Member[]): void {
    const isOther = self !== this.#self;
    if (isOther) {
      this.#network.meshes.delete(this.#self);
      this.#network.meshes.set(self, this);
    }
    this.#self = self;
    for (const incarnation of [...this.streams.keys()]) {
      if (!isOther && members.some((one) => one.incarnation === incarnation)) continue;
      this.streams.get(incarnation)!.audience = { ...closedAudience };
      this.streams.delete(incarnation);
      this.events.progressed(incarnation);
    }
    for (const { incarnation } of members) {
      if (incarnation === self || this.streams.has(incarnation)) continue;
      this.streams.set(incarnation, new FakeStream());
      this.events.tablesWanted(incarnation);
      // Frames of it that came before wait for this node to know it.
      this.#network.meshes.get(incarnation)?.pump(self);
    }
    this.linksUp = this.streams.size;
  }

  send(peer: Incarnation, frame: Buffer): void {
    const stream = this.streams.get(peer);
    if (stream === undefined) return;
    stream.position++;
    stream.frames.push({ position: stream.position, frame });
    if (stream.needsTables && frame[4] === FrameType.TABLES_END && stream.tablesEnd === 0) {
      stream.tablesEnd = stream.position;
    }
    this.pump(peer);
  }

  broadcast(frame: Buffer): void {
    for (const peer of this.streams.keys()) this.send(peer, frame);
  }

  sendDroppable(peer: Incarnation, frame: Buffer): boolean {
    if (this.streams.get(peer)?.audience.pressed !== false) return false;
    this.send(peer, frame);
    return true;
  }

  pump(peer: Incarnation): void {
    const stream = this.streams.get(peer);
    if (stream === undefined || stream.isPumping) return;
    stream.isPumping = true;
    this.#network.time.nextTurn(() => {
      stream.isPumping = false;
      this.#deliver(peer, stream);
    });
  }

  #deliver(peer: Incarnation, stream: FakeStream): void {
    const { meshes, cuts, swallow, arrived, time } = this.#network;
    const self = this.#self;
    const other = meshes.get(peer);
    const isThere = this.streams.get(peer) === stream && other?.streams.has(self) === true;
    if (!isThere || this.isStopped || other!.isStopped || cuts.has(`${self}>${peer}`)) return;
    const batch = stream.frames.splice(0);
    for (const { frame } of batch) {
      const type = frame[4]!;
      if (swallow?.(self, peer, type) === true) continue;
      arrived.push(`${self}>${peer} ${type}`);
      other!.events.frame(self, type, Buffer.from(frame), 5, frame.length);
      if (!other!.streams.has(self)) return;
    }
    const last = batch.at(-1)?.position ?? 0;
    time.nextTurn(() => {
      if (this.streams.get(peer) !== stream) return;
      if (stream.needsTables && (stream.tablesEnd === 0 || last < stream.tablesEnd)) return;
      if (last <= stream.applied) return;
      stream.applied = last;
      this.events.progressed(peer);
    });
  }

  /** The link session is lost with all that has not arrived; another one begins. */
  giveUp(peer: Incarnation): void {
    const stream = this.streams.get(peer)!;
    const lost = stream.frames.filter(({ frame }) => {
      return frame[4] === FrameType.PUBLISH || frame[4] === FrameType.GROUP_PUBLISH;
    });
    stream.frames = [];
    stream.needsTables = true;
    stream.tablesEnd = 0;
    this.events.tablesWanted(peer);
    if (lost.length > 0) this.events.lost(peer, lost.length);
  }

  position(peer: Incarnation): number {
    return this.streams.get(peer)?.position ?? 0;
  }

  applied(peer: Incarnation): number {
    return this.streams.get(peer)?.applied ?? 0;
  }

  audience(peer: Incarnation): Audience | null {
    return this.streams.get(peer)?.audience ?? null;
  }

  links(): readonly LinkState[] {
    const states: LinkState[] = [];
    for (const [peer, stream] of this.streams) {
      const state = {
        peer,
        nodeId: peer,
        isUp: true,
        unackedFrames: stream.position - stream.applied,
        unackedBytes: 0,
        framesTotal: stream.position,
        bytesTotal: 0,
        reconnects: 0,
        dropped: 0,
        roundTripMs: -1,
        release: '1',
      };
      states.push({ ...state, direction: 'out' }, { ...state, direction: 'in' });
    }
    return states;
  }

  stop(): void {
    this.isStopped = true;
  }
}

const closedAudience = { slow: false, progress: 0, waiters: null, closed: true, pressed: false };
