/**
 * What one member's frames have led to here (docs/adr/0012): its link session, the highest number that
 * was applied, and the connection they come over now. It outlives connections, so that what comes again
 * is skipped. Owned by the mesh; handed a connection by InboundConnection once that has proved itself.
 */
import { FrameType, type LinkState, type Member } from '../ports.ts';
import { encodeAck } from './handshake.ts';
import { LinkDamage } from './link-damage.ts';
import type { Flushable, LinkWorld } from './link-world.ts';

/** A proven connection, as its link needs it. */
export interface ProvenConnection {
  readonly isNewerThanUs: boolean;
  write(buffer: Buffer): void;
  close(): void;
}

const FRAME_TYPE_MAX = Math.max(...Object.values(FrameType));

export class InboundLink implements Flushable {
  readonly member: Member;
  readonly #world: LinkWorld;
  #session = '';
  #applied = 0;
  /** Of the connection that was proved last: one that was dialled before it is late. */
  #attempt = 0;
  #connection: ProvenConnection | null = null;
  #heardMs = 0;
  #ackDue = false;
  #isClosed = false;
  #framesTotal = 0;
  #bytesTotal = 0;
  #ups = 0;

  constructor(world: LinkWorld, member: Member) {
    this.#world = world;
    this.member = member;
  }

  get isUp(): boolean {
    return this.#connection !== null;
  }

  /** What a WELCOME says. */
  appliedOf(session: string): number {
    return session === this.#session ? this.#applied : 0;
  }

  /**
   * Takes frames from this connection now, and from no other. `applied`: what its WELCOME said. False:
   * it came too late.
   */
  adopt(
    connection: ProvenConnection,
    session: string,
    attempt: number,
    applied: number,
    nowMs: number,
  ): boolean {
    // What was welcomed may have been forgotten since.
    if (this.#isClosed || attempt <= this.#attempt || applied > this.appliedOf(session))
      return false;
    const old = this.#connection;
    this.#attempt = attempt;
    this.#connection = connection;
    this.#heardMs = nowMs;
    this.#ups++;
    if (session !== this.#session) {
      this.#session = session;
      this.#applied = 0;
    }
    old?.close();
    // The dialler hears that its proof was taken.
    this.#oweAck();
    return true;
  }

  /** Frame `number` of the link session. False: the connection is not this link's any more. */
  apply(
    connection: ProvenConnection,
    number: number,
    type: number,
    buffer: Buffer,
    start: number,
    end: number,
  ): boolean {
    if (connection !== this.#connection) return false;
    this.#bytesTotal += end - start;
    if (number <= this.#applied) return true;
    if (number !== this.#applied + 1) throw new LinkDamage('frames are missing');
    if (type <= FRAME_TYPE_MAX && type > 0) {
      this.#world.events!.frame(this.member.incarnation, type, buffer, start, end);
    } else if (!connection.isNewerThanUs) {
      throw new LinkDamage('a frame of an unknown type');
    }
    // Applying it may have ended this link.
    if (connection !== this.#connection) return false;
    this.#applied = number;
    this.#framesTotal++;
    this.#oweAck();
    return true;
  }

  heard(connection: ProvenConnection, nowMs: number): void {
    if (connection === this.#connection) this.#heardMs = nowMs;
  }

  /** A PING: an ack is the answer, also when nothing is new. */
  pinged(connection: ProvenConnection): void {
    if (connection === this.#connection) this.#oweAck();
  }

  closed(connection: ProvenConnection): void {
    if (connection === this.#connection) this.#connection = null;
  }

  /** It sent what no node of ours sends: nothing of its link session is believed to go on from. */
  damaged(connection: ProvenConnection, why: string): void {
    this.#world.log.warn({ peer: this.member.nodeId, why }, 'a peer link brought damaged bytes');
    if (connection !== this.#connection) return;
    this.#connection = null;
    this.#session = '';
    this.#applied = 0;
  }

  #oweAck(): void {
    if (this.#ackDue) return;
    this.#ackDue = true;
    this.#world.atEndOfTurn(this);
  }

  flush(): void {
    this.#ackDue = false;
    this.#connection?.write(encodeAck(this.#applied));
  }

  tick(nowMs: number): void {
    const connection = this.#connection;
    if (connection === null || nowMs - this.#heardMs <= this.#world.limits.leaseMs) return;
    this.#connection = null;
    connection.close();
  }

  close(): void {
    this.#isClosed = true;
    const connection = this.#connection;
    this.#connection = null;
    connection?.close();
  }

  get state(): LinkState {
    return {
      peer: this.member.incarnation,
      nodeId: this.member.nodeId,
      direction: 'in',
      isUp: this.isUp,
      unackedFrames: 0,
      unackedBytes: 0,
      framesTotal: this.#framesTotal,
      bytesTotal: this.#bytesTotal,
      reconnects: Math.max(0, this.#ups - 1),
      dropped: 0,
      roundTripMs: -1,
      release: this.member.release,
    };
  }
}
