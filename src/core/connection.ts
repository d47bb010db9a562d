/**
 * One client's connection: what it asked for in CONNECT, where it stands, and how it ends. Handlers in
 * handle/ act on it; inlet.ts feeds it. It sends single packets and parks acks; messages to the client
 * go through delivery.ts.
 */
import { Ring } from '../util/ring.ts';
import { Timer, type TimerOwner } from '../util/timer-wheel.ts';
import { writeAck, writeAckReason } from '../wire/ack.ts';
import { encodeDisconnect } from '../wire/disconnect.ts';
import { PacketType } from '../wire/packet-type.ts';
import type { ProtocolVersion } from '../wire/protocol-version.ts';
import { ReasonCode } from '../wire/reason-code.ts';
import { AudiencePause, releaseWaiters } from './audience-pause.ts';
import type { Awaited } from './awaited.ts';
import { type CloseReason, closeTable } from './close-reason.ts';
import { DeferredLine, type DeferringPublisher } from './deferred-line.ts';
import type { DeferredPublish } from './deferred-publish.ts';
import { Lingering } from './lingering.ts';
import { Message } from './message.ts';
import { type Audience, Outlet, type OutletOwner, type PausedPublisher } from './outlet.ts';
import type {
  AuthExchange,
  ByteSink,
  ClientGate,
  ClientState,
  ClientSummary,
  GateWaiter,
  ListenerInfo,
  Ticket,
} from './ports.ts';
import type { RefuseReason } from './refuse-reason.ts';
import type { TopicEntry } from './route-cache.ts';
import type { Services } from './services.ts';
import type { Session, SessionOwner } from './session.ts';
import { UnansweredPubrec } from './unanswered-pubrec.ts';

/** Where a connection stands. */
export const Phase = {
  /** No CONNECT yet. */
  NEW: 0,
  /** CONNECT is being decided (gate, store or enhanced authentication). */
  CONNECTING: 1,
  OPEN: 2,
  CLOSED: 3,
} as const;

/** Why parsing stands still; a connection goes on when no bit is left. */
export const Hold = {
  /** The gate or an authentication step has not answered. */
  DECISION: 1,
  /** The audience cannot keep up. */
  AUDIENCE: 2,
  /** Too many acks wait for the store. */
  PARKED: 4,
  /** The client does not read what it has been answered. */
  OUTLET: 8,
  /**
   * What follows a decision about a CONNECT: bits of their own, as whoever brings a late decision lets
   * go of DECISION after all that it led to.
   */
  WILL: 16,
  CONNACK: 32,
  /** Another node is asked to let go of the session. */
  OWNERSHIP: 64,
  /** The lease of this node may be over: nothing is matched (DESIGN hard case 2). */
  LEASE: 128,
  /** What the client may read is asked before its session is resumed. */
  RIGHTS: 256,
  /** The directory of all regions is asked for a session elsewhere. */
  DIRECTORY: 512,
  /** It is not known yet which sessions are on their way to other regions. */
  INFORMED: 1024,
} as const;

/** A client that does not know Receive Maximum is read on until this many acks are parked. */
const PARKED_ACKS_MAX = 8192;

/** An ack that must not leave before something is durable. */
export interface ParkedAck {
  readonly type: number;
  readonly packetId: number;
  readonly reasonCode: number;
  /** 0: waits for the message alone. */
  readonly ticket: Ticket;
  /** A message that must be safe, or other nodes that must know. */
  readonly message: Awaited | null;
  /** Instead of an ack: whole packet (SUBACK, CONNACK …). */
  readonly bytes: Buffer | null;
  /** What follows the packet, or null. */
  readonly after: ((failed: boolean) => void) | null;
}

