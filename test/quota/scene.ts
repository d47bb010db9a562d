/**
 * A quota gate with nothing real around it: manual time, a shared limit the test sees into, a log it
 * can read. Tests of quotas begin here.
 */
import {
  type ClientGate,
  type ConnectDecision,
  type ConnectRequest,
  type Gate,
  type GateWaiter,
  type Log,
  WAIT,
} from '../../src/core/ports.ts';
import type { Principal } from '../../src/core/principal.ts';
import { QuotaGate } from '../../src/quota/quota-gate.ts';
import type { QuotaOptions } from '../../src/quota/quota-options.ts';
import type { SharedLimit, SharedLimits, SharedWindow } from '../../src/quota/shared-limits.ts';
import type { RetainedHolding } from '../../src/quota/use-ledger.ts';
import { ManualTime } from '../core/manual-time.ts';

interface Window {
  used: number;
  endsMs: number;
}

/** Fixed windows by manual time, as rate-limiter-flexible counts them by the real one. */
export class ManualShared implements SharedLimits {
  readonly #time: ManualTime;
  readonly taken: { readonly name: string; readonly key: string; readonly points: number }[] = [];
  readonly #windows: Map<string, Map<string, Window>> = new Map();
  #failure: Error | null = null;

  constructor(time: ManualTime) {
    this.#time = time;
  }

  /** Does not answer any more. */
  fail(failure: Error | null): void {
    this.#failure = failure;
  }

  open(name: string, window: SharedWindow): SharedLimit {
    // As on one server: who opens the same name counts in the same place.
    const windows = this.#windows.get(name) ?? new Map<string, Window>();
    this.#windows.set(name, windows);
    const at = (key: string): Window => {
      const nowMs = this.#time.nowMs;
      let record = windows.get(key);
      if (record === undefined || record.endsMs <= nowMs) {
        record = { used: 0, endsMs: nowMs + window.durationS * 1000 };
        windows.set(key, record);
      }
      return record;
    };
    return {
      take: async (key, points) => {
        if (this.#failure !== null) throw this.#failure;
        const record = at(key);
        if (record.used + points > window.points) return record.endsMs - this.#time.nowMs;
        record.used += points;
        this.taken.push({ name, key, points });
        return 0;
      },
      giveBack: (key, points) => {
        const record = at(key);
        record.used = Math.max(0, record.used - points);
      },
    };
  }
}

export interface SceneOptions {
  readonly inner?: Gate | null;
  readonly wrapsEveryone?: boolean;
  readonly retained?: () => Iterable<RetainedHolding>;
  readonly time?: ManualTime;
  readonly shared?: SharedLimits;
}

export class Scene {
  readonly time: ManualTime;
  readonly shared: ManualShared;
  readonly gate: QuotaGate;
  readonly logged: { readonly fields: Record<string, unknown>; readonly message: string }[] = [];

  constructor(quotas: readonly QuotaOptions[], options: SceneOptions = {}) {
    this.time = options.time ?? new ManualTime();
    this.shared = new ManualShared(this.time);
    const note = (fields: object, message: string): void => {
      this.logged.push({ fields: fields as Record<string, unknown>, message });
    };
    const log: Log = { debug: () => {}, info: () => {}, warn: note, error: note };
    this.gate = new QuotaGate({
      quotas,
      inner: options.inner ?? null,
      clock: this.time,
      scheduler: this.time,
      log,
      shared: options.shared ?? this.shared,
      retained: options.retained ?? (() => []),
      wrapsEveryone: options.wrapsEveryone ?? false,
    });
  }

  /** What the gate says to a CONNECT, awaited when it has to be. */
  async ask(who: Who): Promise<ConnectDecision> {
    return new Promise((resolve) => {
      const decision = this.gate.connect(request(who), resolve);
      if (decision !== WAIT) resolve(decision);
    });
  }

  /** The rights of a client that is let in; every gate of the scene is asked at once. */
  client(who: Who): ClientGate {
    const decision = this.gate.connect(request(who), () => {});
    if (decision === WAIT) throw new Error('has to wait');
    if (decision.client === null) throw new Error(`no client gate: ${decision.refusal}`);
    return decision.client;
  }

