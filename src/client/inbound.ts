/**
 * Messages on their way in: handed to the handler one by one in their order, acknowledged when it is
 * done. Holds the inbound half of the session, the QoS 2 identifiers between PUBREC and PUBREL
 * [MQTT5-4.3.3-2], so it outlives connections. Driven by `client.ts`.
 */

import { Ring } from '../util/ring.ts';
import type { PublishView } from '../wire/publish.ts';
import type { ReceivedMessage } from './message.ts';

/** Takes a message; a promise delays its acknowledgement and the next message until it settles. */
export type MessageHandler = (message: ReceivedMessage) => void | Promise<void>;

/**
 * Takes a message as it came (the view is only lent) and calls `done` once, now or later; until then the
 * next ones are handed over all the same. Acknowledgements leave in the order of their messages
 * [MQTT5-4.6.0-2]; after `done(false)` the connection ends, so that the server sends again what is open.
 */
export type ArrivalHandler = (
  view: PublishView,
  topic: string,
  done: (isTaken: boolean) => void,
) => void;

/** The connection a message came over; its acknowledgement goes nowhere else. */
export interface InboundConnection {
  acknowledge(qos: 1 | 2, packetId: number): void;
  /** More waits than should: stop reading, then go on. */
  pauseReading(): void;
  resumeReading(): void;
  handlerFailed(error: unknown): void;
}

interface Arrival {
  readonly message: ReceivedMessage;
  readonly packetId: number;
  readonly connection: InboundConnection;
  readonly session: number;
}

/** One that was handed over as it came. */
interface Lent {
  readonly qos: 1 | 2;
  readonly packetId: number;
  isDone: boolean;
}

/** What one connection has handed over and not acknowledged, in order. */
class LentLine {
  readonly waiting: Ring<Lent> = new Ring();
  hasFailed = false;
}

/** Beyond either, reading stops until half of it is left. */
const WAITING_MESSAGES_MAX = 256;
const WAITING_BYTES_MAX = 8 * 1024 * 1024;

export class Inbound {
  readonly #handler: MessageHandler;
  /** QoS 2 identifiers handed over and not released. */
  readonly #delivered: Set<number> = new Set();
  /** Rises when the server starts a new session: what came before belongs to none. */
  #session = 0;
  #waiting: Arrival[] = [];
  #head = 0;
  #waitingBytes = 0;
  #isBusy = false;
  #isStopped = false;
  #paused: InboundConnection | null = null;
  /** Of the connection that is up; only with `lend`. */
  #lent: LentLine = new LentLine();

  constructor(handler: MessageHandler) {
    this.#handler = handler;
  }

  connected(sessionPresent: boolean): void {
    this.#lent = new LentLine();
    if (sessionPresent) return;
    this.#session++;
    this.#delivered.clear();
  }

  /** No message is handed over or acknowledged from now on, but the one the handler has. */
  stop(): void {
    this.#isStopped = true;
    this.#waiting = [];
    this.#head = 0;
    this.#waitingBytes = 0;
  }

