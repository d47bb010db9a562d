/**
 * The dialling side towards one member (docs/adr/0012): keeps frames until the peer has applied them,
 * numbers them in a link session, dials again and goes on where the peer stands. A link session that
 * cannot go on is given up, and another one begins with tables. Owned by the mesh; knows no sockets, and
 * of frames only their type.
 */
import assert from 'node:assert';
import { Ring } from '../../util/ring.ts';
import {
  FrameType,
  type LinkSocket,
  type LinkSocketEvents,
  type LinkState,
  type Member,
} from '../ports.ts';
import { FrameSplitter } from './frame-splitter.ts';
import { emptyFrame, FRAME_HEADER_BYTES } from './frame-writer.ts';
import {
  decodeAck,
  decodeRefused,
  decodeWelcome,
  encodeHello,
  encodeProof,
  type Hello,
  isSameProof,
  LINK_SESSION_BYTES,
  LinkType,
  NONCE_BYTES,
  PROTOCOL_MAJOR,
  PROTOCOL_MINOR,
  proofOf,
} from './handshake.ts';
import { LinkAudience } from './link-audience.ts';
import { LinkDamage } from './link-damage.ts';
import type { Flushable, LinkWorld } from './link-world.ts';

/** Not dialled yet, or again later. */
const DOWN = 0;
const DIALLING = 1;
/** HELLO is sent. */
const GREETING = 2;
const UP = 3;
/** The member is gone. */
const CLOSED = 4;

/** From dialling to WELCOME. */
const HANDSHAKE_MS = 3000;
const REDIAL_MIN_MS = 100;
const REDIAL_MAX_MS = 2000;
/** A link that was up for less has failed again, as far as the time to the next dial goes. */
const STEADY_MS = 2000;
const DOWN_REPORT_MS = 1000;
/** What an acceptor says is short. */
const ANSWER_BYTES_MAX = 4096;
/** Frames are copied into writes of about this size; a larger one leaves as it is. */
const BATCH_BYTES = 256 * 1024;
const LARGE_FRAME_BYTES = 32 * 1024;
/** So much may be in the socket; the rest waits, where acks can still take it away. */
const UNSENT_BYTES_MAX = 1024 * 1024;

const PING = emptyFrame(LinkType.PING);

export class OutboundLink implements Flushable {
  readonly member: Member;
  readonly audience: LinkAudience;
  readonly #world: LinkWorld;
  readonly #droppableBytesMax: number;

  #phase = DOWN;
  #dial: Dial | null = null;
  #downSinceMs: number;
  #upSinceMs = 0;
  /** An answer has come over this connection. */
  #isAnswered = false;
  /** Told when it was up, and nothing listens there any more. */
  onRefused: (() => void) | null = null;
  #reportDownAtMs: number;
  #redialAtMs: number;
  #redialMs = 0;
  /** Why it is down, as last logged. */
  #loggedWhy = '';

  /** The link session: its frames from number `#acked + 1`, of which `#sent` are on the connection. */
  #session = '';
  #frames: Ring<Buffer> = new Ring(64);
  #acked = 0;
  #sent = 0;
  #unackedBytes = 0;
  /** Frames between TABLES_BEGIN and TABLES_END: announcements are never refused for their size. */
  #tableBytes = 0;
  #isInTables = false;
  /** One message, of any size MQTT allows, may pass beside the bound at a time; 0: none does. */
  #largeNumber = 0;
  #largeBytes = 0;
  /** Numbers of the first TABLES_END of the session and the last; 0: not handed over yet. */
  #tablesEnd = 0;
  #lastTablesEnd = 0;
  /** The buffer is over its bound: what comes until the end of the turn is not kept either. */
  #isOverfull = false;
  #unkeptFrames = 0;
  #unkeptPublications = 0;

  /** Positions count through all link sessions; number n of this one is position `#base + n`. */
  #base = 0;
  #appliedPosition = 0;

  #isDirty = false;
  #framesTotal = 0;
  #bytesTotal = 0;
  #ups = 0;
  #dropped = 0;
  /** Numbers of the last heartbeat, and of the one whose ack is waited for; 0: none. */
  #heartbeat = 0;
  #probe = 0;
  #probeSentMs = 0;
  #roundTripMs = -1;

