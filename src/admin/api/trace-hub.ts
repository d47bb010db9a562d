/**
 * Follows a client or a topic live. It is the core's Observer only while a trace runs; what nobody
 * follows costs a comparison, what is followed is kept in a bounded buffer and written by a timer, so
 * that a trace of everything costs a bounded part of the node. Payloads are never seen.
 */
import { Readable } from 'node:stream';
import type { CloseReason } from '../../core/close-reason.ts';
import { filterMatches } from '../../core/inspection.ts';
import type { ClientSummary, Observer } from '../../core/ports.ts';
import type { RefuseReason } from '../../core/refuse-reason.ts';
import { parseSharedFilter } from '../../wire/topic.ts';

export interface TraceOptions {
  /** Null: every client. */
  readonly clientId: string | null;
  /** Null: every topic. */
  readonly filter: string | null;
  /** Name of the token that asked. */
  readonly caller: string;
  readonly durationS: number;
}

export interface TraceHubOptions {
  /** Puts an observer into the core, or takes it out. */
  readonly observe: (observer: Observer | null) => void;
  /** Wall-clock ms. */
  readonly wallMs: () => number;
  /** Whether a token may still look. */
  readonly isGood: (caller: string) => boolean;
  readonly heartbeatMs?: number | undefined;
}

export const TRACES_MAX = 8;
const HEARTBEAT_MS = 10_000;
const FLUSH_MS = 50;
/** For the reader to take the last lines. */
const LINGER_MS = 10_000;
/** Events kept between two flushes, and the characters of their topics and names. */
const BUFFER_EVENTS_MAX = 1000;
const BUFFER_CHARACTERS_MAX = 256 * 1024;
/** Bytes that the reader has not taken, beyond which events wait in the buffer. */
const UNREAD_BYTES_MAX = 256 * 1024;

type Line = Readonly<Record<string, unknown>> & { readonly event: string };

export class TraceHub implements Observer {
  readonly #options: TraceHubOptions;
  readonly #traces: Trace[] = [];
  /** Events that did not fit, of all traces since the start. */
  missed = 0;

  constructor(options: TraceHubOptions) {
    this.#options = options;
  }

  get running(): number {
    return this.#traces.length;
  }