  /** Use by quota and key, those with none left out. */
  used(): Record<string, number> {
    const used: Record<string, number> = {};
    for (const use of this.gate.use(1000)) {
      if (use.used !== 0) used[`${use.name}/${use.key}`] = use.used;
    }
    return used;
  }

  hits(): Record<string, number> {
    return Object.fromEntries([...this.gate.states()].map(({ name, hits }) => [name, hits]));
  }
}

export interface Who {
  readonly clientId: string;
  readonly user?: string | null;
  readonly tenant?: string;
  readonly listener?: string;
  /** A re-authentication. */
  readonly again?: boolean;
}

/** `user` and `tenant` are what `WhoGate` believes. */
export function request(who: Who): ConnectRequest {
  return {
    packet: who.again === true ? null : ({ username: JSON.stringify(who) } as never),
    clientId: who.clientId,
    protocolVersion: 5,
    listener: { name: who.listener ?? 'main', transport: 'tcp', limits: {} },
    remoteAddress: '192.0.2.1',
    remotePort: 1,
    certificate: null,
    pskIdentity: JSON.stringify(who),
    end: () => {},
  };
}

/** Lets everybody in as who they say they are. */
export class WhoGate implements Gate {
  readonly enhanced: Gate['enhanced'] = null;
  readonly quotas = null;

  socket(): boolean {
    return true;
  }

  connect(
    asked: ConnectRequest,
    _decide: (decision: ConnectDecision) => void,
  ): ConnectDecision | typeof WAIT {
    const { user, tenant } = JSON.parse(asked.pskIdentity ?? '{}') as Who;
    return { refusal: null, identity: user ?? null, tenant: tenant ?? '', client: null };
  }

  will(): boolean | typeof WAIT {
    return true;
  }

  retainedSource(_principal: Principal): boolean {
    return true;
  }

  keeps(): boolean {
    return true;
  }
}

/** Counts how often it is told to go on. */
export class CountingWaiter implements GateWaiter {
  resumed = 0;
  readonly #then: (() => void) | null;

  constructor(then: (() => void) | null = null) {
    this.#then = then;
  }

  resume(): void {
    this.resumed++;
    this.#then?.();
  }
}

/** A publisher as the core is one: sends all it has, stands still on WAIT, hands the packet in again. */
export class Publisher implements GateWaiter {
  readonly #gate: ClientGate;
  readonly #bytes: number[] = [];
  /** Times at which messages were let through, with their sizes. */
  readonly sent: { readonly atMs: number; readonly bytes: number }[] = [];
  readonly #time: ManualTime;
  dropped = 0;
  closed = false;
  waits = false;
  #isSending = false;

  constructor(gate: ClientGate, time: ManualTime) {
    this.#gate = gate;
    this.#time = time;
  }

  get left(): number {
    return this.#bytes.length;
  }

  send(count: number, bytes = 1): void {
    for (let i = 0; i < count; i++) this.#bytes.push(bytes);
    this.#go();
  }

  resume(): void {
    if (this.#isSending || !this.waits) throw new Error('told to go on from inside the call');
    this.waits = false;
    this.#go();
  }

  /** The connection is gone, whatever it still had. */
  close(): void {
    this.closed = true;
    this.waits = false;
    this.#gate.closed();
  }

  #go(): void {
    if (this.waits || this.closed) return;
    this.#isSending = true;
    while (this.#bytes.length > 0 && !this.closed) {
      const bytes = this.#bytes[0]!;
      const verdict = this.#gate.publish('a/b', 1, false, bytes, this);
      if (verdict === WAIT) {
        this.waits = true;
        break;
      }
      this.#bytes.shift();
      if (verdict === 1) this.sent.push({ atMs: this.#time.nowMs, bytes });
      else if (verdict === 4) this.closed = true;
      else this.dropped++;
    }
    this.#isSending = false;
  }

  get sentBytes(): number {
    return this.sent.reduce((sum, { bytes }) => sum + bytes, 0);
  }
}
