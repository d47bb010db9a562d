/**
 * The bridge to one other broker: a session there and one here, each a client of its own, and topics carried
 * between them (docs/adr/0022, Bridges). A message is acknowledged at the end it came from when the other end
 * has it for good. Made by `bridge-holder.ts`, on the node that has the role.
 */
import { isDeepStrictEqual } from 'node:util';
import { Client } from '../../client/client.ts';
import { ClientError } from '../../client/client-error.ts';
import { parseEndpoint } from '../../client/endpoint.ts';
import { lentMessage } from '../../client/message.ts';
import type { Subscription } from '../../client/subscriptions.ts';
import type { TlsOptions } from '../../client/transport.ts';
import type { BridgeBudget, BridgeTerms } from '../../core/bridge-budgets.ts';
import { bridgeIdOf } from '../../core/bridge-names.ts';
import type { Acceptor, Admin, Clock, ListenerInfo, Log, Scheduler } from '../../core/ports.ts';
import type { ConnackPacket } from '../../wire/connack.ts';
import type { ProtocolVersion } from '../../wire/protocol-version.ts';
import type { PublishView } from '../../wire/publish.ts';
import { ReasonCode } from '../../wire/reason-code.ts';
import { BridgeCounters } from './bridge-counters.ts';
import { BridgeNotice, type NoticeSettings } from './bridge-notice.ts';
import { EchoSet } from './echo-set.ts';
import { openOwnConnection } from './own-connection.ts';
import { type BridgeTopic, mapTopic, type TopicWay, waysOf } from './topic-map.ts';

/** Of one entry of `bridges`, files read. */
export interface BridgeSettings extends BridgeTerms {
  readonly url: string;
  readonly version: ProtocolVersion;
  readonly tls: TlsOptions | undefined;
  readonly clientId: string;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly cleanStart: boolean;
  readonly keepaliveS: number;
  readonly tryPrivate: boolean;
  /** QoS 1 and 2 messages on the way to the other broker and not acknowledged; with MQTT 5 also from there. */
  readonly inFlightMax: number;
  readonly notice: NoticeSettings | null;
  readonly topics: readonly BridgeTopic[];
}

export interface BridgeParts {
  readonly settings: BridgeSettings;
  readonly broker: Acceptor;
  readonly budget: BridgeBudget;
  readonly sessions: Pick<Admin, 'subscriptions'>;
  /** Retained, at this broker. */
  readonly publish: (topic: string, payload: string) => void;
  /** Asked for each message: a node that was stopped may be the holder no longer (hard case 2). */
  readonly isHolder: () => boolean;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly log: Log;
}

const RECONNECT_MIN_MS = 1000;
const RECONNECT_MAX_MS = 30_000;
/** To this very broker: it is there, unless it is drained or stops. */
const OWN_RECONNECT_MIN_MS = 100;
const OWN_RECONNECT_MAX_MS = 2000;
const NEVER_EXPIRES = 0xffff_ffff;
/** On the way to this broker; what MQTT 5 brings is bounded by its own Receive Maximum. */
const OWN_INFLIGHT_MAX = 16_384;
/** MQTT 3 has no word for it: mosquitto takes 20 of QoS 2, and loses without a word what is more. */
const INFLIGHT_OLD_QOS2_MAX = 16;
/** Identifiers that are left for subscriptions. */
const PACKET_IDS_SPARE = 128;
/** On the way to an end, until reading from the other stops, and half of it until it goes on. */
const PENDING_BYTES_MAX = 16 * 1024 * 1024;
/** Beside what may be in flight: those of QoS 0. */
const PENDING_MESSAGES_SPARE = 4096;
/** What memory has of a message beside topic and payload, about. */
const PENDING_OVERHEAD_BYTES = 256;
const FILTERS_AT_ONCE = 64;

/** What is on the way to one end, and whether the other end has been told to wait. */
interface Way {
  readonly messagesMax: number;
  bytes: number;
  messages: number;
  isPaused: boolean;
}

function wayOf(inFlightMax: number): Way {
  const messagesMax = inFlightMax + PENDING_MESSAGES_SPARE;
  return { messagesMax, bytes: 0, messages: 0, isPaused: false };
}

