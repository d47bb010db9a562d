/**
 * The rights of one connection, and before them its quotas (data plane): what a client sends counts
 * whether or not it is then allowed, so that refusals are no free flood and a rule source is asked no
 * more often than the quota says. Made by `quota-gate.ts`.
 */
import type { CloseReason } from '../core/close-reason.ts';
import {
  ALLOW,
  CLOSE,
  type ClientGate,
  type GateWaiter,
  OVER_QUOTA,
  type Verdict,
  WAIT,
} from '../core/ports.ts';
import { ALARM_TICK_MS, type Alarm, type AlarmOwner, type Alarms } from './alarms.ts';
import type { Bucket } from './bucket.ts';
import type { CountQuota } from './count-quota.ts';
import type { Counter } from './counter.ts';
import { Payer, type PayerOwner } from './payer.ts';
import type { Subject } from './quota.ts';
import type { QuotaBook } from './quota-book.ts';
import type { SharedUse } from './shared-use.ts';
import type { TurnClock } from './turn-clock.ts';

const NO_BUCKETS: readonly Bucket[] = [];
/** What is dropped has been read first. So many in a tick, and the socket rests for the next ones. */
const DROPS_PER_TICK = 200;
const REST_TICKS = 2;

/** Who keeps account of all connections. */
export interface QuotaClientGateOwner {
  readonly turn: TurnClock;
  readonly alarms: Alarms;
  closed(gate: QuotaClientGate): void;
}

export class QuotaClientGate implements ClientGate, PayerOwner, AlarmOwner {
  readonly subject: Subject;
  readonly inner: ClientGate | null;
  book: QuotaBook;
  /** Other connections with its client id, for the desk: while one takes over from another. */
  older: QuotaClientGate | null = null;
  newer: QuotaClientGate | null = null;
  readonly #owner: QuotaClientGateOwner;
  #connections: readonly { readonly quota: CountQuota; readonly counter: Counter }[] = [];
  #buckets: readonly Bucket[] = NO_BUCKETS;
  /** Of quotas that drop or disconnect; never anybody in line. */
  #strict: readonly Bucket[] = NO_BUCKETS;
  /** Of quotas that slow down; null: there are none. */
  #payer: Payer | null = null;
  /** No quota of published messages concerns the client. */
  #isFree = true;
  /** The packet that is handed in next is paid: it waited for that, or for the inner gate. */
  #isPaid = false;
  #waiter: GateWaiter | null = null;
  #closeReason: CloseReason | null = null;
  why: string | null = null;
  #isClosed = false;
  /** Dropped since `#dropsSinceMs`. */
  #drops = 0;
  #dropsSinceMs = 0;
  /** Ends the rest of a client that floods; null until one did. */
  #rest: Alarm | null = null;

  constructor(
    subject: Subject,
    inner: ClientGate | null,
    book: QuotaBook,
    owner: QuotaClientGateOwner,
  ) {
    this.subject = subject;
    this.inner = inner;
    this.#owner = owner;
    this.book = book;
    this.#bind();
  }

  /** Some quota concerns the connection. */
  get isConcerned(): boolean {
    return !this.#isFree || this.#connections.length > 0;
  }

  // ------------------------------------------------------------------ publish

  publish(topic: string, qos: number, retain: boolean, bytes: number, waiter: GateWaiter): Verdict {
    if (!this.#isFree && !this.#isPaid) {
      const verdict = this.#charge(bytes, waiter);
      if (verdict !== ALLOW) return verdict;
    }
    const { inner } = this;
    if (inner === null) {
      this.#isPaid = false;
      return ALLOW;
    }
    const verdict = inner.publish(topic, qos, retain, bytes, waiter);
    // The same packet comes again after a WAIT.
    this.#isPaid = verdict === WAIT;
    return verdict;
  }

