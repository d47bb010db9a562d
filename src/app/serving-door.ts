/**
 * Stands between the listeners and the broker of a datacenter's node: while the node is no member, who
 * connects is told to try elsewhere (0x88) instead of waiting for it. Made by `node.ts`; keeps no
 * session and reads nothing but the first bytes of a CONNECT.
 */
import type { Acceptor, ByteHandler, ByteSink, ListenerInfo, Scheduler } from '../core/ports.ts';
import type { Stats } from '../core/stats.ts';
import { encodeConnack } from '../wire/connack.ts';
import { peekProtocolVersion } from '../wire/connect.ts';
import { bodyStart } from '../wire/framing.ts';
import { PacketType } from '../wire/packet-type.ts';
import { ReasonCode } from '../wire/reason-code.ts';

/** At one time; who comes then is closed without a word. */
const TURNED_AWAY_MAX = 1000;
const SWEEP_MS = 1000;
/** From the accepted socket to the CONNECT, and from the answer to its end. */
const SWEEPS_MAX = 5;
const LINGER_MS = 1000;
/** Fixed header and protocol name of a CONNECT; nobody sends them in pieces. */
const HEAD_BYTES_MIN = 2;

export class ServingDoor implements Acceptor {
  readonly #broker: Acceptor;
  readonly #stats: Stats;
  readonly #isServing: () => boolean;
  readonly #turnedAway: Set<TurnedAway> = new Set();
  readonly #scheduler: Pick<Scheduler, 'every'>;
  #stopSweeps: (() => void) | null = null;

  constructor(
    broker: Acceptor,
    stats: Stats,
    isServing: () => boolean,
    scheduler: Pick<Scheduler, 'every'>,
  ) {
    this.#broker = broker;
    this.#stats = stats;
    this.#isServing = isServing;
    this.#scheduler = scheduler;
  }

  accept(sink: ByteSink, listener: ListenerInfo): ByteHandler | null {
    if (this.#isServing()) return this.#broker.accept(sink, listener);
    this.#stats.socketsAccepted++;
    if (this.#turnedAway.size >= TURNED_AWAY_MAX) {
      this.#stats.socketsRefused++;
      return null;
    }
    const client = new TurnedAway(sink, this.#stats, () => this.#gone(client));
    this.#turnedAway.add(client);
    this.#stopSweeps ??= this.#scheduler.every(SWEEP_MS, () => {
      for (const one of this.#turnedAway) one.age();
    });
    return client;
  }

  #gone(client: TurnedAway): void {
    this.#turnedAway.delete(client);
    if (this.#turnedAway.size > 0) return;
    this.#stopSweeps?.();
    this.#stopSweeps = null;
  }

  close(): void {
    for (const client of [...this.#turnedAway]) client.end();
  }
}

class TurnedAway implements ByteHandler {
  readonly #sink: ByteSink;
  readonly #stats: Stats;
  readonly #onGone: () => void;
  #sweeps = 0;
  #isAnswered = false;

  constructor(sink: ByteSink, stats: Stats, onGone: () => void) {
    this.#sink = sink;
    this.#stats = stats;
    this.#onGone = onGone;
  }

  onBytes(buffer: Buffer, start: number, end: number): void {
    if (this.#isAnswered) return;
    this.#isAnswered = true;
    const bytes = refusal(buffer, start, end);
    if (bytes === null) {
      this.#stats.socketsRefused++;
      this.#sink.destroy();
      return;
    }
    this.#stats.packetsReceived[PacketType.CONNECT]!++;
    this.#stats.packetsSent[PacketType.CONNACK]!++;
    this.#stats.countRefused('session_unavailable');
    this.#sink.write(bytes, 0, bytes.length);
    this.#sink.end(LINGER_MS);
  }

  onDrained(): void {}

  onClosed(): void {
    this.#onGone();
  }

  age(): void {
    this.#sweeps++;
    if (this.#sweeps > SWEEPS_MAX) this.end();
  }

  end(): void {
    this.#sink.destroy();
  }
}

/** CONNACK in the version that was asked for; null: this is no CONNECT. */
function refusal(buffer: Buffer, start: number, end: number): Buffer | null {
  if (end - start < HEAD_BYTES_MIN || buffer[start]! >> 4 !== PacketType.CONNECT) return null;
  const version = peekProtocolVersion(buffer, bodyStart(buffer, start), end);
  if (version === 0) return null;
  return encodeConnack(version === 5 || version === 3 ? version : 4, {
    sessionPresent: false,
    reasonCode: ReasonCode.SERVER_UNAVAILABLE,
  });
}