export class Bridge {
  readonly name: string;
  readonly counters: BridgeCounters = new BridgeCounters();
  /** Why it is not up; '': it is. */
  problem = 'not connected yet';
  readonly #parts: BridgeParts;
  readonly #in: readonly TopicWay[];
  readonly #out: readonly TopicWay[];
  readonly #echoes: EchoSet;
  readonly #notice: BridgeNotice;
  readonly #toFar: Way;
  readonly #toOwn: Way;
  #own: Client | null = null;
  #far: Client | null = null;
  /** The other broker does not know the bit that says bridge. */
  #isPrivateRefused = false;
  /** Sessions may lack subscriptions, as those an earlier life has left. */
  #isHereDoubtful = true;
  #isThereDoubtful = true;
  #isUp = false;
  #isStopped = false;
  #hadSession = false;
  #upSinceMs = 0;
  #farQosMax = 2;
  #farRetains = true;
  #refused = 0;
  #saidProblem = '';

  constructor(parts: BridgeParts) {
    this.#parts = parts;
    const { name, topics, inFlightMax } = parts.settings;
    this.name = name;
    this.#in = waysOf(topics, 'in');
    this.#out = waysOf(topics, 'out');
    this.#toFar = wayOf(inFlightMax);
    this.#toOwn = wayOf(OWN_INFLIGHT_MAX);
    this.#notice = new BridgeNotice(parts.settings.notice, parts.publish);
    this.#echoes = new EchoSet(() => parts.clock.monotonicMs());
  }

