/**
 * A subscriber of a chaos run with a session that outlives its connections. By its temper it stays,
 * comes and goes, is away for long, acks late, or changes its subscriptions. It keeps the receiver's
 * state of QoS 2 as the specification asks of a client, so what it counts twice came twice.
 */
import {
  ack,
  type ConnectFields,
  connect,
  disconnect,
  subscribe,
  unsubscribe,
} from '../conformance/packets.ts';
import type { ReadPacket } from '../conformance/reader.ts';
import type { QoS } from './ledger.ts';
import type { Dial, Line } from './line.ts';
import { readPayload, type Stage } from './stage.ts';

export type Temper = 'steady' | 'restless' | 'absent' | 'slow' | 'fickle';

export interface SubscriberOptions {
  readonly clientId: string;
  readonly version: 4 | 5;
  readonly temper: Temper;
  readonly qos: QoS;
  readonly filters: readonly string[];
  /** Name of the group in the ledger, for members of a shared subscription. */
  readonly group?: string;
  /** MQTT 5 only; 0: not said. */
  readonly receiveMaximum: number;
}

/** How long a temper stays and is away, in ms. */
const staysMs: Record<Temper, readonly [number, number]> = {
  steady: [1e9, 1e9],
  restless: [100, 1500],
  absent: [200, 1200],
  slow: [1500, 6000],
  fickle: [500, 3000],
};
const awayMs: Record<Temper, readonly [number, number]> = {
  steady: [0, 40],
  restless: [0, 700],
  absent: [1000, 5000],
  slow: [0, 100],
  fickle: [0, 300],
};
const ACK_LATE_MS = 120;
const FICKLE_EVERY_MS: readonly [number, number] = [200, 1200];
/** Deliveries in one connection after which a kill can still hit the backlog. */
const BACKLOG_COUNT = 30;
const SESSION_EXPIRY_S = 3600;

export class Subscriber {
  readonly options: SubscriberOptions;
  /** Planted fault: counts every such delivery twice. */
  plantRepeatEvery = 0;
  readonly #stage: Stage;
  readonly #name: string;
  /** Received and not released, by packet identifier, with what it was. */
  readonly #received = new Map<number, string>();
  readonly #wanted: Set<string>;
  /** SUBSCRIBE and UNSUBSCRIBE on their way, by packet identifier. */
  readonly #asked = new Map<number, { readonly filters: string[]; readonly isEnd: boolean }>();
  #isSubscribed = false;
  #late: { readonly dueMs: number; readonly packet: Buffer }[] = [];
  #link: Line | null = null;
  #isUp = false;
  #isClean = false;
  #packetId = 0;
  #retryAtMs = 0;
  #leaveAtMs = Number.POSITIVE_INFINITY;
  #changeAtMs = 0;
  #deliveries = 0;
  #wasAway = false;

  constructor(options: SubscriberOptions, stage: Stage) {
    this.options = options;
    this.#stage = stage;
    this.#name = options.group ?? options.clientId;
    this.#wanted = new Set(options.filters);
  }

  /** It was there and has its subscriptions; it may be away again. */
  get isSubscribed(): boolean {
    return this.#isSubscribed;
  }

