/**
 * The bridge to one other broker: a session there and one here, each a client of its own, and topics carried
 * between them (docs/adr/0022, Bridges). A message is acknowledged at the end it came from when the other end
 * has it for good. Made by `bridge-holder.ts`, on the node that has the role.
 */
import { isDeepStrictEqual } from 'node:util';
import { Client } from '../../client/client.ts';
import type { ClientError } from '../../client/client-error.ts';
import { parseEndpoint } from '../../client/endpoint.ts';
import { readMessage } from '../../client/message.ts';
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
  readonly topics: readonly BridgeTopic[];
}

export interface BridgeParts {
  readonly settings: BridgeSettings;
  readonly broker: Acceptor;
  readonly budget: BridgeBudget;
  readonly sessions: Pick<Admin, 'subscriptions'>;
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
/** QoS 1 and 2 messages on the way to the other broker, as far as it allows. */
const INFLIGHT_MAX = 512;
/** So few that all of them can be released at once; some are left for subscriptions. */
const PACKET_ID_MAX = 640;
/** MQTT 3 has no word for it, and brokers drop what is over their own bound. */
const INFLIGHT_OLD_MAX = 100;
/** On the way to an end, until reading from the other stops, and half of it until it goes on. */
const PENDING_BYTES_MAX = 8 * 1024 * 1024;
const PENDING_MESSAGES_MAX = 4096;
const FILTERS_AT_ONCE = 64;

/** What is on the way to one end, and whether the other end has been told to wait. */
interface Way {
  bytes: number;
  messages: number;
  isPaused: boolean;
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
  readonly #toFar: Way = { bytes: 0, messages: 0, isPaused: false };
  readonly #toOwn: Way = { bytes: 0, messages: 0, isPaused: false };
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
    const { name, topics } = parts.settings;
    this.name = name;
    this.#in = waysOf(topics, 'in');
    this.#out = waysOf(topics, 'out');
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
    const listener: ListenerInfo = {
      name: `bridge ${settings.name}`,
      transport: 'tcp',
      limits: { topicAliasMax: 0 },
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
        receiveMaximum: INFLIGHT_MAX,
        topicAliasMaximum: 0,
      },
      inflightMax: INFLIGHT_MAX,
      packetIdMax: PACKET_ID_MAX,
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
    const { settings } = this.#parts;
    const sessionExpiryIntervalS = settings.cleanStart ? 0 : NEVER_EXPIRES;
    // First, so that nothing more is acknowledged here that has not been there.
    await this.#far?.disconnect(settings.version === 5 ? { sessionExpiryIntervalS } : {});
    await this.#own?.disconnect({ sessionExpiryIntervalS: NEVER_EXPIRES });
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
    const isBridge = version !== 5 && settings.tryPrivate && !this.#isPrivateRefused;
    let far: Client;
    let wasUp = false;
    try {
      far = new Client({
        ...{ url, version, clientId, username, password, tls, cleanStart, isBridge },
        keepAliveS: keepaliveS,
        properties: {
          sessionExpiryIntervalS: cleanStart ? 0 : NEVER_EXPIRES,
          receiveMaximum: INFLIGHT_MAX,
          topicAliasMaximum: 0,
        },
        inflightMax: version === 5 ? INFLIGHT_MAX : INFLIGHT_OLD_MAX,
        packetIdMax: PACKET_ID_MAX,
        queueMessagesMax: Number.POSITIVE_INFINITY,
        queueBytesMax: Number.POSITIVE_INFINITY,
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
    const message = readMessage(view, topic);
    if (this.#mayEcho && this.#echoes.take(topic, message.payload)) {
      this.counters.echoes++;
      done(true);
      return;
    }
    const { qos, payload } = message;
    const retain = message.retain && mapped.way.retain !== 'clear';
    this.#carry(this.#toOwn, this.#far, payload.length, () =>
      own.publish(mapped.topic, payload, { qos, retain, properties: message.properties }),
    ).then(
      () => {
        this.counters.received++;
        this.counters.receivedBytes += payload.length;
        done(true);
      },
      (error: ClientError) => {
        if (this.#isStopped || error.code === 'closed') return;
        const isRefused = error.code !== 'session_lost';
        if (isRefused) this.#tellRefused('refusedIn', mapped.topic, error);
        done(isRefused);
      },
    );
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
    const message = readMessage(view, topic);
    const { payload } = message;
    const qos = Math.min(message.qos, mapped.way.qos, this.#farQosMax) as 0 | 1 | 2;
    const retain = message.retain && this.#farRetains && mapped.way.retain !== 'clear';
    const isFull = this.#toFar.bytes > PENDING_BYTES_MAX;
    // State that is retained waits, as far as there is room: it came with the subscription.
    if (message.qos === 0 && !this.#isUp && (!message.retain || isFull)) {
      this.counters.dropped++;
      return;
    }
    const options = { qos, retain, properties: message.properties };
    const publish = async (): Promise<void> => {
      for (;;) {
        const now = this.#far ?? far;
        if (now === null) throw new Error('the other broker is not dialled yet');
        if (this.#mayEcho && mapTopic(this.#in, mapped.topic) !== null) {
          this.#echoes.add(mapped.topic, payload);
        }
        try {
          await now.publish(mapped.topic, payload, options);
          return;
        } catch (error) {
          // QoS 2, and the other end has forgotten whether it had it.
          if ((error as ClientError).code !== 'session_lost' || this.#isStopped) throw error;
        }
      }
    };
    this.#carry(this.#toFar, this.#own, payload.length, publish).then(
      () => {
        this.counters.sent++;
        this.counters.sentBytes += payload.length;
        done(true);
      },
      (error: ClientError) => {
        if (this.#isStopped) return;
        const isOver = error.code === 'closed' || !REFUSALS.has(error.code);
        if (!isOver) this.#tellRefused('refusedOut', mapped.topic, error);
        done(!isOver);
      },
    );
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

  /** Counts what is on the way, and lets the end it comes from wait when that is much. */
  async #carry<T>(
    way: Way,
    from: Client | null,
    payloadBytes: number,
    publish: () => Promise<T>,
  ): Promise<T> {
    way.bytes += payloadBytes;
    way.messages++;
    if (!way.isPaused && (way.bytes > PENDING_BYTES_MAX || way.messages > PENDING_MESSAGES_MAX)) {
      way.isPaused = true;
      from?.pause();
    }
    try {
      return await publish();
    } finally {
      way.bytes -= payloadBytes;
      way.messages--;
      const isLow = way.bytes * 2 < PENDING_BYTES_MAX && way.messages * 2 < PENDING_MESSAGES_MAX;
      if (way.isPaused && isLow) {
        way.isPaused = false;
        (way === this.#toFar ? this.#own : this.#far)?.resume();
      }
    }
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
