/**
 * A device of a simulated run that goes from region to region: one durable session, its half of each QoS 2
 * exchange kept over all connections, acknowledgements that are late or never sent, subscriptions that change,
 * clean starts now and then. What it may do, and what may be held against the regions, it asks of
 * roaming-watch.ts; it knows no region from inside.
 */
import type { Ledger, QoS } from '../chaos/ledger.ts';
import type { Dial, Line } from '../chaos/line.ts';
import type { Prng } from '../chaos/prng.ts';
import { readPayload } from '../chaos/stage.ts';
import { ack, connect, disconnect, subscribe, unsubscribe } from '../conformance/packets.ts';
import type { ReadPacket } from '../conformance/reader.ts';

/** How long it stays anywhere: hardly, a while, or long. */
export type Gait = 'flapping' | 'walking' | 'strolling';

export interface RoamingClientOptions {
  readonly clientId: string;
  /** Where it goes: each two of them are linked. */
  readonly regions: readonly string[];
  readonly gait: Gait;
  readonly qos: QoS;
  readonly filters: readonly string[];
  /** Taken up and given up wherever it is. */
  readonly fickle: readonly string[];
  /** Subscribed to in each region anew, as moves give it up; null: none. */
  readonly shared: string | null;
  /** 0: not said. */
  readonly receiveMaximum: number;
  /** One CONNECT in so many is a clean start; 0: none. */
  readonly cleanOnceIn: number;
  /** It comes while messages flow, and goes on before any region can read of it. */
  readonly isNewcomer: boolean;
}

/** What a device needs to know of the world. */
export interface RoamingGuide {
  readonly ledger: Ledger;
  readonly prng: Prng;
  readonly nowMs: () => number;
  /** Messages flow. */
  readonly isStarted: boolean;
  /** Nobody goes anywhere any more. */
  readonly isClosing: boolean;
  readonly isOver: boolean;
  dial(region: string): Dial | null;
  /** Its session has one home, which all regions know. */
  isRooted(device: RoamingClient): boolean;
  connecting(device: RoamingClient, region: string): void;
  /** No session was found where one was: true if that is nobody's fault. */
  excuses(device: RoamingClient, region: string): boolean;
  /** A subscription has ended; true: another region still collects for it, and has to hear of that. */
  isCollected(device: RoamingClient): boolean;
  /** Whether what is published anywhere from now on is owed to that filter. */
  isOwed(region: string, filter: string): boolean;
  trace(clientId: string, text: string): void;
}

interface Visit {
  readonly region: string;
  readonly sinceMs: number;
  readonly isClean: boolean;
  line: Line | null;
  isUp: boolean;
}

const STAYS_MS: Record<Gait, readonly [number, number]> = {
  flapping: [0, 150],
  walking: [100, 2500],
  strolling: [1500, 8000],
};
/** Now and then it stays for long. */
const REST_MS: readonly [number, number] = [2000, 6000];
const AWAY_MS: readonly [number, number] = [0, 3000];
const EXPIRY_S = 3600;
const CONNACK_MS = 8000;
const SILENT = 0.04;
const LATE = 0.15;
const LATE_MS = 80;
const CHANGE_MS: readonly [number, number] = [200, 3000];
const COMING_MS: readonly [number, number] = [0, 6000];

type Asked = { readonly filters: readonly string[]; readonly isEnd: boolean };

export class RoamingClient {
  readonly options: RoamingClientOptions;
  /** CONNACKs with success, in another region than the one before. */
  moves = 0;
  /** It stays until its session is in one region: what it had was not found, with an excuse. */
  isForked = false;
  /** Where its last CONNACK came from. */
  region: string;
  /** What it was before it moved with its connection still open, and when that was. */
  left: { readonly region: string; readonly sinceMs: number } | null = null;
  readonly #guide: RoamingGuide;
  /** Received and not released, by packet identifier, with what it was. */
  readonly #received: Map<number, string> = new Map();
  readonly #wanted: Set<string>;
  readonly #asked: Map<number, Asked> = new Map();
  /** Granted, and not yet known everywhere. */
  readonly #granted: Set<string> = new Set();
  #late: { readonly dueMs: number; readonly packet: Buffer }[] = [];
  #visit: Visit | null = null;
  /** Where it goes next. */
  #target: string;
  #packetId = 0;
  /** Null: it has not come yet, and when it will is open. */
  #comesAtMs: number | null = null;
  #retryAtMs = 0;
  #moveAtMs = Number.POSITIVE_INFINITY;
  #changeAtMs = Number.POSITIVE_INFINITY;
  /** It has begun anew: it stays until that is known. */
  #isNew = true;
  /** Something it wants was never answered. */
  #mustAsk = true;
  #hasClosed = false;