  /** Lines from now on; null: too many traces run. */
  open(options: TraceOptions): Readable | null {
    if (this.#traces.length >= TRACES_MAX) return null;
    const { observe, wallMs, isGood, heartbeatMs = HEARTBEAT_MS } = this.#options;
    const trace = new Trace(options, {
      wallMs,
      heartbeatMs,
      isGood: () => isGood(options.caller),
      missed: (count) => {
        this.missed += count;
      },
      closed: () => {
        const index = this.#traces.indexOf(trace);
        if (index !== -1) this.#traces.splice(index, 1);
        if (this.#traces.length === 0) observe(null);
      },
    });
    this.#traces.push(trace);
    observe(this);
    return trace;
  }

  /** Ends the traces of a token that is no more. */
  endOf(caller: string): void {
    for (const trace of [...this.#traces]) if (trace.caller === caller) trace.end('token_revoked');
  }

  stop(): void {
    for (const trace of [...this.#traces]) trace.end('shutting_down');
  }

  connected(client: ClientSummary): void {
    this.#ofClient(client, 'connect', null);
  }

  refused(client: ClientSummary, reason: RefuseReason): void {
    this.#ofClient(client, 'refused', reason);
  }

  disconnected(client: ClientSummary, reason: CloseReason): void {
    this.#ofClient(client, 'disconnect', reason);
  }

  subscribed(clientId: string, filter: string, qos: number, reasonCode: number): void {
    for (const trace of this.#traces) {
      if (!trace.followsFilter(clientId, filter)) continue;
      trace.add({ event: 'subscribe', clientId, filter, qos, reasonCode }, filter.length);
    }
  }

  unsubscribed(clientId: string, filter: string): void {
    for (const trace of this.#traces) {
      if (!trace.followsFilter(clientId, filter)) continue;
      trace.add({ event: 'unsubscribe', clientId, filter }, filter.length);
    }
  }

  published(clientId: string, topic: string, qos: number, retain: boolean, bytes: number): void {
    for (const trace of this.#traces) {
      if (!trace.followsTopic(clientId, topic)) continue;
      trace.add({ event: 'publish', clientId, topic, qos, retain, bytes }, topic.length);
    }
  }

  delivered(clientId: string, topic: string, qos: number, bytes: number): void {
    for (const trace of this.#traces) {
      if (!trace.followsTopic(clientId, topic)) continue;
      trace.add({ event: 'deliver', clientId, topic, qos, bytes }, topic.length);
    }
  }

  dropped(clientId: string, topic: string, reason: string): void {
    for (const trace of this.#traces) {
      if (!trace.followsTopic(clientId, topic)) continue;
      trace.add({ event: 'drop', clientId, topic, reason }, topic.length);
    }
  }

  #ofClient(client: ClientSummary, event: string, reason: string | null): void {
    for (const trace of this.#traces) {
      if (!trace.followsClient(client.clientId)) continue;
      const { clientId, protocolVersion, listener, remoteAddress, remotePort, identity, tenant } =
        client;
      const line = {
        event,
        clientId,
        protocolVersion,
        listener,
        remoteAddress,
        remotePort,
        identity,
        tenant,
      };
      trace.add(reason === null ? line : { ...line, reason }, clientId.length);
    }
  }
}

interface TraceParts {
  readonly wallMs: () => number;
  readonly heartbeatMs: number;
  readonly isGood: () => boolean;
  readonly missed: (count: number) => void;
  readonly closed: () => void;
}

type EndReason = 'duration' | 'token_revoked' | 'shutting_down';

/** One trace: JSON lines for one reader. */
class Trace extends Readable {
  readonly #options: TraceOptions;
  readonly #parts: TraceParts;
  readonly #flusher: NodeJS.Timeout;
  readonly #heart: NodeJS.Timeout;
  readonly #limit: NodeJS.Timeout;
  #events: Line[] = [];
  #times: number[] = [];
  #characters = 0;
  #missed = 0;
  #isEnded = false;
  /** Publishers repeat themselves, and a publication is delivered many times. */
  #lastTopic = '';
  #isLastTopicFollowed = false;

  constructor(options: TraceOptions, parts: TraceParts) {
    super({ highWaterMark: UNREAD_BYTES_MAX });
    this.#options = options;
    this.#parts = parts;
    const { clientId, filter, durationS } = options;
    this.#write({ event: 'started', clientId, filter, durationS }, parts.wallMs());
    this.#flusher = setInterval(() => this.#flush(), FLUSH_MS);
    this.#heart = setInterval(() => this.#beat(), parts.heartbeatMs);
    this.#limit = setTimeout(() => this.end('duration'), durationS * 1000);
  }

  get caller(): string {
    return this.#options.caller;
  }

  followsClient(clientId: string): boolean {
    return this.#options.clientId === clientId;
  }

  followsTopic(clientId: string, topic: string): boolean {
    const wanted = this.#options.clientId;
    if (wanted !== null && wanted !== clientId) return false;
    const { filter } = this.#options;
    if (filter === null) return true;
    if (topic !== this.#lastTopic) {
      this.#lastTopic = topic;
      this.#isLastTopicFollowed = filterMatches(filter, topic);
    }
    return this.#isLastTopicFollowed;
  }

  followsFilter(clientId: string, filter: string): boolean {
    const wanted = this.#options.clientId;
    if (wanted !== null && wanted !== clientId) return false;
    const followed = this.#options.filter;
    if (followed === null) return true;
    return filtersOverlap(followed, parseSharedFilter(filter)?.filter ?? filter);
  }

  add(line: Line, characters: number): void {
    if (
      this.#events.length >= BUFFER_EVENTS_MAX ||
      this.#characters + characters > BUFFER_CHARACTERS_MAX
    ) {
      this.#missed++;
      return;
    }
    this.#events.push(line);
    this.#times.push(this.#parts.wallMs());
    this.#characters += characters;
  }

  end(reason: EndReason): void {
    if (this.#isEnded) return;
    this.#flush();
    this.#isEnded = true;
    this.#write({ event: 'ended', reason }, this.#parts.wallMs());
    this.push(null);
    this.#release();
    // A reader that takes nothing does not keep its connection either.
    setTimeout(() => this.destroy(), LINGER_MS).unref();
  }

  override _read(): void {
    // The timer brings what there is.
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#isEnded = true;
    this.#release();
    done(error);
  }

  #flush(): void {
    // The reader does not keep up: what comes meanwhile fills the buffer, then counts as missed.
    if (this.#isEnded || this.readableLength > UNREAD_BYTES_MAX) return;
    const [events, times, missed] = [this.#events, this.#times, this.#missed];
    if (events.length > 0) {
      this.#events = [];
      this.#times = [];
      this.#characters = 0;
      for (const [index, line] of events.entries()) this.#write(line, times[index]!);
    }
    if (missed > 0) {
      this.#missed = 0;
      this.#parts.missed(missed);
      this.#write({ event: 'missed', count: missed }, this.#parts.wallMs());
    }
  }

  #beat(): void {
    if (!this.#parts.isGood()) {
      this.end('token_revoked');
      return;
    }
    if (this.readableLength > UNREAD_BYTES_MAX) return;
    this.#write({ event: 'heartbeat' }, this.#parts.wallMs());
  }

  #write(line: Line, atMs: number): void {
    this.push(`${JSON.stringify({ atMs, ...line })}\n`);
  }

  #release(): void {
    clearInterval(this.#flusher);
    clearInterval(this.#heart);
    clearTimeout(this.#limit);
    this.#events = [];
    this.#times = [];
    this.#parts.closed();
  }
}

/** Whether some topic could match both filters. */
export function filtersOverlap(left: string, right: string): boolean {
  const [a, b] = [left.split('/'), right.split('/')];
  // [MQTT5-4.7.2-1]
  if (isWildcard(a[0]!) ? b[0]!.startsWith('$') : isWildcard(b[0]!) && a[0]!.startsWith('$')) {
    return false;
  }
  for (let i = 0; ; i++) {
    const [one, other] = [a[i], b[i]];
    // `a/#` matches `a` too.
    if (one === '#' || other === '#') return true;
    if (one === undefined || other === undefined) return one === other;
    if (one !== other && one !== '+' && other !== '+') return false;
  }
}

function isWildcard(level: string): boolean {
  return level === '#' || level === '+';
}
