/**
 * `/health/full`: does what a device does, through a real listener: connect, subscribe, publish,
 * receive. Bounded in time, one at a time, and its answer is kept for a moment, so that asking often
 * costs no more than asking.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from '../client/client.ts';
import type { TlsOptions } from '../client/transport.ts';

export interface ProbeTarget {
  readonly url: string;
  readonly tls?: TlsOptions | undefined;
}

export interface ProbeOptions {
  /** Where to connect, asked each time; null: no listener can be probed. */
  readonly target: () => ProbeTarget | null;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** Topics below it are used; default `causeway/health`. */
  readonly topicPrefix?: string | undefined;
  /** For all steps together; default and most 5000. */
  readonly timeoutMs?: number | undefined;
  /** How long an answer is kept; default and least 1000. */
  readonly cacheMs?: number | undefined;
}

export type ProbeStep = 'connect' | 'subscribe' | 'publish' | 'receive';

export interface ProbeResult {
  readonly ok: boolean;
  readonly url: string | null;
  /** Steps that were done, in order. */
  readonly steps: readonly { readonly name: ProbeStep; readonly ms: number }[];
  readonly failed?: { readonly name: ProbeStep; readonly reason: string };
}

const TIMEOUT_MS_MAX = 5000;
const CACHE_MS_MIN = 1000;
const TOPIC_PREFIX = 'causeway/health';
/** Of a random number as hex. */
const NONCE_BYTES = 16;

export class Probe {
  readonly #options: ProbeOptions;
  readonly #id: string = randomBytes(6).toString('hex');
  #running: Promise<ProbeResult> | null = null;
  #last: ProbeResult | null = null;
  #lastMs = 0;

  constructor(options: ProbeOptions) {
    this.#options = options;
  }

  /** The answer of a probe that is running, just ended, or is started now. */
  check(): Promise<ProbeResult> {
    const cacheMs = Math.max(CACHE_MS_MIN, this.#options.cacheMs ?? CACHE_MS_MIN);
    if (this.#last !== null && performance.now() - this.#lastMs < cacheMs) {
      return Promise.resolve(this.#last);
    }
    this.#running ??= this.#run().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  async #run(): Promise<ProbeResult> {
    const target = this.#options.target();
    const result =
      target === null
        ? failure(null, [], 'connect', 'no listener can be reached from here')
        : await this.#probe(target);
    this.#last = result;
    this.#lastMs = performance.now();
    return result;
  }

  async #probe(target: ProbeTarget): Promise<ProbeResult> {
    const { username, password } = this.#options;
    const timeoutMs = Math.min(TIMEOUT_MS_MAX, this.#options.timeoutMs ?? TIMEOUT_MS_MAX);
    const topic = `${this.#options.topicPrefix ?? TOPIC_PREFIX}/${this.#id}`;
    const nonce = randomBytes(NONCE_BYTES).toString('hex');
    const received = Promise.withResolvers<void>();
    const steps: { name: ProbeStep; ms: number }[] = [];
    let current: ProbeStep = 'connect';
    let client: Client | null = null;
    const timeout = new AbortController();
    const step = async (name: ProbeStep, work: () => Promise<unknown>): Promise<void> => {
      current = name;
      const startMs = performance.now();
      await work();
      steps.push({ name, ms: Math.round((performance.now() - startMs) * 1000) / 1000 });
    };
    const walk = async (): Promise<void> => {
      const open = new Client({
        url: target.url,
        clientId: `causeway-health-${this.#id}`,
        connectTimeoutMs: timeoutMs,
        answerTimeoutMs: timeoutMs,
        keepAliveS: 30,
        onMessage: (message) => {
          if (message.payload.toString('latin1') === nonce) received.resolve();
        },
        ...(target.tls === undefined ? {} : { tls: target.tls }),
        ...(username === undefined ? {} : { username }),
        ...(password === undefined ? {} : { password }),
      });
      client = open;
      void open.closed.then((error) => {
        if (error !== null) received.reject(error);
      });
      // Whoever fails before `receive` has its own error.
      received.promise.catch(() => {});
      await step('connect', () => open.connect());
      await step('subscribe', async () => {
        const [answer] = await open.subscribe([{ filter: topic, qos: 1 }]);
        if (answer?.error) throw answer.error;
      });
      await step('publish', () => open.publish(topic, nonce, { qos: 1 }));
      await step('receive', () => received.promise);
    };
    const late = sleep(timeoutMs, undefined, { signal: timeout.signal }).then(() => {
      throw new Error(`not done within ${timeoutMs} ms`);
    });
    try {
      await Promise.race([walk(), late]);
      return { ok: true, url: target.url, steps };
    } catch (error) {
      return failure(target.url, steps, current, (error as Error).message);
    } finally {
      timeout.abort();
      late.catch(() => {});
      // Not waited for: the answer is known, and a server that hangs must not hold it back.
      (client as Client | null)?.disconnect().catch(() => {});
    }
  }
}

function failure(
  url: string | null,
  steps: ProbeResult['steps'],
  name: ProbeStep,
  reason: string,
): ProbeResult {
  return { ok: false, url, steps, failed: { name, reason } };
}