  /** Nothing would change; another budget holds as it is. */
  isOf(settings: BridgeSettings): boolean {
    const { budgetAgeMs, budgetBytes } = settings;
    return isDeepStrictEqual({ ...this.#parts.settings, budgetAgeMs, budgetBytes }, settings);
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  /** Wall-clock ms; 0: it is down. */
  get upSinceMs(): number {
    return this.#isUp ? this.#upSinceMs : 0;
  }

  /** Filters the other broker has refused. */
  get refusedFilters(): number {
    return this.#refused;
  }

  /** Without user and password. */
  get url(): string {
    return parseEndpoint(this.#parts.settings.url).display;
  }

  start(): void {
    const { broker, budget, settings, scheduler } = this.#parts;
    // What was handed over here could not be dropped any more.
    budget.hold();
    // An earlier life may have said something else.
    this.#notice.sayHere(false, this.#parts.isHolder());
    const listener: ListenerInfo = {
      name: `bridge ${settings.name}`,
      transport: 'tcp',
      limits: { topicAliasMax: 0, receiveMaximum: OWN_INFLIGHT_MAX },
      isOwn: true,
    };
    const own = new Client({
      // Shown in its errors only.
      url: 'unix:this-broker',
      openTransport: (handler) => openOwnConnection(broker, listener, scheduler, handler),
      clientId: bridgeIdOf(settings.name),
      version: 5,
      cleanStart: false,
      keepAliveS: 0,
      properties: {
        sessionExpiryIntervalS: NEVER_EXPIRES,
        receiveMaximum: settings.inFlightMax,
        topicAliasMaximum: 0,
      },
      inflightMax: OWN_INFLIGHT_MAX,
      packetIdMax: OWN_INFLIGHT_MAX + PACKET_IDS_SPARE,
      queueMessagesMax: Number.POSITIVE_INFINITY,
      queueBytesMax: Number.POSITIVE_INFINITY,
      completesStale: this.#in.some(({ qos }) => qos === 2),
      reconnect: { minMs: OWN_RECONNECT_MIN_MS, maxMs: OWN_RECONNECT_MAX_MS, always: true },
      resubscribe: false,
      onArrival: (view, topic, done) => this.#leave(view, topic, done),
      onConnected: ({ sessionPresent }) => {
        if (this.#toFar.isPaused) own.pause();
        if (sessionPresent && !this.#isHereDoubtful) return;
        this.#subscribeHere(own);
      },
      onDisconnected: (error) => this.#ownLost(error),
    });
    this.#own = own;
    // Before anything comes from here: what waits leaves with the first answer of this broker.
    this.#dial();
    own.connect().catch(() => {});
  }

  /** In order; what is not acknowledged comes again, at both ends. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#isUp = false;
    this.#notice.sayHere(false, this.#parts.isHolder());
    // First, so that nothing more is acknowledged here that has not been there.
    if (this.#far !== null) await this.#leaveThere(this.#far);
    await this.#own?.disconnect({ sessionExpiryIntervalS: NEVER_EXPIRES });
  }

  async #leaveThere(far: Client): Promise<void> {
    const { version, cleanStart } = this.#parts.settings;
    if (version === 5) {
      const hasWill = this.#notice.will !== undefined;
      const reasonCode = hasWill ? ReasonCode.DISCONNECT_WITH_WILL_MESSAGE : undefined;
      const sessionExpiryIntervalS = cleanStart ? 0 : NEVER_EXPIRES;
      await far.disconnect({ reasonCode, sessionExpiryIntervalS });
    } else if (!far.isConnected || this.#notice.sayThere(far, false, this.#farRetains)) {
      await far.disconnect();
    } else {
      // Too much is in front of it: then the will says it.
      await far.destroy();
    }
  }

  // ------------------------------------------------------------------ the session here

  #subscribeHere(own: Client): void {
    const { sessions, log, settings } = this.#parts;
    const { name } = settings;
    const wanted = new Set(this.#out.map(({ filter }) => filter));
    const had = sessions.subscriptions(bridgeIdOf(name)) ?? [];
    const over = had.map(({ filter }) => filter).filter((filter) => !wanted.has(filter));
    const asked: Promise<unknown>[] = [];
    this.#isHereDoubtful = false;
    for (let i = 0; i < over.length; i += FILTERS_AT_ONCE) {
      asked.push(own.unsubscribe(over.slice(i, i + FILTERS_AT_ONCE)));
    }
    for (let i = 0; i < this.#out.length; i += FILTERS_AT_ONCE) {
      const some = this.#out.slice(i, i + FILTERS_AT_ONCE).map(wishOf);
      asked.push(
        own.subscribe(some).then((results) => {
          for (const { filter, error } of results) {
            if (error !== null) log.error({ bridge: name, filter }, `bridge: ${error.message}`);
          }
        }),
      );
    }
    Promise.all(asked).catch(() => {
      // No answer: asked for again, over the next connection if this one is gone.
      if (own.isConnected && !this.#isStopped) this.#subscribeHere(own);
      else this.#isHereDoubtful = true;
    });
  }

  #ownLost(error: ClientError): void {
    if (this.#isStopped) return;
    this.#parts.log.warn(
      { bridge: this.name, problem: error.message },
      'bridge: its session here was let go',
    );
  }

  // ------------------------------------------------------------------ the other broker

  #dial(): void {
    if (this.#far !== null || this.#isStopped) return;
    const { settings } = this.#parts;
    const { url, version, clientId, username, password, tls, cleanStart, keepaliveS } = settings;
    const { inFlightMax } = settings;
    const isBridge = version !== 5 && settings.tryPrivate && !this.#isPrivateRefused;
    let far: Client;
    let wasUp = false;
    try {
      far = new Client({
        ...{ url, version, clientId, username, password, tls, cleanStart, isBridge },
        keepAliveS: keepaliveS,
        will: this.#notice.will,
        properties: {
          sessionExpiryIntervalS: cleanStart ? 0 : NEVER_EXPIRES,
          receiveMaximum: inFlightMax,
          topicAliasMaximum: 0,
        },
        // At MQTT 5 also bound by what the other broker says in CONNACK [MQTT5-3.2.2.3.3].
        inflightMax: inFlightMax,
        inflightQos2Max: version === 5 ? undefined : INFLIGHT_OLD_QOS2_MAX,
        packetIdMax: inFlightMax + PACKET_IDS_SPARE,
        queueMessagesMax: Number.POSITIVE_INFINITY,
        queueBytesMax: Number.POSITIVE_INFINITY,
        // Nobody could say whether the other broker had it.
        resendsLost: true,
        completesStale: this.#out.some(({ qos }) => qos === 2),
        reconnect: { minMs: RECONNECT_MIN_MS, maxMs: RECONNECT_MAX_MS, always: true },
        resubscribe: false,
        onArrival: (view, topic, done) => this.#enter(view, topic, done),
        onConnected: (connack) => {
          this.#connected(far, connack);
          wasUp = true;
        },
        onDisconnected: (error) => {
          this.#disconnected(error);
          const isUnknown = error.reasonCode === ReasonCode.UNSUPPORTED_PROTOCOL_VERSION;
          if (!isBridge || wasUp || !(isUnknown || error.code === 'connection_lost')) return;
          // As with mosquitto: a broker that does not know the bit says so, or hangs up.
          this.#isPrivateRefused = true;
          this.#far = null;
          far.destroy().then(() => this.#dial());
        },
      });
    } catch (error) {
      this.#say((error as Error).message);
      return;
    }
    this.#far = far;
    // It tries for as long as it is not stopped.
    far.connect().catch(() => {});
  }

  #connected(far: Client, connack: ConnackPacket): void {
    const { log, clock, settings } = this.#parts;
    const { sessionPresent } = connack;
    this.counters.connects++;
    this.#isUp = true;
    this.#upSinceMs = clock.wallMs();
    this.problem = '';
    this.#saidProblem = '';
    this.#farQosMax = connack.maximumQos ?? 2;
    this.#farRetains = connack.retainAvailable ?? true;
    log.info({ bridge: this.name, sessionPresent }, 'bridge is up');
    this.#notice.sayThere(far, true, this.#farRetains);
    this.#notice.sayHere(true, this.#parts.isHolder());
    if (!sessionPresent && this.#hadSession && !settings.cleanStart && this.#in.length > 0) {
      this.counters.gaps++;
      log.warn(
        { bridge: this.name },
        'the other broker has lost the session with what it had queued',
      );
    }
    this.#hadSession = true;
    if (this.#toOwn.isPaused) far.pause();
    if (this.#isThereDoubtful || !sessionPresent) this.#subscribeThere(far);
    this.#parts.budget.release();
  }

  #disconnected(error: ClientError): void {
    if (this.#isStopped) return;
    if (this.#isUp) this.#notice.sayHere(false, this.#parts.isHolder());
    this.#isUp = false;
    this.#parts.budget.hold();
    this.counters.failures++;
    this.#say(error.message);
  }

  /** Once for each problem: it may last for hours. */
  #say(problem: string): void {
    this.problem = problem;
    if (problem === this.#saidProblem) return;
    this.#saidProblem = problem;
    this.#parts.log.warn({ bridge: this.name, problem }, 'bridge is down');
  }

  #subscribeThere(far: Client): void {
    this.#refused = 0;
    this.#isThereDoubtful = false;
    for (let i = 0; i < this.#in.length; i += FILTERS_AT_ONCE) {
      far.subscribe(this.#in.slice(i, i + FILTERS_AT_ONCE).map(wishOf)).then(
        (results) => {
          for (const { filter, error } of results) {
            if (error === null) continue;
            this.#refused++;
            const { log } = this.#parts;
            log.warn(
              { bridge: this.name, filter, problem: error.message },
              'bridge: filter refused',
            );
          }
        },
        () => {
          // As above.
          if (far.isConnected && !this.#isStopped) this.#subscribeThere(far);
          else this.#isThereDoubtful = true;
        },
      );
    }
  }

  // ------------------------------------------------------------------ messages

  /** From the other broker. */
  #enter(view: PublishView, topic: string, done: (isTaken: boolean) => void): void {
    const own = this.#own;
    if (own === null || !this.#parts.isHolder()) {
      done(false);
      return;
    }
    const mapped = mapTopic(this.#in, topic);
    if (mapped === null || mapped.topic.startsWith('$')) {
      this.counters.refusedIn++;
      done(true);
      return;
    }
    const { qos, payload, properties, retain } = lentMessage(view, topic);
    if (this.#mayEcho && this.#echoes.take(topic, payload)) {
      this.counters.echoes++;
      done(true);
      return;
    }
    const { length } = payload;
    const keeps = retain && mapped.way.retain !== 'clear';
    const bytes = this.#departs(this.#toOwn, this.#far, mapped.topic.length + length);
    own.post({ topic: mapped.topic, payload, qos, retain: keeps, properties }, (result) => {
      this.#arrives(this.#toOwn, bytes);
      if (!(result instanceof ClientError)) {
        this.counters.received++;
        this.counters.receivedBytes += length;
        done(true);
        return;
      }
      if (this.#isStopped || result.code === 'closed') return;
      const isRefused = result.code !== 'session_lost';
      if (isRefused) this.#tellRefused('refusedIn', mapped.topic, result);
      done(isRefused);
    });
  }

  /** From here to the other broker. */
  #leave(view: PublishView, topic: string, done: (isTaken: boolean) => void): void {
    const far = this.#far;
    const mapped = mapTopic(this.#out, topic);
    if (mapped === null) {
      // Queued under an earlier configuration.
      done(true);
      return;
    }
    if (!this.#parts.isHolder()) return;
    if (far === null) {
      // Not dialled yet.
      done(false);
      return;
    }
    const message = lentMessage(view, topic);
    const { payload, properties } = message;
    const qos = Math.min(message.qos, mapped.way.qos, this.#farQosMax) as 0 | 1 | 2;
    const retain = message.retain && this.#farRetains && mapped.way.retain !== 'clear';
    const isFull = this.#toFar.bytes > PENDING_BYTES_MAX;
    // State that is retained waits, as far as there is room: it came with the subscription.
    if (message.qos === 0 && !this.#isUp && (!message.retain || isFull)) {
      this.counters.dropped++;
      return;
    }
    if (this.#mayEcho && mapTopic(this.#in, mapped.topic) !== null) {
      this.#echoes.add(mapped.topic, payload);
    }
    const { length } = payload;
    const bytes = this.#departs(this.#toFar, this.#own, mapped.topic.length + length);
    far.post({ topic: mapped.topic, payload, qos, retain, properties }, (result) => {
      this.#arrives(this.#toFar, bytes);
      if (!(result instanceof ClientError)) {
        this.counters.sent++;
        this.counters.sentBytes += length;
        done(true);
        return;
      }
      if (this.#isStopped) return;
      const isRefused = REFUSALS.has(result.code);
      if (isRefused) this.#tellRefused('refusedOut', mapped.topic, result);
      done(isRefused);
    });
  }

  /** No-local, or the bit that says bridge, is not in force. */
  get #mayEcho(): boolean {
    const { version, tryPrivate } = this.#parts.settings;
    return version !== 5 && (!tryPrivate || this.#isPrivateRefused);
  }

  #tellRefused(counter: 'refusedIn' | 'refusedOut', topic: string, error: ClientError): void {
    this.counters[counter]++;
    const { log } = this.#parts;
    log.warn({ bridge: this.name, topic, problem: error.message }, 'bridge: message refused');
  }

  /** Counts what is on the way, and lets the end it comes from wait when that is much; answers with its size. */
  #departs(way: Way, from: Client | null, messageBytes: number): number {
    const bytes = messageBytes + PENDING_OVERHEAD_BYTES;
    way.bytes += bytes;
    way.messages++;
    if (!way.isPaused && (way.bytes > PENDING_BYTES_MAX || way.messages > way.messagesMax)) {
      way.isPaused = true;
      from?.pause();
    }
    return bytes;
  }

  #arrives(way: Way, bytes: number): void {
    way.bytes -= bytes;
    way.messages--;
    const isLow = way.bytes * 2 < PENDING_BYTES_MAX && way.messages * 2 < way.messagesMax;
    if (!way.isPaused || !isLow) return;
    way.isPaused = false;
    (way === this.#toFar ? this.#own : this.#far)?.resume();
  }
}

/** The other broker, or what it has said, rules the message out: it would do so again. */
const REFUSALS: ReadonlySet<string> = new Set([
  'publish_refused',
  'packet_too_large',
  'not_supported',
  'invalid_argument',
]);

function wishOf({ filter, qos, retain }: TopicWay): Subscription {
  return {
    // At this broker: what the bridge has brought does not go back. There: nor does what it has sent.
    ...{ filter, qos, noLocal: true },
    retainAsPublished: retain !== 'clear',
    retainHandling: retain === 'keep' ? 1 : 2,
  };
}