  constructor(options: RoamingClientOptions, guide: RoamingGuide) {
    const home = options.regions[0]!;
    this.options = options;
    this.#guide = guide;
    this.region = home;
    this.#target = home;
    this.#wanted = new Set(options.filters);
  }

  get clientId(): string {
    return this.options.clientId;
  }

  /** It is where it wants to be, with all it wants granted. */
  get isServed(): boolean {
    return this.#visit?.isUp === true && this.#asked.size === 0 && !this.#isNew;
  }

  /** All that it was granted is owed to it. */
  get isClaimed(): boolean {
    return this.#granted.size === 0;
  }

  tick(nowMs: number): void {
    const guide = this.#guide;
    if (guide.isOver || !this.#hasCome(nowMs)) return;
    if (this.#granted.size > 0) this.#claim();
    const visit = this.#visit;
    if (visit === null) {
      if (nowMs >= this.#retryAtMs || guide.isClosing) this.#connect(nowMs);
      return;
    }
    if (!visit.isUp) {
      if (nowMs - visit.sinceMs > CONNACK_MS) this.#turnBack(visit);
      return;
    }
    while (this.#late[0] !== undefined && (this.#late[0].dueMs <= nowMs || guide.isClosing)) {
      visit.line?.send(this.#late.shift()!.packet);
    }
    if (this.#isNew) {
      // Whoever starts clean again before the regions know of it meets what nobody promises.
      const isKnown = this.isForked || this.options.isNewcomer || guide.isRooted(this);
      this.#isNew = this.#granted.size > 0 || !isKnown;
      this.#moveAtMs = nowMs + guide.prng.between(...STAYS_MS[this.options.gait]);
      return;
    }
    if (!guide.isClosing) this.#hasClosed = false;
    else if (!this.#hasClosed) {
      // What it never acknowledged is sent again, and may have filled its window.
      this.#hasClosed = true;
      visit.line?.close();
    }
    if (guide.isClosing || this.isForked) return;
    if (nowMs >= this.#moveAtMs) this.#move(visit, nowMs);
    else if (nowMs >= this.#changeAtMs) this.#change(nowMs);
  }

  close(): void {
    this.#visit?.line?.close();
  }

  #hasCome(nowMs: number): boolean {
    const { isStarted, isClosing, prng } = this.#guide;
    if (!this.options.isNewcomer) return true;
    if (!isStarted) return false;
    this.#comesAtMs ??= nowMs + prng.between(...COMING_MS);
    return isClosing || nowMs >= this.#comesAtMs;
  }

  // ------------------------------------------------------------------ coming and going

  #move(visit: Visit, nowMs: number): void {
    const { prng } = this.#guide;
    // Some come back to where they are.
    const ways = this.options.regions.filter((region) => region !== visit.region);
    this.#target = prng.once(12) ? visit.region : prng.pick(ways);
    const leave = prng.pick(['stay', 'reset', 'disconnect', 'away'] as const);
    this.#forget();
    const { line } = visit;
    if (leave === 'stay') {
      // Its end is seen by the watch: whoever takes over has it closed.
      this.left = { region: visit.region, sinceMs: nowMs };
      this.#connect(nowMs);
      return;
    }
    if (leave === 'disconnect') line?.end(disconnect());
    else line?.close();
    const [low, high] = leave === 'away' && prng.once(2) ? AWAY_MS : [0, 20];
    this.#retryAtMs = nowMs + prng.between(low, high);
  }

  /** Nobody answers there: it goes to where it knows somebody did. */
  #turnBack({ line }: Visit): void {
    this.#forget();
    line?.close();
    this.#target = this.region;
  }

  #forget(): void {
    this.#visit = null;
    this.#late = [];
    this.#asked.clear();
  }

  #connect(nowMs: number): void {
    const { prng, isClosing, isRooted } = this.#guide;
    const { clientId, receiveMaximum, cleanOnceIn } = this.options;
    const region = this.#target;
    const dial = this.#guide.dial(region);
    if (dial === null) {
      // That region is down; where it was there may be somebody.
      if (!isClosing && prng.once(2)) this.#target = this.region;
      this.#retryAtMs = nowMs + prng.between(10, 200);
      return;
    }
    const mayBegin = cleanOnceIn > 0 && !isClosing && !this.#isNew && !this.isForked;
    const isClean = mayBegin && prng.once(cleanOnceIn) && isRooted.call(this.#guide, this);
    const visit: Visit = { region, sinceMs: nowMs, isClean, line: null, isUp: false };
    this.#visit = visit;
    visit.line = dial(5, {
      opened: () => {
        if (this.#visit !== visit) return;
        this.#guide.connecting(this, region);
        this.#guide.ledger.connecting(clientId, isClean);
        // Whether the region hears of it or not, what the client knew ends here.
        if (isClean) this.#beginAnew();
        visit.line?.send(
          connect({
            version: 5,
            clientId,
            clean: isClean,
            keepAliveSec: 0,
            properties: [
              ['sessionExpiryInterval', EXPIRY_S],
              ...(receiveMaximum > 0 ? [['receiveMaximum', receiveMaximum] as const] : []),
            ],
          }),
        );
      },
      packet: (packet) => {
        // What is on its way to who has gone is nobody's.
        if (this.#visit === visit) this.#packet(visit, packet);
        else if (packet.type === 'DISCONNECT') visit.line?.close();
      },
      closed: () => this.#closed(visit),
      fault: (text) => this.#guide.ledger.fault(`${clientId}: ${text}`),
    });
  }

  #closed(visit: Visit): void {
    const { left } = this;
    if (this.#visit !== visit) {
      if (left !== null && left.region === visit.region) this.left = null;
      return;
    }
    this.#guide.trace(this.clientId, `closed by ${visit.region}`);
    this.#forget();
    const { prng, isClosing } = this.#guide;
    this.#retryAtMs = this.#guide.nowMs() + prng.between(0, isClosing ? 40 : 300);
  }

  // ------------------------------------------------------------------ what comes

  #packet(visit: Visit, packet: ReadPacket): void {
    const { packetId } = packet;
    switch (packet.type) {
      case 'CONNACK':
        this.#connected(visit, packet);
        return;
      case 'PUBLISH':
        this.#publish(visit, packet);
        return;
      case 'PUBREL':
        this.#guide.trace(this.clientId, `PUBREL #${packetId}`);
        this.#received.delete(packetId);
        visit.line?.send(ack('PUBCOMP', packetId));
        return;
      case 'SUBACK':
      case 'UNSUBACK':
        this.#answered(visit, packet);
        return;
      case 'DISCONNECT':
        visit.line?.close();
        return;
      default:
        this.#guide.ledger.fault(`${this.clientId} was sent ${packet.type}`);
    }
  }

  #connected(visit: Visit, { reasonCode, sessionPresent }: ReadPacket): void {
    const { ledger, prng, trace } = this.#guide;
    const { region, isClean } = visit;
    const { clientId } = this;
    const nowMs = this.#guide.nowMs();
    const answer = `CONNACK ${reasonCode}${sessionPresent ? ' present' : ''}`;
    trace.call(this.#guide, clientId, `${answer} in ${region}${isClean ? ', clean' : ''}`);
    if (reasonCode !== 0) {
      visit.line?.close();
      return;
    }
    const isLost = !isClean && !sessionPresent && ledger.expects(clientId);
    if (isLost && this.#guide.excuses(this, region)) {
      this.isForked = true;
      ledger.beginsAnew(clientId);
    }
    const isKnown = ledger.connected(clientId, isClean, sessionPresent);
    if (!isKnown) this.#beginAnew();
    if (region !== this.region) this.moves++;
    this.region = region;
    visit.isUp = true;
    const stays = prng.once(5) ? REST_MS : STAYS_MS[this.options.gait];
    this.#moveAtMs = nowMs + prng.between(...stays);
    this.#changeAtMs =
      this.options.fickle.length > 0
        ? nowMs + prng.between(...CHANGE_MS)
        : Number.POSITIVE_INFINITY;
    if (this.#mustAsk || prng.once(6)) this.#ask(visit, [...this.#wanted], false);
    const { shared } = this.options;
    if (shared !== null) this.#ask(visit, [shared], false);
  }

  #beginAnew(): void {
    this.#received.clear();
    this.#granted.clear();
    this.#isNew = true;
    this.#mustAsk = true;
  }

  #publish(visit: Visit, { packetId, qos, payload, dup }: ReadPacket): void {
    const { ledger, prng, trace } = this.#guide;
    const { stream, seq } = readPayload(payload);
    const what = `${stream}:${seq}`;
    const known = qos === 2 ? this.#received.get(packetId) : undefined;
    const how = `${visit.region} #${packetId} qos ${qos}${dup ? ' again' : ''}`;
    trace.call(this.#guide, this.clientId, `PUBLISH ${what} in ${how} ${known ?? ''}`);
    if (known !== undefined && known !== what) {
      const text = `#${packetId} was ${known} and not released, now it is ${what}`;
      ledger.fault(`${this.clientId} in ${visit.region}: ${text}`);
    }
    if (known === undefined) {
      const who = `in ${how} at ${Math.round(this.#guide.nowMs())} ms`;
      ledger.deliveredMessage(this.clientId, stream, seq, who);
    }
    if (qos === 0) return;
    if (qos === 2) this.#received.set(packetId, what);
    const answer = ack(qos === 1 ? 'PUBACK' : 'PUBREC', packetId);
    const luck = this.#guide.isClosing ? 1 : prng.next();
    if (luck < SILENT) return;
    if (luck > SILENT + LATE && this.#late.length === 0) {
      visit.line?.send(answer);
      return;
    }
    const last = this.#late.at(-1)?.dueMs ?? 0;
    const dueMs = Math.max(last, this.#guide.nowMs() + prng.between(0, LATE_MS));
    this.#late.push({ dueMs, packet: answer });
  }

  // ------------------------------------------------------------------ what it wants

  #ask(visit: Visit, filters: readonly string[], isEnd: boolean): void {
    if (filters.length === 0) return;
    const { ledger } = this.#guide;
    this.#packetId = (this.#packetId % 65_535) + 1;
    const packetId = this.#packetId;
    this.#asked.set(packetId, { filters, isEnd });
    for (const filter of filters) {
      if (isEnd) {
        this.#granted.delete(filter);
        ledger.unsubscribing(this.clientId, filter);
      } else ledger.subscribing(this.clientId, filter);
    }
    if (!isEnd) this.#mustAsk = true;
    const { qos } = this.options;
    const subscriptions = filters.map((filter) => ({ filter, qos }));
    visit.line?.send(
      isEnd
        ? unsubscribe({ version: 5, packetId, filters: [...filters] })
        : subscribe({ version: 5, packetId, subscriptions }),
    );
  }

  #answered({ region }: Visit, { type, packetId, reasonCodes }: ReadPacket): void {
    const { ledger } = this.#guide;
    const asked = this.#asked.get(packetId);
    if (asked === undefined) {
      ledger.fault(`${this.clientId}: ${type} #${packetId}`);
      return;
    }
    this.#asked.delete(packetId);
    if (this.#asked.size === 0) this.#mustAsk = false;
    for (const [index, filter] of asked.filters.entries()) {
      if (filter.startsWith('$share/')) continue;
      if (asked.isEnd) {
        if (!this.#guide.isCollected(this)) ledger.unsubscribed(this.clientId, filter);
      } else if (reasonCodes[index] !== this.options.qos) {
        ledger.fault(`${this.clientId}: ${filter} granted ${reasonCodes[index]}`);
      } else this.#granted.add(filter);
    }
    this.#guide.trace(this.clientId, `${type} ${asked.filters.join(' ')} in ${region}`);
    this.#claim();
  }

  /** What was granted is owed once whoever may be published to knows of it. */
  #claim(): void {
    for (const filter of this.#granted) {
      if (!this.#guide.isOwed(this.region, filter)) continue;
      this.#granted.delete(filter);
      this.#guide.ledger.subscribed(this.clientId, filter, this.options.qos);
    }
  }

  #change(nowMs: number): void {
    const { prng } = this.#guide;
    this.#changeAtMs = nowMs + prng.between(...CHANGE_MS);
    if (this.#asked.size > 0 || this.#visit === null) return;
    const filter = prng.pick(this.options.fickle);
    const isEnd = this.#wanted.has(filter);
    if (isEnd) this.#wanted.delete(filter);
    else this.#wanted.add(filter);
    this.#ask(this.#visit, [filter], isEnd);
  }
}