  #charge(bytes: number, waiter: GateWaiter): Verdict {
    const nowMs = this.#owner.turn.nowMs();
    const strict = this.#strict;
    for (let i = 0; i < strict.length; i++) {
      const bucket = strict[i]!;
      if (!bucket.has(bucket.countsBytes ? bytes : 1, nowMs)) {
        return this.#refuse(bucket, nowMs, waiter);
      }
    }
    for (let i = 0; i < strict.length; i++) {
      const bucket = strict[i]!;
      bucket.take(bucket.countsBytes ? bytes : 1, nowMs);
    }
    const payer = this.#payer;
    if (payer === null || payer.pay(bytes, nowMs)) return ALLOW;
    this.#waiter = waiter;
    return WAIT;
  }

  #refuse(bucket: Bucket, nowMs: number, waiter: GateWaiter): Verdict {
    const { terms } = bucket;
    if (terms.action === 'drop' && this.#floods(nowMs)) {
      this.#rest ??= this.#owner.alarms.make(this);
      this.#owner.alarms.set(this.#rest, nowMs + REST_TICKS * ALARM_TICK_MS);
      this.#waiter = waiter;
      return WAIT;
    }
    terms.hit(bucket.key, nowMs);
    this.why = terms.explain();
    if (terms.action === 'drop') return OVER_QUOTA;
    this.#closeReason = terms.countsBytes ? 'quota_exceeded' : 'message_rate';
    return CLOSE;
  }

  #floods(nowMs: number): boolean {
    if (nowMs - this.#dropsSinceMs >= ALARM_TICK_MS) {
      this.#dropsSinceMs = nowMs;
      this.#drops = 0;
    }
    this.#drops++;
    return this.#drops > DROPS_PER_TICK;
  }

  onAlarm(): void {
    this.#goOn();
  }

  paid(): void {
    this.#isPaid = true;
    this.#goOn();
  }

  #goOn(): void {
    const waiter = this.#waiter;
    this.#waiter = null;
    waiter?.resume();
  }

  // ------------------------------------------------------------------ everything else

  subscribe(filter: string, qos: number, waiter: GateWaiter): Verdict {
    return this.inner === null ? ALLOW : this.inner.subscribe(filter, qos, waiter);
  }

  keeps(filter: string, qos: number): boolean {
    return this.inner === null || this.inner.keeps(filter, qos);
  }

  knows(
    subscriptions: Iterable<{ readonly filter: string; readonly qos: number }>,
    decide: (known: boolean) => void,
  ): boolean | typeof WAIT {
    return this.inner === null || this.inner.knows(subscriptions, decide);
  }

  receive(topic: string): boolean {
    return this.inner === null || this.inner.receive(topic);
  }

  /** Quotas may come with a reload. */
  get allowsAll(): boolean {
    return false;
  }

  get filtersReceive(): boolean {
    return this.inner?.filtersReceive ?? false;
  }

  get closeReason(): CloseReason {
    return this.#closeReason ?? this.inner?.closeReason ?? 'quota_exceeded';
  }

  closed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#waiter = null;
    if (this.#rest !== null) this.#owner.alarms.cancel(this.#rest);
    this.#unbind();
    this.#owner.closed(this);
    this.inner?.closed();
  }

  // ------------------------------------------------------------------ from quota to quota

  /** A quota of connections at its limit that one more connection of the subject would be over. */
  static full(
    book: QuotaBook,
    subject: Subject,
    replaced: QuotaClientGate | null,
    shared: SharedUse | null,
  ): { readonly quota: CountQuota; readonly key: string | null } | null {
    for (const quota of book.counts('connections', subject)) {
      const key = quota.keyOf(subject);
      const used = quota.counters.get(key)?.used ?? 0;
      const goes = replaced?.countsAt(quota, key) === true;
      const elsewhere =
        shared === null || !quota.isShared ? 0 : shared.elsewhere(quota.name, key ?? '', subject);
      if (used + elsewhere + 1 - (goes ? 1 : 0) > quota.max) return { quota, key };
    }
    return null;
  }

  /** It is among those that the quota counts under the key. */
  countsAt(quota: CountQuota, key: string | null): boolean {
    return this.#connections.some((one) => one.quota === quota && one.counter.key === key);
  }

  /** Other quotas are in force; what was let through so far stays. */
  rebind(book: QuotaBook): void {
    if (this.#isClosed) return;
    const waited = this.#payer?.waits === true;
    this.#unbind();
    this.book = book;
    this.#bind();
    // Asked again, it pays by the new terms.
    if (waited) this.#goOn();
  }

  #bind(): void {
    const { book, subject } = this;
    const nowMs = this.#owner.turn.nowMs();
    this.#connections = book.counts('connections', subject).map((quota) => {
      const counter = quota.obtain(subject);
      counter.used++;
      return { quota, counter };
    });
    const rates = [
      ...book.rates('publishMessagesPerS', subject),
      ...book.rates('publishBytesPerS', subject),
    ];
    this.#isFree = rates.length === 0;
    if (this.#isFree) return;
    this.#buckets = rates.map((quota) => quota.obtain(subject, nowMs));
    this.#strict = this.#buckets.filter(({ terms }) => terms.action !== 'slow');
    const slow = this.#buckets.filter(({ terms }) => terms.action === 'slow');
    if (slow.length > 0) this.#payer = new Payer(slow, this);
  }

  #unbind(): void {
    const nowMs = this.#owner.turn.nowMs();
    for (const { quota, counter } of this.#connections) {
      counter.used--;
      quota.release(counter);
    }
    this.#payer?.cancel(nowMs);
    for (const bucket of this.#buckets) bucket.terms.release(bucket, nowMs);
    this.#connections = [];
    this.#buckets = NO_BUCKETS;
    this.#strict = NO_BUCKETS;
    this.#payer = null;
  }
}
