/**
 * One accepted connection (docs/adr/0012): it has to say HELLO to this very node and prove that it knows
 * the secret, in little space and time; then its frames go to the link of that member, each with its
 * number. Owned by the mesh, which says who is a member.
 */
import { copyBytes } from '../../util/bytes.ts';
import type { LinkSocket, LinkSocketEvents } from '../ports.ts';
import { FrameSplitter } from './frame-splitter.ts';
import {
  decodeHello,
  decodeProof,
  encodeRefused,
  encodeWelcome,
  type Hello,
  isSameProof,
  LINK_TYPE_MIN,
  LinkType,
  NONCE_BYTES,
  PROTOCOL_MAJOR,
  PROTOCOL_MINOR,
  proofOf,
  REFUSAL_TEXTS,
  Refusal,
} from './handshake.ts';
import type { InboundLink, ProvenConnection } from './inbound-link.ts';
import { LinkDamage } from './link-damage.ts';
import type { LinkWorld } from './link-world.ts';

/** What it needs of the mesh. */
export interface ConnectionOwner {
  /** The link of a member; null: not known as one. */
  inboundOf(incarnation: string): InboundLink | null;
  /** Somebody says HELLO who is not known; membership may be about to hear of it. */
  strangerCalls(incarnation: string): void;
  refused(incarnation: string, why: string): void;
  /** It has proved itself, or is closed: it does not count as arriving any more. */
  arrived(connection: InboundConnection): void;
}

const AWAITING_HELLO = 0;
/** It cannot be answered yet: the member list may be a little behind. */
const HELD = 1;
const AWAITING_PROOF = 2;
const OPEN = 3;
const CLOSED = 4;

const HANDSHAKE_MS = 3000;
/** Until then a frame is no larger, and the first one that is not due ends it: no more is ever held. */
const HANDSHAKE_BYTES_MAX = 64 * 1024;
const HOLD_MS = 1000;

export class InboundConnection implements LinkSocketEvents, ProvenConnection {
  isNewerThanUs = false;
  readonly #world: LinkWorld;
  readonly #owner: ConnectionOwner;
  readonly #socket: LinkSocket;
  readonly #splitter: FrameSplitter = new FrameSplitter(HANDSHAKE_BYTES_MAX);
  readonly #sinceMs: number;
  #phase = AWAITING_HELLO;
  #nowMs: number;
  #heldUntilMs = 0;
  #helloBody: Buffer | null = null;
  #hello: Hello | null = null;
  #welcomeProven: Buffer | null = null;
  #welcomedAt = 0;
  #link: InboundLink | null = null;
  /** Number of the next frame. */
  #next = 0;

  constructor(world: LinkWorld, owner: ConnectionOwner, socket: LinkSocket) {
    this.#world = world;
    this.#owner = owner;
    this.#socket = socket;
    this.#sinceMs = world.clock.monotonicMs();
    this.#nowMs = this.#sinceMs;
  }

  get isClosed(): boolean {
    return this.#phase === CLOSED;
  }

  opened(): void {}

  drained(): void {}

  write(buffer: Buffer): void {
    this.#socket.write(buffer);
  }