  constructor(world: LinkWorld, member: Member) {
    this.#world = world;
    this.member = member;
    const { bufferBytesMax } = world.limits;
    this.audience = new LinkAudience(bufferBytesMax);
    // Publishers wait from the half on: what is under way to their waiting is not dropped.
    this.#droppableBytesMax = (bufferBytesMax * 3) / 4;
    const nowMs = world.clock.monotonicMs();
    this.#downSinceMs = nowMs;
    this.#redialAtMs = nowMs;
    this.#reportDownAtMs = nowMs + DOWN_REPORT_MS;
    this.#session = world.random.hex(LINK_SESSION_BYTES);
  }

  /** Asks for the first tables, then dials. */
  start(): void {
    this.#world.events!.tablesWanted(this.member.incarnation);
    if (this.#phase === DOWN) this.#connect(this.#world.clock.monotonicMs());
  }

  get isUp(): boolean {
    return this.#phase === UP;
  }

  get position(): number {
    return this.#base + this.#handed;
  }

  get applied(): number {
    return this.#appliedPosition;
  }

  /** Frames of this link session so far. */
  get #handed(): number {
    return this.#acked + this.#frames.length + this.#unkeptFrames;
  }

  // ------------------------------------------------------------------------------ frames

  send(frame: Buffer): void {
    assert(frame.length - 4 <= this.#world.limits.frameBytesMax);
    if (this.#phase === CLOSED) return;
    if (this.#isOverfull) {
      this.#unkeptFrames++;
      if (isPublication(frame)) this.#unkeptPublications++;
      return;
    }
    this.#frames.push(frame);
    this.#unackedBytes += frame.length;
    const type = frame[4]!;
    if (type === FrameType.TABLES_BEGIN) this.#isInTables = true;
    else if (type === FrameType.HEARTBEAT) this.#heartbeat = this.#handed;
    if (this.#isInTables) this.#inTables(frame, type);
    const { bufferBytesMax } = this.#world.limits;
    const isLarge = frame.length > bufferBytesMax / 4 && !this.#isInTables;
    if (isLarge && this.#largeNumber === 0) {
      this.#largeNumber = this.#handed;
      this.#largeBytes = frame.length;
    }
    this.audience.grown(this.#unackedBytes - this.#tableBytes);
    if (this.#boundedBytes > bufferBytesMax) this.#isOverfull = true;
    if (!this.#isDirty && (this.#phase === UP || this.#isOverfull)) this.#becomeDirty();
  }

  sendDroppable(frame: Buffer): boolean {
    if (this.#boundedBytes > this.#droppableBytesMax) {
      this.#dropped++;
      return false;
    }
    this.send(frame);
    return true;
  }

  /** What counts towards the bound of the buffer. */
  get #boundedBytes(): number {
    return this.#unackedBytes - this.#tableBytes - this.#largeBytes;
  }

  #inTables(frame: Buffer, type: number): void {
    this.#tableBytes += frame.length;
    if (type !== FrameType.TABLES_END) return;
    this.#isInTables = false;
    this.#lastTablesEnd = this.#handed;
    if (this.#tablesEnd === 0) this.#tablesEnd = this.#lastTablesEnd;
  }

  #becomeDirty(): void {
    this.#isDirty = true;
    this.#world.atEndOfTurn(this);
  }

  /** The end of the turn: what it brought leaves. */
  flush(): void {
    this.#isDirty = false;
    if (this.#isOverfull) this.#giveUp('its buffer is full', this.#world.clock.monotonicMs());
    else if (this.#phase === UP) this.#write();
  }

  #write(): void {
    const frames = this.#frames;
    const socket = this.#dial!.socket!;
    if (this.#sent === frames.length) return;
    const nowMs = this.#world.clock.monotonicMs();
    while (this.#sent < frames.length && socket.unsentBytes < UNSENT_BYTES_MAX) {
      let bytes = 0;
      let until = this.#sent;
      while (until < frames.length) {
        const frame = frames.at(until)!;
        if (frame.length > LARGE_FRAME_BYTES || bytes + frame.length > BATCH_BYTES) break;
        bytes += frame.length;
        until++;
      }
      if (until === this.#sent) {
        const large = frames.at(until++)!;
        bytes = large.length;
        this.#dial!.write(large, nowMs);
      } else if (until === this.#sent + 1) {
        this.#dial!.write(frames.at(this.#sent)!, nowMs);
      } else {
        this.#dial!.write(this.#batch(this.#sent, until, bytes), nowMs);
      }
      this.#bytesTotal += bytes;
      this.#framesTotal += until - this.#sent;
      this.#sent = until;
      if (this.#probe === 0 && this.#heartbeat > this.#acked) this.#probeRoundTrip(nowMs);
      // The socket may have failed while it was written to.
      if (this.#phase !== UP) return;
    }
  }

  #batch(from: number, until: number, bytes: number): Buffer {
    const frames = this.#frames;
    const batch = Buffer.allocUnsafe(bytes);
    let pos = 0;
    for (let i = from; i < until; i++) pos += frames.at(i)!.copy(batch, pos);
    return batch;
  }

  /** From the moment the last heartbeat leaves to its ack. */
  #probeRoundTrip(nowMs: number): void {
    if (this.#heartbeat > this.#acked + this.#sent) return;
    this.#probe = this.#heartbeat;
    this.#probeSentMs = nowMs;
  }

  /** The peer has applied everything up to this number. */
  #ackedUpTo(number: number, nowMs: number): void {
    const frames = this.#frames;
    const count = number - this.#acked;
    if (count <= 0) return;
    let bytes = 0;
    for (let i = 0; i < count; i++) bytes += frames.shift()!.length;
    this.#acked = number;
    this.#sent = Math.max(0, this.#sent - count);
    this.#unackedBytes -= bytes;
    if (this.#probe !== 0 && number >= this.#probe) {
      this.#roundTripMs = nowMs - this.#probeSentMs;
      this.#probe = 0;
    }
    if (!this.#isInTables && number >= this.#lastTablesEnd) this.#tableBytes = 0;
    if (number >= this.#largeNumber) {
      this.#largeNumber = 0;
      this.#largeBytes = 0;
    }
    this.audience.shrunk(this.#unackedBytes - this.#tableBytes, count, bytes);
    // What a session that was given up had announced is applied when the tables after it are.
    if (this.#base > 0 && (this.#tablesEnd === 0 || number < this.#tablesEnd)) return;
    this.#appliedPosition = this.#base + number;
    this.#world.events!.progressed(this.member.incarnation);
  }

  /** The link session cannot go on: another one begins, with tables. */
  #giveUp(why: string, nowMs: number): void {
    const frames = this.#frames;
    let publications = this.#unkeptPublications;
    for (let i = 0; i < frames.length; i++) if (isPublication(frames.at(i)!)) publications++;
    const bytes = this.#unackedBytes;
    this.#base += this.#handed;
    this.#frames = new Ring(64);
    this.#acked = 0;
    this.#sent = 0;
    this.#unackedBytes = 0;
    this.#tableBytes = 0;
    this.#isInTables = false;
    this.#tablesEnd = 0;
    this.#lastTablesEnd = 0;
    this.#heartbeat = 0;
    this.#largeNumber = 0;
    this.#largeBytes = 0;
    this.#isOverfull = false;
    this.#unkeptFrames = 0;
    this.#unkeptPublications = 0;
    this.#session = this.#world.random.hex(LINK_SESSION_BYTES);
    const { nodeId } = this.member;
    this.#world.log.warn({ peer: nodeId, why, publications, bytes }, 'a link session is given up');
    if (this.#phase === GREETING || this.#phase === UP) this.#fall(why, nowMs);
    this.#redialAtMs = Math.min(this.#redialAtMs, nowMs);
    const { events } = this.#world;
    const { incarnation } = this.member;
    events!.tablesWanted(incarnation);
    if (publications > 0) events!.lost(incarnation, publications);
    this.audience.shrunk(this.#unackedBytes - this.#tableBytes, 0, 0);
  }

  // ------------------------------------------------------------------------------ connection

  /** Called by the mesh every so often. */
  tick(nowMs: number): void {
    switch (this.#phase) {
      case DOWN:
        if (nowMs >= this.#redialAtMs) this.#connect(nowMs);
        break;
      case DIALLING:
      case GREETING:
        if (nowMs - this.#dial!.sinceMs > HANDSHAKE_MS) this.#fall('it does not answer', nowMs);
        break;
      case UP:
        if (nowMs - this.#dial!.heardMs > this.#world.limits.leaseMs) {
          this.#fall('it is silent', nowMs);
        } else if (nowMs - this.#dial!.wroteMs >= this.#world.limits.leaseMs / 6) {
          this.#dial!.write(PING, nowMs);
        }
        break;
    }
    if (this.#phase === UP || this.#phase === CLOSED || nowMs < this.#reportDownAtMs) return;
    this.#reportDownAtMs = nowMs + DOWN_REPORT_MS;
    this.#world.events!.down(this.member.incarnation, nowMs - this.#downSinceMs);
  }

  #connect(nowMs: number): void {
    this.#phase = DIALLING;
    const dial = new Dial(this, nowMs);
    this.#dial = dial;
    dial.socket = this.#world.transport.dial(this.member.address, dial);
  }

  /** The connection is no more, or no good; it is dialled again soon. */
  #fall(why: string, nowMs: number): void {
    const wasUp = this.#phase === UP;
    const dial = this.#dial;
    this.#dial = null;
    this.#phase = DOWN;
    this.#sent = 0;
    this.#probe = 0;
    if (wasUp) {
      this.#downSinceMs = nowMs;
      this.#reportDownAtMs = nowMs + DOWN_REPORT_MS;
      if (nowMs - this.#upSinceMs >= STEADY_MS) this.#redialMs = 0;
    }
    this.#redialMs = Math.min(REDIAL_MAX_MS, Math.max(REDIAL_MIN_MS, this.#redialMs * 2));
    // Between half and all of it: nodes that lost each other at once do not dial at once.
    const jitterMs = this.#world.random.below(Math.ceil(this.#redialMs / 2));
    this.#redialAtMs = nowMs + this.#redialMs - jitterMs;
    dial?.socket?.close();
    if (wasUp) this.#world.events!.ended(this.member.incarnation);
    if (!wasUp && why === this.#loggedWhy) return;
    this.#loggedWhy = why;
    this.#world.log.warn({ peer: this.member.nodeId, why }, 'link down');
  }

  /** The member is gone, or the node stops. */
  close(): void {
    if (this.#phase === UP) this.#write();
    const dial = this.#dial;
    this.#dial = null;
    this.#phase = CLOSED;
    this.#frames = new Ring();
    this.#unackedBytes = 0;
    dial?.socket?.close();
    this.audience.close();
  }

  // ------------------------------------------------------------------------------ called by Dial

  dialOpened(dial: Dial): void {
    if (dial !== this.#dial) return;
    this.#phase = GREETING;
    const world = this.#world;
    const hello: Hello = {
      major: PROTOCOL_MAJOR,
      minor: PROTOCOL_MINOR,
      generation: world.generation,
      from: world.self,
      to: this.member.incarnation,
      release: world.release,
      session: this.#session,
      attempt: ++world.attempts,
      nonce: world.random.hex(NONCE_BYTES),
    };
    const frame = encodeHello(hello);
    dial.hello = frame.subarray(FRAME_HEADER_BYTES);
    dial.write(frame, world.clock.monotonicMs());
  }

  dialBytes(dial: Dial, buffer: Buffer, start: number, end: number): void {
    if (dial !== this.#dial) return;
    dial.heardMs = this.#world.clock.monotonicMs();
    try {
      dial.splitter.feed(buffer, start, end, dial);
    } catch (error) {
      if (!(error instanceof LinkDamage)) throw error;
      if (dial === this.#dial)
        this.#fall(`it sends what is no answer: ${error.message}`, dial.heardMs);
    }
  }

  dialFrame(dial: Dial, type: number, buffer: Buffer, start: number, end: number): boolean {
    if (dial !== this.#dial) return false;
    const nowMs = dial.heardMs;
    if (type === LinkType.ACK && this.#phase === UP) {
      const number = decodeAck(buffer, start, end);
      if (number > this.#acked + this.#sent)
        throw new LinkDamage('it has applied what was not sent');
      if (!this.#isAnswered) this.#answered();
      this.#ackedUpTo(number, nowMs);
    } else if (type === LinkType.WELCOME && this.#phase === GREETING) {
      this.#welcomed(dial, buffer, start, end, nowMs);
    } else if (type === LinkType.REFUSED && this.#phase === GREETING) {
      this.#fall(decodeRefused(buffer, start, end), nowMs);
    } else if (type < LinkType.WELCOME) {
      throw new LinkDamage('a frame of the other direction');
    }
    // An answer of a later minor version may be left alone.
    return dial === this.#dial;
  }

  dialDrained(dial: Dial): void {
    if (dial === this.#dial && this.#phase === UP) this.#write();
  }

  dialClosed(dial: Dial, why: string, isRefused: boolean): void {
    if (dial !== this.#dial) return;
    this.#fall(why, this.#world.clock.monotonicMs());
    if (isRefused && this.#ups > 0) this.onRefused?.();
  }

  /** Its proof was taken. */
  #answered(): void {
    this.#isAnswered = true;
    this.#world.events!.up(this.member.incarnation);
  }

  #welcomed(dial: Dial, buffer: Buffer, start: number, end: number, nowMs: number): void {
    const { secret } = this.#world;
    const welcome = decodeWelcome(buffer, start, end);
    if (!isSameProof(welcome.mac, proofOf(secret, 'acceptor', dial.hello, welcome.proven))) {
      this.#fall('it does not know the secret', nowMs);
      return;
    }
    const { applied } = welcome;
    if (applied > this.#acked + this.#frames.length) {
      throw new LinkDamage('it has applied what was not sent');
    }
    if (applied < this.#acked) {
      this.#giveUp('the peer has forgotten the link session', nowMs);
      return;
    }
    this.#phase = UP;
    this.#isAnswered = false;
    this.#upSinceMs = nowMs;
    this.#ups++;
    this.#sent = 0;
    this.#loggedWhy = '';
    this.#world.log.info({ peer: this.member.nodeId, release: this.member.release }, 'link up');
    dial.write(encodeProof(proofOf(secret, 'dialler', dial.hello, welcome.proven)), nowMs);
    this.#ackedUpTo(applied, nowMs);
    if (this.#phase === UP && dial === this.#dial) this.#write();
  }

  // ------------------------------------------------------------------------------ operators

  get state(): LinkState {
    return {
      peer: this.member.incarnation,
      nodeId: this.member.nodeId,
      direction: 'out',
      isUp: this.isUp,
      unackedFrames: this.#frames.length,
      unackedBytes: this.#unackedBytes,
      framesTotal: this.#framesTotal,
      bytesTotal: this.#bytesTotal,
      reconnects: Math.max(0, this.#ups - 1),
      dropped: this.#dropped,
      roundTripMs: this.#roundTripMs,
      release: this.member.release,
    };
  }
}

/** One connection of the link; what a socket tells that the link has left is dropped. */
class Dial implements LinkSocketEvents {
  socket: LinkSocket | null = null;
  hello: Buffer = PING;
  readonly splitter: FrameSplitter = new FrameSplitter(ANSWER_BYTES_MAX);
  readonly sinceMs: number;
  heardMs: number;
  wroteMs: number;
  readonly #link: OutboundLink;

  constructor(link: OutboundLink, nowMs: number) {
    this.#link = link;
    this.sinceMs = nowMs;
    this.heardMs = nowMs;
    this.wroteMs = nowMs;
  }

  write(buffer: Buffer, nowMs: number): void {
    this.wroteMs = nowMs;
    this.socket!.write(buffer);
  }

  frame(type: number, buffer: Buffer, start: number, end: number): boolean {
    return this.#link.dialFrame(this, type, buffer, start, end);
  }

  opened(): void {
    this.#link.dialOpened(this);
  }

  bytes(buffer: Buffer, start: number, end: number): void {
    this.#link.dialBytes(this, buffer, start, end);
  }

  drained(): void {
    this.#link.dialDrained(this);
  }

  closed(why: string, isRefused: boolean): void {
    this.#link.dialClosed(this, why, isRefused);
  }
}

function isPublication(frame: Buffer): boolean {
  const type = frame[4]!;
  return type === FrameType.PUBLISH || type === FrameType.GROUP_PUBLISH;
}
