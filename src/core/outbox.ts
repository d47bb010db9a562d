/**
 * Where all outgoing bytes of a loop turn meet (data plane). Packets are encoded once into one shared
 * chunk; each receiver only notes which pieces are its own, and neighbouring pieces become one. At the
 * end of the turn, or when the chunk is full, every receiver gets one write. A socket that does not
 * take its bytes gets what follows copied to a backlog of its own, so it never holds up others.
 */
import type { Bus } from './cluster-ports.ts';
import type { Outlet } from './outlet.ts';
import type { Clock, Scheduler } from './ports.ts';
import type { Stats } from './stats.ts';

/** Fits the second-level cache; larger packets get a chunk of their own. */
const CHUNK_BYTES = 256 * 1024;
/** Chunks kept alive by unfinished writes; beyond this, writes go out from private copies. */
const HELD_CHUNKS_MAX = 16;
const BACKLOG_BUFFER_BYTES = 64 * 1024;
const BACKLOG_BUFFER_BYTES_MIN = 4 * 1024;

export class Outbox {
  /** Write at `position` after `reserve`, then move `position`. */
  chunk: Buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  position = 0;
  /** Changes whenever positions handed out before have lost their meaning. */
  epoch = 1;

  readonly #scheduler: Scheduler;
  readonly #clock: Clock;
  readonly #stats: Stats;
  readonly #bus: Pick<Bus, 'mayServe'> | null;
  /** Slots beyond the count hold nothing, so that no socket that is gone is kept. */
  readonly #dirty: (Outlet | null)[] = [];
  #dirtyCount = 0;
  #scheduled = false;
  #heldChunks = 0;
  #gather: Buffer = Buffer.allocUnsafeSlow(BACKLOG_BUFFER_BYTES);
  readonly #endOfTurn = (): void => {
    this.#scheduled = false;
    this.flush();
  };

  constructor(
    scheduler: Scheduler,
    clock: Clock,
    stats: Stats,
    bus: Pick<Bus, 'mayServe'> | null = null,
  ) {
    this.#scheduler = scheduler;
    this.#clock = clock;
    this.#stats = stats;
    this.#bus = bus;
  }

  /** Makes room for `bytes` at the returned position; may flush, so `epoch` may change. */
  reserve(bytes: number): number {
    if (this.position + bytes > this.chunk.length) {
      this.flush();
      if (bytes > this.chunk.length) this.chunk = Buffer.allocUnsafeSlow(bytes);
    }
    return this.position;
  }

  /** Gives chunk[start, end) to the outlet; the bytes must be complete. */
  append(outlet: Outlet, start: number, end: number): void {
    if (outlet.dirty) {
      if (outlet.segmentEnd === start) {
        outlet.segmentEnd = end;
        return;
      }
      outlet.segments ??= [];
      outlet.segments.push(outlet.segmentStart, outlet.segmentEnd);
      outlet.segmentStart = start;
      outlet.segmentEnd = end;
      return;
    }
    if (outlet.closed) return;
    outlet.dirty = true;
    outlet.segmentStart = start;
    outlet.segmentEnd = end;
    this.#dirty[this.#dirtyCount++] = outlet;
    if (!this.#scheduled) {
      this.#scheduled = true;
      this.#scheduler.endOfTurn(this.#endOfTurn);
    }
  }

  /** Copies a finished packet into the turn. */
  appendBytes(outlet: Outlet, bytes: Uint8Array): void {
    const start = this.reserve(bytes.length);
    this.chunk.set(bytes, start);
    this.position = start + bytes.length;
    this.append(outlet, start, this.position);
  }

  /** Sends everything collected so far. */
  flush(): void {
    const count = this.#dirtyCount;
    this.#dirtyCount = 0;
    let held = false;
    for (let i = 0; i < count; i++) {
      const outlet = this.#dirty[i]!;
      this.#dirty[i] = null;
      outlet.dirty = false;
      if (!outlet.closed || !outlet.blocked) held = this.#send(outlet) || held;
      outlet.segments = null;
    }
    this.epoch++;
    if (held || this.chunk.length !== CHUNK_BYTES) {
      this.chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);
    }
    this.position = 0;
  }

  /** Sends one outlet's bytes now, before a final close. */
  flushOutlet(outlet: Outlet): void {
    if (outlet.dirty) this.flush();
  }

  /**
   * The socket took all it had, or the lease goes on: go on with the backlog. Called by the connection.
   */
  drained(outlet: Outlet): void {
    outlet.blocked = false;
    this.#releaseChunk(outlet);
    if (outlet.isPromising && outlet.backlog !== null) {
      this.#settleBytes(outlet);
      if (this.#isFenced(outlet)) return;
    }
    outlet.progressMs = this.#clock.monotonicMs();
    outlet.progress += 64;
    while (outlet.backlog !== null && !outlet.blocked) {
      const buffer = outlet.backlog.shift()!;
      const isLast = outlet.backlog.length === 0;
      const bytes = isLast ? outlet.backlogFill : buffer.length;
      if (isLast) outlet.backlog = null;
      outlet.sink.write(buffer, 0, bytes);
      this.#settleBytes(outlet);
    }
    if (!outlet.blocked) this.#settleBytes(outlet);
    if (!outlet.blocked && outlet.backlog === null) {
      if (!outlet.dirty) outlet.isPromising = false;
      outlet.slow = false;
      outlet.owner.outletDrained();
    }
  }

  /** Forgets what waits for an outlet whose socket is gone. */
  discard(outlet: Outlet): void {
    outlet.closed = true;
    outlet.backlog = null;
    this.#stats.outboxBytes -= outlet.pendingBytes;
    outlet.pendingBytes = 0;
    this.#releaseChunk(outlet);
  }

  /**
   * A process may stand still between what it has decided and what it writes, and be counted as dead when
   * it goes on (hard case 2): what says who is there is held then.
   */
  #isFenced(outlet: Outlet): boolean {
    outlet.isFenced = this.#bus !== null && !this.#bus.mayServe();
    if (!outlet.isFenced) return false;
    if (outlet.pendingBytes === 0) outlet.progressMs = this.#clock.monotonicMs();
    outlet.blocked = true;
    return true;
  }

  /** Returns true when the socket holds on to the current chunk. */
  #send(outlet: Outlet): boolean {
    const segments = outlet.segments;
    if (outlet.isPromising && !outlet.blocked && !this.#isFenced(outlet))
      outlet.isPromising = false;
    if (outlet.blocked) {
      if (segments !== null) {
        for (let i = 0; i < segments.length; i += 2) {
          this.#postpone(outlet, segments[i]!, segments[i + 1]!);
        }
      }
      this.#postpone(outlet, outlet.segmentStart, outlet.segmentEnd);
      return false;
    }
    let buffer = this.chunk;
    let start = outlet.segmentStart;
    let end = outlet.segmentEnd;
    if (segments !== null) {
      end = this.#gatherSegments(segments, start, end);
      start = 0;
      buffer = this.#gather;
    }
    this.#stats.bytesSent += end - start;
    if (this.#heldChunks >= HELD_CHUNKS_MAX) {
      const copy = Buffer.from(buffer.subarray(start, end));
      outlet.sink.write(copy, 0, copy.length);
      this.#settleBytes(outlet);
      return false;
    }
    const free = outlet.sink.write(buffer, start, end);
    if (free && outlet.sink.unsentBytes() === 0) return false;
    this.#settleBytes(outlet);
    if (free) return false;
    outlet.holdsChunk = true;
    this.#heldChunks++;
    if (buffer === this.#gather) {
      this.#gather = Buffer.allocUnsafeSlow(BACKLOG_BUFFER_BYTES);
      return false;
    }
    return true;
  }

  /** Copies scattered pieces into one buffer; returns their total. */
  #gatherSegments(segments: number[], lastStart: number, lastEnd: number): number {
    let total = lastEnd - lastStart;
    for (let i = 0; i < segments.length; i += 2) total += segments[i + 1]! - segments[i]!;
    if (total > this.#gather.length) this.#gather = Buffer.allocUnsafeSlow(total);
    let position = 0;
    for (let i = 0; i < segments.length; i += 2) {
      position += this.chunk.copy(this.#gather, position, segments[i]!, segments[i + 1]!);
    }
    this.chunk.copy(this.#gather, position, lastStart, lastEnd);
    return total;
  }

  /** Copies a piece of the chunk to the outlet's backlog. */
  #postpone(outlet: Outlet, start: number, end: number): void {
    this.#stats.bytesSent += end - start;
    outlet.pendingBytes += end - start;
    this.#stats.outboxBytes += end - start;
    outlet.backlog ??= [];
    let from = start;
    while (from < end) {
      let last = outlet.backlog[outlet.backlog.length - 1];
      if (last === undefined || outlet.backlogFill === last.length) {
        const bytes = last === undefined ? BACKLOG_BUFFER_BYTES_MIN : BACKLOG_BUFFER_BYTES;
        last = Buffer.allocUnsafeSlow(Math.max(bytes, Math.min(end - from, BACKLOG_BUFFER_BYTES)));
        outlet.backlog.push(last);
        outlet.backlogFill = 0;
      }
      const taken = Math.min(end - from, last.length - outlet.backlogFill);
      this.chunk.copy(last, outlet.backlogFill, from, from + taken);
      outlet.backlogFill += taken;
      from += taken;
    }
  }

  /** Recounts what is pending after a write. */
  #settleBytes(outlet: Outlet): void {
    const unsent = outlet.sink.unsentBytes();
    if (unsent > 0 && !outlet.blocked) {
      outlet.blocked = true;
      if (outlet.pendingBytes === 0) outlet.progressMs = this.#clock.monotonicMs();
    }
    let pending = unsent;
    if (outlet.backlog !== null) {
      const last = outlet.backlog.length - 1;
      for (let i = 0; i < last; i++) pending += outlet.backlog[i]!.length;
      pending += outlet.backlogFill;
    }
    this.#stats.outboxBytes += pending - outlet.pendingBytes;
    outlet.pendingBytes = pending;
  }

  #releaseChunk(outlet: Outlet): void {
    if (outlet.holdsChunk) {
      outlet.holdsChunk = false;
      this.#heldChunks--;
    }
  }
}