  bytes(buffer: Buffer, start: number, end: number): void {
    if (this.#phase === CLOSED) return;
    this.#nowMs = this.#world.clock.monotonicMs();
    this.#link?.heard(this, this.#nowMs);
    try {
      this.#splitter.feed(buffer, start, end, this);
    } catch (error) {
      if (!(error instanceof LinkDamage)) throw error;
      this.#link?.damaged(this, error.message);
      this.close();
    }
  }

  frame(type: number, buffer: Buffer, start: number, end: number): boolean {
    if (this.#phase === OPEN) {
      if (type < LINK_TYPE_MIN) {
        return this.#link!.apply(this, this.#next++, type, buffer, start, end);
      }
      if (type === LinkType.PING) this.#link!.pinged(this);
      else if (!this.isNewerThanUs) throw new LinkDamage('a frame out of place');
      return true;
    }
    if (type === LinkType.HELLO && this.#phase === AWAITING_HELLO) {
      this.#greeted(buffer, start, end);
    } else if (type === LinkType.PROOF && this.#phase === AWAITING_PROOF) {
      this.#proved(buffer, start, end);
    } else {
      this.close();
    }
    return this.#phase !== CLOSED;
  }

  closed(_why: string): void {
    this.#leave();
  }

  /** Ends it; what was written before still leaves. */
  close(): void {
    if (this.#phase === CLOSED) return;
    this.#leave();
    this.#socket.close();
  }

  #leave(): void {
    if (this.#phase === CLOSED) return;
    this.#phase = CLOSED;
    this.#link?.closed(this);
    this.#owner.arrived(this);
  }

  #refuse(refusal: Refusal, hello: Hello): void {
    this.#owner.refused(hello.from, REFUSAL_TEXTS[refusal]!);
    this.#socket.write(encodeRefused(refusal));
    this.close();
  }

  #greeted(buffer: Buffer, start: number, end: number): void {
    const hello = decodeHello(buffer, start, end);
    if (hello.major !== PROTOCOL_MAJOR) {
      this.#refuse(Refusal.VERSION, hello);
      return;
    }
    this.#hello = hello;
    this.#helloBody = copyBytes(buffer, start, end);
    this.isNewerThanUs = hello.minor > PROTOCOL_MINOR;
    this.#phase = HELD;
    this.#heldUntilMs = this.#nowMs + HOLD_MS;
    this.tryAnswer();
    if (this.#phase === HELD) this.#owner.strangerCalls(hello.from);
  }

  /** A held HELLO is looked at again: members or identity have changed. */
  tryAnswer(): void {
    if (this.#phase !== HELD || this.#whyNot(this.#hello!) !== null) return;
    const hello = this.#hello!;
    const { secret, random } = this.#world;
    this.#welcomedAt = this.#owner.inboundOf(hello.from)!.appliedOf(hello.session);
    const welcome = encodeWelcome(
      secret,
      this.#helloBody!,
      Math.min(hello.minor, PROTOCOL_MINOR),
      random.hex(NONCE_BYTES),
      this.#welcomedAt,
    );
    this.#welcomeProven = welcome.proven;
    this.#phase = AWAITING_PROOF;
    this.#socket.write(welcome.frame);
  }

  #whyNot(hello: Hello): Refusal | null {
    const { self, generation } = this.#world;
    if (self === '' || hello.to !== self) return Refusal.NOT_ME;
    if (hello.generation !== generation) return Refusal.GENERATION;
    return this.#owner.inboundOf(hello.from) === null ? Refusal.STRANGER : null;
  }

  #proved(buffer: Buffer, start: number, end: number): void {
    const hello = this.#hello!;
    const proof = proofOf(this.#world.secret, 'dialler', this.#helloBody!, this.#welcomeProven!);
    if (!isSameProof(decodeProof(buffer, start, end), proof)) {
      this.#refuse(Refusal.SECRET, hello);
      return;
    }
    // Members, or this node's own life, may be others than when it was welcomed.
    const link = this.#whyNot(hello) === null ? this.#owner.inboundOf(hello.from) : null;
    const { session, attempt } = hello;
    if (link === null || !link.adopt(this, session, attempt, this.#welcomedAt, this.#nowMs)) {
      this.close();
      return;
    }
    this.#phase = OPEN;
    this.#link = link;
    this.#next = this.#welcomedAt + 1;
    this.#splitter.frameBytesMax = this.#world.limits.frameBytesMax;
    this.#hello = null;
    this.#helloBody = null;
    this.#welcomeProven = null;
    this.#owner.arrived(this);
  }

  /** Until it has proved itself. */
  tick(nowMs: number): void {
    // A node that waits for an empty Redis to fill has no name yet: it will be the one that is meant.
    const isNamed = this.#world.self !== '';
    if (this.#phase === HELD && nowMs >= this.#heldUntilMs && isNamed) {
      this.#refuse(this.#whyNot(this.#hello!) ?? Refusal.STRANGER, this.#hello!);
    } else if (nowMs - this.#sinceMs > HANDSHAKE_MS) {
      this.close();
    }
  }
}
