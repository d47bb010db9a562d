/**
 * A publisher of a chaos run, as a careful client library would be: it keeps its session, sends
 * again with DUP what was not acked, goes on with PUBREL where PUBREC had come, and never gives a
 * packet identifier away before its message is done.
 */
import { ack, connect, publish } from '../conformance/packets.ts';
import { property, type ReadPacket } from '../conformance/reader.ts';
import type { QoS } from './ledger.ts';
import type { Dial, Line } from './line.ts';
import { type Stage, writePayload } from './stage.ts';

export interface PublisherOptions {
  readonly clientId: string;
  readonly version: 4 | 5;
  /** Topics it uses in turn, each with one QoS. */
  readonly topics: readonly { readonly topic: string; readonly qos: QoS }[];
  readonly retain?: boolean;
  /** Messages that may wait for acks. */
  readonly window: number;
  /** Once in so many messages it drops the connection by itself; 0: never. */
  readonly restlessness: number;
  /** Bytes of most payloads; one in fifty is much larger. */
  readonly payloadBytes: number;
}

interface Outgoing {
  readonly stream: number;
  readonly seq: number;
  readonly topic: string;
  readonly qos: QoS;
  readonly payload: Buffer;
  isReleased: boolean;
  wasSent: boolean;
}

/** Payloads of one retained topic; '' is a cleared one. */
interface RetainedValues {
  acked: string;
  /** By packet identifier: not acked yet, so either they or what was before may be found. */
  readonly open: Map<number, string>;
  readonly all: string[];
}

const LARGE_BYTES = 20_000;
const UNSENT_BYTES_MAX = 64 * 1024;
const SESSION_EXPIRY_S = 3600;

export class Publisher {
  readonly options: PublisherOptions;
  /** Planted fault: hands every such message over twice, as a careless client would. */
  plantTwiceEvery = 0;
  readonly #stage: Stage;
  readonly #streams: readonly { stream: number; topic: string; qos: QoS }[];
  /** By packet identifier, in the order they were first sent. */
  readonly #open = new Map<number, Outgoing>();
  /** Of retained topics, by topic. */
  readonly #values = new Map<string, RetainedValues>();
  #link: Line | null = null;
  #isUp = false;
  #receiveMaximum = 65_535;
  #packetId = 0;
  #turn = 0;
  #count = 0;
  #retryAtMs = 0;