  /** Called often: comes, goes, acks what is due, changes its mind. */
  tick(nowMs: number): void {
    const { dial, isClosing, isOver } = this.#stage;
    if (isOver) return;
    if (this.#link === null) {
      if (dial !== null && (nowMs >= this.#retryAtMs || isClosing)) this.#connect(dial);
      return;
    }
    while (this.#late[0] !== undefined && (this.#late[0].dueMs <= nowMs || isClosing)) {
      this.#link.send(this.#late.shift()!.packet);
    }
    if (!this.#isUp || isClosing) return;
    if (nowMs >= this.#leaveAtMs) this.#leave(nowMs);
    else if (this.options.temper === 'fickle' && nowMs >= this.#changeAtMs) this.#change(nowMs);
  }

  close(): void {
    this.#link?.close();
  }

  #connect(dial: Dial): void {
    const { clientId, version, temper, receiveMaximum } = this.options;
    this.#isClean = temper === 'fickle' && !this.#stage.isClosing && this.#stage.prng.once(4);
    const fields: ConnectFields = {
      version,
      clientId,
      clean: this.#isClean,
      keepAliveSec: 0,
      properties: [
        ['sessionExpiryInterval', SESSION_EXPIRY_S],
        ...(receiveMaximum > 0 ? [['receiveMaximum', receiveMaximum] as const] : []),
      ],
    };
    this.#link = dial(version, {
      opened: () => {
        this.#stage.ledger.connecting(clientId, this.#isClean);
        // Whether the broker hears of it or not, the client's state of the session ends here.
        if (this.#isClean) this.#received.clear();
        this.#link?.send(connect(fields));
      },
      packet: (packet) => this.#packet(packet),
      closed: () => this.#closed(),
      fault: (text) => this.#stage.ledger.fault(`${clientId}: ${text}`),
    });
  }

  #closed(): void {
    const { prng, isClosing } = this.#stage;
    this.#stage.trace?.(this.options.clientId, 'closed');
    this.#link = null;
    this.#isUp = false;
    this.#late = [];
    this.#asked.clear();
    const [low, high] = isClosing ? awayMs.steady : awayMs[this.options.temper];
    this.#retryAtMs = this.#stage.nowMs() + prng.between(low, high);
  }

  #leave(nowMs: number): void {
    this.#wasAway = true;
    this.#leaveAtMs = nowMs + 1e9;
    if (this.#stage.prng.once(2)) this.#link?.close();
    // With MQTT 5 as with 3.1.1 an orderly DISCONNECT keeps the session.
    else this.#link?.end(disconnect());
  }

  #packet(packet: ReadPacket): void {
    const { packetId } = packet;
    switch (packet.type) {
      case 'CONNACK':
        this.#connected(packet);
        return;
      case 'PUBLISH':
        this.#publish(packet);
        return;
      case 'PUBREL':
        this.#stage.trace?.(this.options.clientId, `PUBREL #${packetId}`);
        this.#received.delete(packetId);
        this.#stage.onMoment('released');
        this.#answer(ack('PUBCOMP', packetId));
        return;
      case 'SUBACK':
      case 'UNSUBACK':
        this.#granted(packet);
        return;
      case 'DISCONNECT':
        this.#link?.close();
        return;
      default:
        this.#stage.ledger.fault(`${this.options.clientId} was sent ${packet.type}`);
    }
  }

  #connected(packet: ReadPacket): void {
    const { ledger, prng } = this.#stage;
    const { clientId, temper } = this.options;
    const { reasonCode, sessionPresent } = packet;
    this.#stage.trace?.(clientId, `CONNACK ${reasonCode} ${sessionPresent ? 'present' : ''}`);
    if (packet.reasonCode !== 0) {
      if (!this.#stage.refusals.has(packet.reasonCode)) {
        ledger.fault(`${clientId}: CONNACK 0x${packet.reasonCode.toString(16)}`);
      }
      this.#link?.close();
      return;
    }
    this.#stage.onMoment('connack');
    const isLasting = !this.#isClean || this.options.version === 5;
    const isKnown = ledger.connected(clientId, this.#isClean, packet.sessionPresent, isLasting);
    if (!isKnown) this.#received.clear();
    if (!isLasting) {
      this.#link?.end(disconnect());
      return;
    }
    this.#isUp = true;
    this.#deliveries = 0;
    const nowMs = this.#stage.nowMs();
    const [low, high] = staysMs[temper];
    this.#leaveAtMs = nowMs + prng.between(low, high);
    this.#changeAtMs = nowMs + prng.between(...FICKLE_EVERY_MS);
    // Sometimes a client that knows its session trusts it, sometimes it subscribes all the same.
    if (!isKnown || !this.#isSubscribed || prng.once(2)) this.#ask([...this.#wanted], false);
  }

  #ask(filters: string[], isEnd: boolean): void {
    if (filters.length === 0) return;
    const { version, qos } = this.options;
    this.#packetId = (this.#packetId % 65_535) + 1;
    const packetId = this.#packetId;
    this.#asked.set(packetId, { filters, isEnd });
    if (isEnd) {
      for (const filter of filters) this.#stage.ledger.unsubscribing(this.#name, filter);
      this.#link?.send(unsubscribe({ version, packetId, filters }));
      return;
    }
    for (const filter of filters) this.#stage.ledger.subscribing(this.#name, plain(filter));
    const subscriptions = filters.map((filter) => ({ filter, qos }));
    this.#link?.send(subscribe({ version, packetId, subscriptions }));
  }

  #granted(packet: ReadPacket): void {
    const { ledger } = this.#stage;
    const asked = this.#asked.get(packet.packetId);
    if (asked === undefined) {
      ledger.fault(`${this.options.clientId}: ${packet.type} #${packet.packetId}`);
      return;
    }
    this.#asked.delete(packet.packetId);
    this.#stage.onMoment(asked.isEnd ? 'unsuback' : 'suback');
    for (const [index, filter] of asked.filters.entries()) {
      if (asked.isEnd) {
        ledger.unsubscribed(this.#name, plain(filter));
        continue;
      }
      const code = packet.reasonCodes[index];
      if (code !== this.options.qos) ledger.fault(`${filter} granted ${code}`);
      else ledger.subscribed(this.#name, plain(filter), this.options.qos);
    }
    this.#isSubscribed = true;
  }

  /** Ends one subscription, or takes it up again. */
  #change(nowMs: number): void {
    const { prng } = this.#stage;
    this.#changeAtMs = nowMs + prng.between(...FICKLE_EVERY_MS);
    if (this.#asked.size > 0) return;
    const filter = prng.pick(this.options.filters);
    const isEnd = this.#wanted.has(filter);
    if (isEnd) this.#wanted.delete(filter);
    else this.#wanted.add(filter);
    this.#ask([filter], isEnd);
  }

  #publish(packet: ReadPacket): void {
    const { ledger } = this.#stage;
    const { packetId, qos } = packet;
    const { stream, seq } = readPayload(packet.payload);
    const what = `${stream}:${seq}`;
    const known = qos === 2 ? this.#received.get(packetId) : undefined;
    this.#stage.trace?.(
      this.options.clientId,
      `PUBLISH #${packetId} ${qos} ${what} ${known ?? ''}`,
    );
    if (known !== undefined && known !== what) {
      const text = `#${packetId} was ${known} and not released, now it is ${what}`;
      ledger.fault(`${this.options.clientId}: ${text}`);
    }
    if (known === undefined) {
      ledger.deliveredMessage(this.#name, stream, seq, this.#who());
      this.#deliveries++;
      if (this.plantRepeatEvery > 0 && this.#deliveries % this.plantRepeatEvery === 0) {
        ledger.deliveredMessage(this.#name, stream, seq);
      }
    }
    if (qos === 2) this.#received.set(packetId, what);
    this.#stage.onMoment('delivery');
    if (this.#wasAway && this.#deliveries < BACKLOG_COUNT) this.#stage.onMoment('backlog');
    if (qos > 0) this.#answer(ack(qos === 1 ? 'PUBACK' : 'PUBREC', packetId));
  }

  #who(): string {
    const { clientId, group } = this.options;
    if (group === undefined) return '';
    return `${clientId} at ${Math.round(this.#stage.nowMs())} ms`;
  }

  /** At once, or late and in order. */
  #answer(packet: Buffer): void {
    const { isClosing, prng } = this.#stage;
    if (this.options.temper !== 'slow' || (isClosing && this.#late.length === 0)) {
      this.#link?.send(packet);
      return;
    }
    const last = this.#late.at(-1)?.dueMs ?? 0;
    const dueMs = Math.max(last, this.#stage.nowMs() + prng.between(0, ACK_LATE_MS));
    this.#late.push({ dueMs, packet });
  }
}

/** The filter a shared subscription matches by. */
function plain(filter: string): string {
  return filter.startsWith('$share/') ? filter.split('/').slice(2).join('/') : filter;
}