  arrived(message: ReceivedMessage, packetId: number, connection: InboundConnection): void {
    if (this.#isStopped) return;
    this.#waiting.push({ message, packetId, connection, session: this.#session });
    this.#waitingBytes += message.payload.length;
    if (!this.#isBusy) this.#work();
    else if (this.#head > WAITING_MESSAGES_MAX) {
      this.#waiting.splice(0, this.#head);
      this.#head = 0;
    }
    const isFull =
      this.#waiting.length - this.#head > WAITING_MESSAGES_MAX ||
      this.#waitingBytes > WAITING_BYTES_MAX;
    if (isFull && this.#paused !== connection) {
      this.#paused = connection;
      connection.pauseReading();
    }
  }

  /** Hands a message over as it came, without waiting for those before it. */
  lend(
    handler: ArrivalHandler,
    view: PublishView,
    topic: string,
    connection: InboundConnection,
  ): void {
    if (this.#isStopped) return;
    const { qos, packetId } = view;
    if (qos === 0) {
      handler(view, topic, (isTaken) => {
        if (!isTaken) connection.handlerFailed(new Error('a message could not be taken'));
      });
      return;
    }
    const line = this.#lent;
    const session = this.#session;
    const lent: Lent = { qos, packetId, isDone: false };
    line.waiting.push(lent);
    // [MQTT5-4.3.3-10] seen before: only the acknowledgement is repeated.
    if (qos === 2 && this.#delivered.has(packetId)) {
      lent.isDone = true;
      this.#acknowledgeLent(line, connection, session);
      return;
    }
    handler(view, topic, (isTaken) => {
      if (!isTaken && !line.hasFailed) {
        line.hasFailed = true;
        connection.handlerFailed(new Error('a message could not be taken'));
      }
      if (line.hasFailed) return;
      lent.isDone = true;
      this.#acknowledgeLent(line, connection, session);
    });
  }

  #acknowledgeLent(line: LentLine, connection: InboundConnection, session: number): void {
    const { waiting } = line;
    for (let first = waiting.at(0); first?.isDone === true; first = waiting.at(0)) {
      waiting.shift();
      const { qos, packetId } = first;
      if (qos === 2 && session === this.#session) this.#delivered.add(packetId);
      // Of a connection that is gone it goes nowhere.
      connection.acknowledge(qos, packetId);
    }
  }

  /** PUBREL: true when the identifier was in use. */
  released(packetId: number): boolean {
    return this.#delivered.delete(packetId);
  }

  #work(): void {
    this.#isBusy = true;
    while (this.#head < this.#waiting.length) {
      const arrival = this.#waiting[this.#head++]!;
      this.#waitingBytes -= arrival.message.payload.length;
      const pending = this.#deliver(arrival);
      if (pending !== null) {
        pending.then(
          () => {
            this.#done(arrival);
            this.#work();
          },
          (error: unknown) => {
            this.#failed(arrival, error);
            this.#work();
          },
        );
        this.#maybeResume();
        return;
      }
    }
    this.#isBusy = false;
    this.#waiting.length = 0;
    this.#head = 0;
    this.#maybeResume();
  }

  #deliver(arrival: Arrival): Promise<void> | null {
    const { message, packetId } = arrival;
    // [MQTT5-4.3.3-10] seen before: only the acknowledgement is repeated.
    const isRepeated =
      message.qos === 2 && arrival.session === this.#session && this.#delivered.has(packetId);
    if (isRepeated) {
      this.#done(arrival);
      return null;
    }
    try {
      const pending = this.#handler(message);
      if (pending instanceof Promise) return pending;
      this.#done(arrival);
    } catch (error) {
      this.#failed(arrival, error);
    }
    return null;
  }

  /**
   * The connection ends, so that the server delivers again; what came after over it is dropped here,
   * or it would overtake the failed message.
   */
  #failed(arrival: Arrival, error: unknown): void {
    const { connection } = arrival;
    const kept = this.#waiting
      .slice(this.#head)
      .filter((one) => one.connection !== connection || one.message.qos === 0);
    this.#waiting = kept;
    this.#head = 0;
    this.#waitingBytes = kept.reduce((bytes, one) => bytes + one.message.payload.length, 0);
    connection.handlerFailed(error);
  }

  #done(arrival: Arrival): void {
    const { message, packetId, connection, session } = arrival;
    if (message.qos === 0) return;
    if (message.qos === 2 && session === this.#session) this.#delivered.add(packetId);
    connection.acknowledge(message.qos, packetId);
  }

  #maybeResume(): void {
    const connection = this.#paused;
    if (connection === null) return;
    const left = this.#waiting.length - this.#head;
    if (left * 2 > WAITING_MESSAGES_MAX || this.#waitingBytes * 2 > WAITING_BYTES_MAX) return;
    this.#paused = null;
    connection.resumeReading();
  }
}