  constructor(options: PublisherOptions, stage: Stage) {
    this.options = options;
    this.#stage = stage;
    this.#streams = options.topics.map(({ topic, qos }) => ({
      stream: stage.ledger.stream(options.clientId, topic, qos),
      topic,
      qos,
    }));
    if (options.retain === true) {
      for (const { topic } of options.topics) {
        this.#values.set(topic, { acked: '', open: new Map(), all: [] });
      }
    }
  }

  get isDone(): boolean {
    return this.#open.size === 0;
  }

  /** Called often: connects when it is not, and publishes up to `count` messages. */
  tick(count: number, nowMs: number): void {
    const { dial, isClosing, isOver } = this.#stage;
    if (isOver) return;
    if (this.#link === null) {
      if (dial !== null && nowMs >= this.#retryAtMs) this.#connect(dial);
      return;
    }
    if (!this.#isUp || isClosing) return;
    const window = Math.min(this.options.window, this.#receiveMaximum);
    for (let i = 0; i < count; i++) {
      if (this.#open.size >= window || this.#link.unsentBytes > UNSENT_BYTES_MAX) return;
      this.#publishNext();
      const { restlessness } = this.options;
      if (restlessness > 0 && this.#stage.prng.once(restlessness)) {
        this.#link?.close();
        return;
      }
    }
  }

  close(): void {
    this.#link?.close();
  }

  #connect(dial: Dial): void {
    const { clientId, version } = this.options;
    this.#link = dial(version, {
      opened: () => {
        this.#stage.ledger.connecting(clientId, false);
        const properties = [['sessionExpiryInterval', SESSION_EXPIRY_S]] as const;
        this.#link?.send(
          connect({
            version,
            clientId,
            clean: false,
            keepAliveSec: 0,
            properties: [...properties],
          }),
        );
      },
      packet: (packet) => this.#packet(packet),
      closed: () => {
        this.#link = null;
        this.#isUp = false;
        this.#retryAtMs = this.#stage.nowMs() + this.#stage.prng.between(0, 40);
      },
      fault: (text) => this.#stage.ledger.fault(`${clientId}: ${text}`),
    });
  }

  #packet(packet: ReadPacket): void {
    switch (packet.type) {
      case 'CONNACK':
        this.#connected(packet);
        return;
      case 'PUBACK':
      case 'PUBREC':
      case 'PUBCOMP':
        this.#acknowledged(packet);
        return;
      case 'DISCONNECT':
        this.#link?.close();
        return;
      default:
        this.#stage.ledger.fault(`${this.options.clientId} was sent ${packet.type}`);
    }
  }

  #connected(packet: ReadPacket): void {
    const { ledger } = this.#stage;
    const { clientId } = this.options;
    if (packet.reasonCode !== 0) {
      if (this.#stage.refusals.has(packet.reasonCode)) {
        this.#link?.close();
        return;
      }
      ledger.fault(`${clientId}: CONNACK 0x${packet.reasonCode.toString(16)}`);
      this.#link?.close();
      return;
    }
    this.#stage.onMoment('connack');
    const isPresent = ledger.connected(clientId, false, packet.sessionPresent);
    const maximum = property(packet, 'receiveMaximum');
    this.#receiveMaximum = typeof maximum === 'number' ? maximum : 65_535;
    this.#isUp = true;
    for (const [packetId, message] of this.#open) {
      if (!isPresent && message.wasSent) ledger.mayRepeat(message.stream, message.seq);
      this.#send(packetId, message, isPresent);
    }
  }

  #send(packetId: number, message: Outgoing, isKnown: boolean): void {
    const { version, retain } = this.options;
    if (message.isReleased && isKnown) {
      this.#link?.send(ack('PUBREL', packetId));
      return;
    }
    message.isReleased = false;
    const { topic, qos, payload } = message;
    const dup = message.wasSent && isKnown;
    message.wasSent = true;
    this.#link?.send(
      publish({ version, topic, payload, qos, packetId, dup, retain: retain === true }),
    );
  }

  #publishNext(): void {
    const { prng } = this.#stage;
    const from = this.#streams[this.#turn++ % this.#streams.length]!;
    const seq = this.#stage.ledger.sent(from.stream);
    this.#count++;
    const payload = this.#payload(from.stream, seq, prng.once(50) ? LARGE_BYTES : 0);
    const message = { ...from, seq, payload, isReleased: false, wasSent: false };
    this.#hand(message);
    if (this.plantTwiceEvery > 0 && this.#count % this.plantTwiceEvery === 0) {
      this.#hand({ ...message });
    }
  }

  #hand(message: Outgoing): void {
    const packetId = this.#nextPacketId();
    this.#open.set(packetId, message);
    const values = this.#values.get(message.topic);
    values?.open.set(packetId, message.payload.toString('latin1'));
    values?.all.push(message.payload.toString('latin1'));
    this.#send(packetId, message, true);
  }

  #payload(stream: number, seq: number, bytes: number): Buffer {
    // Retained topics are cleared now and then.
    if (this.options.retain === true && this.#stage.prng.once(8)) return Buffer.alloc(0);
    return writePayload(stream, seq, Math.max(bytes, this.options.payloadBytes));
  }

  #nextPacketId(): number {
    do this.#packetId = (this.#packetId % 65_535) + 1;
    while (this.#open.has(this.#packetId));
    return this.#packetId;
  }

  #acknowledged({ type, packetId, reasonCode }: ReadPacket): void {
    const { ledger } = this.#stage;
    const message = this.#open.get(packetId);
    if (message === undefined) {
      // The answer to a PUBREL that was sent again; anything else acks what was never sent.
      if (type !== 'PUBCOMP') ledger.fault(`${this.options.clientId}: ${type} #${packetId}`);
      return;
    }
    if ((type === 'PUBACK') !== (message.qos === 1)) {
      ledger.fault(`${this.options.clientId}: ${type} for QoS ${message.qos}`);
      return;
    }
    if (type === 'PUBCOMP') {
      if (!message.isReleased) ledger.fault(`${this.options.clientId}: PUBCOMP before PUBREL`);
      this.#stage.onMoment('pubcomp');
      this.#open.delete(packetId);
      return;
    }
    if (reasonCode >= 0x80) {
      ledger.refusedMessage(message.stream, message.seq, reasonCode);
      this.#settleRetained(packetId, message, false);
      this.#open.delete(packetId);
      return;
    }
    ledger.ackedMessage(message.stream, message.seq);
    this.#settleRetained(packetId, message, true);
    this.#stage.onMoment(type === 'PUBACK' ? 'puback' : 'pubrec');
    if (type === 'PUBACK') {
      this.#open.delete(packetId);
      return;
    }
    message.isReleased = true;
    this.#link?.send(ack('PUBREL', packetId));
  }

  /** After an ack the value stands, unless a later one was acked already. */
  #settleRetained(packetId: number, message: Outgoing, isTaken: boolean): void {
    const values = this.#values.get(message.topic);
    if (values === undefined) return;
    if (isTaken) values.acked = message.payload.toString('latin1');
    values.open.delete(packetId);
  }

  get retainedTopics(): Iterable<string> {
    return this.#values.keys();
  }

  /** What whoever subscribes now may find of a retained topic, as a question to ask later. */
  retainedAllowed(topic: string): () => string[] {
    const values = this.#values.get(topic)!;
    const now = [values.acked, ...values.open.values()];
    const mark = values.all.length;
    return () => [...now, ...values.all.slice(mark)];
  }
}