export class Connection
  implements OutletOwner, SessionOwner, DeferringPublisher, TimerOwner, PausedPublisher, GateWaiter
{
  readonly services: Services;
  readonly sink: ByteSink;
  readonly listener: ListenerInfo;
  readonly outlet: Outlet;
  phase: number = Phase.NEW;
  version: ProtocolVersion = 4;
  clientId = '';
  identity: string | null = null;
  tenant = '';
  keepAliveMs = 0;
  session: Session | null = null;
  gate: ClientGate | null = null;
  /** The same, or null where it allows everything. */
  publishGate: ClientGate | null = null;
  /** MQTT 5 Request Problem Information: reason strings may be sent. */
  wantsProblemInformation = true;
  authenticationMethod: string | null = null;
  exchange: AuthExchange | null = null;
  /** Takes the data of the next AUTH packet while an exchange is under way. */
  onAuthData: ((data: Buffer | null) => void) | null = null;
  connectedAtMs = 0;

  /** Topic of the last PUBLISH: publishers repeat themselves. */
  lastTopic: TopicEntry | null = null;
  /** Inbound aliases, by alias; null until the first. */
  aliases: (TopicEntry | null)[] | null = null;
  /** QoS 1 and 2 messages received and not yet answered for good. */
  inboundOpen = 0;
  receiveMaximum = 0;
  topicAliasMax = 0;
  packetBytesMax = 0;

  /** Bits of `Hold`. */
  holds = 0;
  /** Set by the inlet: goes on with what was held. */
  goOn: (() => void) | null = null;
  /** Set by the inlet: what is held is looked through for a DISCONNECT, as nothing else will be read. */
  hearGoodbye: (() => void) | null = null;
  needsPump = false;
  lastActivityMs: number;
  /** CONNECT deadline, then keep-alive. */
  readonly timer: Timer = new Timer(this);
  #pause: AudiencePause | null = null;
  #parked: Ring<ParkedAck> | null = null;
  /** QoS 1 and 2 messages behind one that must be stored before it is handed on; null: none. */
  #deferred: DeferredLine | null = null;
  /** QoS 1 messages that are not safe everywhere yet. */
  #parkedPubacks = 0;

  constructor(services: Services, sink: ByteSink, listener: ListenerInfo) {
    this.services = services;
    this.sink = sink;
    this.listener = listener;
    this.outlet = new Outlet(sink, this);
    this.lastActivityMs = services.core.clock.monotonicMs();
  }

  /** Rights from a CONNECT or a re-authentication. */
  setGate(gate: ClientGate | null): void {
    this.gate = gate;
    this.publishGate = gate?.allowsAll === true ? null : gate;
  }

  get closed(): boolean {
    return this.phase === Phase.CLOSED;
  }

  summary(): ClientSummary {
    return {
      clientId: this.clientId,
      protocolVersion: this.version,
      listener: this.listener.name,
      remoteAddress: this.sink.remoteAddress,
      remotePort: this.sink.remotePort,
      identity: this.identity,
      tenant: this.tenant,
    };
  }

  state(): ClientState {
    return {
      ...this.summary(),
      connectedAtMs: this.connectedAtMs,
      keepAliveS: this.keepAliveMs / 1000,
      certificate: this.sink.certificate,
      outboxBytes: this.outlet.pendingBytes,
    };
  }

  // ------------------------------------------------------------------ sending

  /** Sends a finished packet. */
  send(type: number, bytes: Uint8Array): void {
    if (this.outlet.closed) return;
    const { core } = this.services;
    core.stats.packetsSent[type]!++;
    core.outbox.appendBytes(this.outlet, bytes);
  }

  /** Sends PUBACK, PUBREC, PUBREL or PUBCOMP. */
  sendAck(type: number, packetId: number, reasonCode: number): void {
    if (this.outlet.closed) return;
    const { core } = this.services;
    const { outbox } = core;
    core.stats.packetsSent[type]!++;
    const start = outbox.reserve(6);
    outbox.position =
      reasonCode === 0
        ? writeAck(outbox.chunk, start, type, packetId)
        : writeAckReason(outbox.chunk, start, this.version, type, packetId, reasonCode);
    outbox.append(this.outlet, start, outbox.position);
  }

  /**
   * Answers a PUBLISH: at once when everything is safe, else after the commit. Acks leave in the
   * order of their packets [MQTT5-4.6.0-2], so one that waits holds up those behind it.
   */
  ackWhenSafe(
    type: number,
    packetId: number,
    reasonCode: number,
    ticket: Ticket,
    message: Awaited | null,
  ): void {
    if (this.#parked === null || this.#parked.length === 0) {
      if (ticket === 0 && (message === null || message.unsafeCount === 0)) {
        this.answer(type, packetId, reasonCode);
        return;
      }
    }
    if (message !== null) message.waiter = this;
    this.#park({ type, packetId, reasonCode, ticket, message, bytes: null, after: null });
  }

  /** Sends `bytes` when the ticket is durable; `after` runs right after it. */
  sendWhenSafe(
    type: number,
    bytes: Buffer,
    ticket: Ticket,
    after: ((failed: boolean) => void) | null,
    awaited: Awaited | null = null,
  ): void {
    const isSafe = ticket === 0 && (awaited === null || awaited.unsafeCount === 0);
    if (isSafe && (this.#parked === null || this.#parked.length === 0)) {
      if (awaited?.failed !== true) this.#sendAnswer(type, bytes);
      after?.(awaited?.failed === true);
      return;
    }
    if (awaited !== null) awaited.waiter = this;
    this.#park({ type, packetId: 0, reasonCode: 0, ticket, message: awaited, bytes, after });
  }

  #sendAnswer(type: number, bytes: Buffer): void {
    this.send(type, bytes);
    if (saysWhoIsThere(type) && this.services.core.bus !== null) this.outlet.isPromising = true;
  }

  #park(ack: ParkedAck): void {
    this.#parked ??= new Ring();
    this.#parked.push(ack);
    if (ack.type === PacketType.PUBACK) this.#parkedPubacks++;
    this.services.core.stats.parkedAcks++;
    if (ack.ticket !== 0) this.services.parked.add(this);
    if (this.#parked.length >= PARKED_ACKS_MAX) this.hold(Hold.PARKED);
  }

  messageSafe(): void {
    this.releaseParked();
  }

  /** Later QoS 1 and 2 messages must not overtake what is deferred. */
  get defers(): boolean {
    return this.#deferred !== null;
  }

  /** Hands the message on once it is stored, in order. */
  defer(deferred: DeferredPublish): void {
    this.#deferred ??= new DeferredLine(this);
    this.#deferred.push(deferred);
    this.services.parked.add(this);
    if (this.#deferred.length >= PARKED_ACKS_MAX) this.hold(Hold.PARKED);
    this.#releaseDeferred();
  }

  #releaseDeferred(): void {
    if (this.#deferred === null || this.#deferred.release()) this.#deferred = null;
  }

  get hasUnsafePubacks(): boolean {
    return this.#parkedPubacks > 0;
  }

  #unsafeMessages(): readonly Message[] {
    const unsafe: Message[] = [];
    for (let i = 0; i < (this.#parked?.length ?? 0); i++) {
      const { message } = this.#parked!.at(i)!;
      if (message instanceof Message && message.unsafeCount > 0) unsafe.push(message);
    }
    return unsafe;
  }

  /** False: others may count this node as dead by now and go on without it (hard case 2). */
  mayServe(): boolean {
    const { bus } = this.services.core;
    return bus === null || bus.mayServe();
  }

  /** The lease goes on: so does what stood still for it. */
  leaseRenewed(): void {
    if (this.outlet.isFenced) this.services.core.outbox.drained(this.outlet);
    this.releaseParked();
    this.release(Hold.LEASE);
  }

  /** Sends what is safe now, in order. Called when a commit is done or a message became safe. */
  releaseParked(): void {
    if (this.#deferred !== null) this.#releaseDeferred();
    const parked = this.#parked;
    if (this.closed) return;
    if (parked === null) {
      this.#nothingParked();
      return;
    }
    const { core } = this.services;
    while (parked.length > 0) {
      const ack = parked.at(0)!;
      if (ack.ticket > core.settledTicket) return;
      if (ack.message !== null && ack.message.unsafeCount > 0) return;
      if (saysWhoIsThere(ack.type) && !this.mayServe()) return;
      parked.shift();
      if (ack.type === PacketType.PUBACK) this.#parkedPubacks--;
      core.stats.parkedAcks--;
      const failed = core.failedTickets.has(ack.ticket) || ack.message?.failed === true;
      if (ack.bytes !== null) {
        if (!failed) this.#sendAnswer(ack.type, ack.bytes);
        ack.after?.(failed);
      } else if (failed) {
        this.answer(ack.type, ack.packetId, ReasonCode.QUOTA_EXCEEDED);
      } else {
        this.answer(ack.type, ack.packetId, ack.reasonCode);
      }
      if (this.closed) return;
    }
    // A QoS 2 message may have waited for the QoS 1 messages before it.
    if (this.#deferred !== null) this.#releaseDeferred();
    this.#nothingParked();
  }

  #nothingParked(): void {
    if (this.#deferred !== null) return;
    this.services.parked.delete(this);
    if ((this.holds & Hold.PARKED) !== 0) this.release(Hold.PARKED);
  }

  /** The final word on an inbound message, or PUBREC on the way to it. */
  answer(type: number, packetId: number, reasonCode: number): void {
    const isError = reasonCode >= 0x80;
    if (isError && (this.version !== 5 || type === PacketType.PUBCOMP)) {
      // 3.x has no negative ack, PUBCOMP none for this in any version [MQTT5-3.7.2-1]: what may be
      // tried again is left open by closing.
      if (reasonCode === ReasonCode.QUOTA_EXCEEDED) {
        // It will come again, and is then no repetition.
        if (type === PacketType.PUBREC) this.#forgetInbound(packetId);
        // The id is still in the store; PUBREL comes again.
        if (type === PacketType.PUBCOMP) this.session?.inboundIds?.add(packetId);
        this.close('store_failed');
        return;
      }
      this.sendAck(type, packetId, 0);
    } else {
      this.sendAck(type, packetId, reasonCode);
    }
    if (type !== PacketType.PUBREC || (isError && this.version === 5)) {
      // Not below 0: a PUBCOMP may end what an earlier connection began.
      if (this.inboundOpen > 0) this.inboundOpen--;
    }
    if (isError && type === PacketType.PUBREC && this.version === 5) {
      this.#forgetInbound(packetId);
    }
  }

  /** An error has ended an MQTT 5 exchange before it began. */
  inboundRefused(type: number, packetId: number): void {
    if (this.inboundOpen > 0) this.inboundOpen--;
    if (type === PacketType.PUBREC) this.#forgetInbound(packetId);
  }

  /** The message was refused: when it comes again it is new, also after a crash. */
  #forgetInbound(packetId: number): void {
    const { session } = this;
    if (!session?.inboundIds?.delete(packetId) || !session.durable) return;
    this.services.sessions.endInbound(session, packetId);
  }

  // ------------------------------------------------------------------ audience

  /** Stops reading until `receiver` has drained or counts as slow. */
  waitFor(receiver: Audience): void {
    if (this.holds !== 0 || receiver === this.outlet || receiver.closed) return;
    const { core } = this.services;
    core.stats.publishersPaused++;
    this.hold(Hold.AUDIENCE);
    this.#pause ??= new AudiencePause(core, this);
    this.#pause.begin(receiver);
  }

  audienceReady(): void {
    this.release(Hold.AUDIENCE);
  }

  hold(why: number): void {
    if (this.holds === 0) this.sink.pause();
    this.holds |= why;
  }

  release(why: number): void {
    if (this.closed || (this.holds & why) === 0) return;
    this.holds &= ~why;
    if (this.holds !== 0) return;
    // What was read before the hold comes first; it may lead to the next hold.
    this.goOn?.();
    if (this.holds === 0 && !this.closed) this.sink.resume();
  }

  /** The gate can be asked again. */
  resume(): void {
    this.release(Hold.DECISION);
  }

  outletDrained(): void {
    if (this.closed) return;
    releaseWaiters(this.outlet);
    const session = this.session;
    if (session !== null && session.outlet === this.outlet) this.services.delivery.pump(session);
    this.release(Hold.OUTLET);
  }

  // ------------------------------------------------------------------ time

  onTimer(timer: Timer, nowMs: number): void {
    const { core } = this.services;
    if (this.phase !== Phase.OPEN) {
      this.close('connect_timeout');
      return;
    }
    if (this.outlet.blocked && nowMs - this.outlet.progressMs >= core.limits.outboxStallMs) {
      this.close('outbox_stalled');
      return;
    }
    let dueMs = nowMs + core.limits.outboxStallMs;
    if (this.keepAliveMs > 0) {
      // [MQTT5-3.1.2-22]
      const silentMs = this.lastActivityMs + this.keepAliveMs * 1.5;
      if (this.holds !== 0) {
        // We are the ones who do not read: the client is not to blame.
        this.lastActivityMs = nowMs;
        dueMs = Math.min(dueMs, nowMs + this.keepAliveMs);
      } else if (silentMs <= nowMs) {
        this.close('keep_alive_timeout');
        return;
      } else {
        dueMs = Math.min(dueMs, silentMs);
      }
    }
    core.wheel.set(timer, dueMs);
  }

  /** Arms keep-alive and the stall check. */
  startTimer(): void {
    const { core } = this.services;
    const nowMs = core.clock.monotonicMs();
    let dueMs = nowMs + core.limits.outboxStallMs;
    if (this.keepAliveMs > 0) dueMs = Math.min(dueMs, nowMs + this.keepAliveMs * 1.5);
    core.wheel.set(this.timer, dueMs);
  }

  // ------------------------------------------------------------------ end

  /**
   * Ends the connection: tells the client why when its protocol can, lets go of the session, and
   * closes the socket so that the client can still read the reason.
   */
  close(reason: CloseReason, reasonString: string | null = null): void {
    if (this.closed) return;
    const { core } = this.services;
    // Nothing precedes CONNACK [MQTT5-3.2.0-1]; with it the session has got its outlet.
    const isAccepted = this.session !== null && this.session.outlet === this.outlet;
    this.phase = Phase.CLOSED;
    const spec = closeTable[reason];
    if (isAccepted && this.version === 5 && spec.reasonCode >= 0) {
      this.#sendDisconnect(spec.reasonCode, this.wantsProblemInformation ? reasonString : null);
    }
    this.#finish(reason);
    if (reason === 'socket_closed' || reason === 'socket_error') return;
    core.outbox.flushOutlet(this.outlet);
    core.outbox.discard(this.outlet);
    // Nothing was ever agreed with these: no word to linger for.
    if (reason === 'connect_timeout' || reason === 'not_connect') this.sink.destroy();
    else this.sink.end(core.limits.lingerMs);
  }

  #sendDisconnect(reasonCode: number, reasonString: string | null): void {
    const serverReference =
      reasonCode === ReasonCode.USE_ANOTHER_SERVER ? this.services.core.serverReference : null;
    const { packetBytesMax } = this.outlet;
    let bytes = encodeDisconnect(5, { reasonCode, reasonString, serverReference });
    // [MQTT5-3.14.2-3]: the text goes first when the packet would be too large for the client.
    if (bytes.length > packetBytesMax) {
      bytes = encodeDisconnect(5, { reasonCode, serverReference });
    }
    if (bytes.length > packetBytesMax) bytes = encodeDisconnect(5, { reasonCode });
    if (bytes.length <= this.outlet.packetBytesMax) this.send(PacketType.DISCONNECT, bytes);
  }

  /** Refuses a CONNECT: `connack` (or nothing) and then the socket's end. */
  refuse(why: RefuseReason, connack: Buffer | null): void {
    if (this.closed) return;
    const { core } = this.services;
    if (connack !== null) this.send(PacketType.CONNACK, connack);
    this.phase = Phase.CLOSED;
    core.stats.countRefused(why);
    if (core.observer !== null) core.observer.refused(this.summary(), why);
    core.logRefusal({ ...this.summary(), reason: why });
    this.#finish('connect_refused');
    core.outbox.flushOutlet(this.outlet);
    core.outbox.discard(this.outlet);
    this.sink.end(core.limits.lingerMs);
  }

  /** The socket is gone. */
  socketClosed(error: Error | null): void {
    this.services.core.stats.sockets--;
    if (!this.closed) this.close(error === null ? 'socket_closed' : 'socket_error');
    this.services.core.outbox.discard(this.outlet);
  }

  /** Acks that were not sent: QoS 1 comes again as new, QoS 2 must be known when it comes again. */
  #abandonParked(): void {
    const parked = this.#parked;
    if (parked === null) return;
    this.#parked = null;
    this.services.core.stats.parkedAcks -= parked.length;
    const session = this.session;
    if (session === null || session.inboundIds === null) return;
    while (parked.length > 0) {
      const ack = parked.shift()!;
      if (ack.type !== PacketType.PUBREC || ack.bytes !== null) continue;
      session.unanswered ??= new Map();
      session.unanswered.set(
        ack.packetId,
        new UnansweredPubrec(ack.reasonCode, ack.ticket, ack.message),
      );
    }
  }

  #finish(reason: CloseReason): void {
    const { core, parked, sessions, connections, connectionsByListener } = this.services;
    core.wheel.cancel(this.timer);
    this.#pause?.end();
    const ownership = this.session?.ownership ?? null;
    if (ownership !== null) {
      const unsafe = this.#unsafeMessages();
      if (unsafe.length > 0) ownership.lingering = new Lingering(unsafe);
    }
    this.#abandonParked();
    this.#deferred = null;
    parked.delete(this);
    this.goOn = null;
    this.hearGoodbye = null;
    connections.delete(this);
    const ofListener = (connectionsByListener.get(this.listener.name) ?? 1) - 1;
    if (ofListener > 0) connectionsByListener.set(this.listener.name, ofListener);
    else connectionsByListener.delete(this.listener.name);
    core.stats.connections = connections.size;
    core.stats.countClosed(reason);
    this.gate?.closed();
    const session = this.session;
    this.session = null;
    if (session !== null) core.stats.clientsConnected--;
    if (session !== null && session.owner === this) {
      if (core.observer !== null) core.observer.disconnected(this.summary(), reason);
      sessions.disconnected(session, closeTable[reason].publishesWill);
    }
    releaseWaiters(this.outlet);
    core.log.debug({ clientId: this.clientId, reason }, 'connection closed');
  }
}

/**
 * Answers that say what every node knows. All had applied it once; but a node that has joined since, and
 * that counts this one as dead, may not know it [P2].
 */
function saysWhoIsThere(type: number): boolean {
  return type === PacketType.SUBACK || type === PacketType.UNSUBACK || type === PacketType.CONNACK;
}
