/**
 * One server of a probe, used as a device uses it: a client, and who waits for which message. Knows
 * nothing of steps and of the other servers; `probe-round.ts` does.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from '../client.ts';
import { ClientError } from '../client-error.ts';
import type { ReceivedMessage } from '../message.ts';
import type { ClientOptions } from '../options.ts';

/** Of a random number as hex: the payload of every message. */
const NONCE_BYTES = 16;
/** Between two looks at a retained message, and two tries to reach somebody. */
const AGAIN_MS = 100;
/** For what is left behind, and for the last words to a server. */
const CLEANING_MS = 1000;

export class ProbeSite {
  readonly #client: Client;
  /** By payload. */
  readonly #awaited: Map<string, () => void> = new Map();
  /** What a subscription that is being tried was given, by topic. */
  readonly #given: Map<string, string> = new Map();
  readonly #looking: Set<string> = new Set();
  readonly #lost: PromiseWithResolvers<never> = Promise.withResolvers();
  /** Set here and not known to be cleared. */
  #retainedTopic: string | null = null;

  constructor(options: ClientOptions) {
    this.#client = new Client({ ...options, onMessage: (message) => this.#take(message) });
    // Whoever waits for nothing is not told by a crash.
    this.#lost.promise.catch(() => {});
    void this.#client.closed.then((error) => {
      this.#lost.reject(error ?? new ClientError('closed', 'the client is closed'));
    });
  }

  async connect(): Promise<void> {
    await this.#client.connect();
  }

  get isConnected(): boolean {
    return this.#client.isConnected;
  }

  async subscribe(filter: string): Promise<void> {
    const [answer] = await this.#client.subscribe([{ filter, qos: 1 }]);
    if (answer?.error) throw answer.error;
  }

  async publish(topic: string, payload: string, qos: 0 | 1): Promise<void> {
    await this.#client.publish(topic, payload, { qos });
  }

  /** `lifeS`: gone by itself then, should the probe be killed (MQTT 5). */
  async retain(topic: string, payload: string, lifeS: number): Promise<void> {
    this.#retainedTopic = topic;
    const properties = { messageExpiryS: lifeS };
    await this.#client.publish(topic, payload, { qos: 1, retain: true, properties });
  }

  async clear(topic: string): Promise<void> {
    await this.#client.publish(topic, '', { qos: 1, retain: true });
    this.#retainedTopic = null;
  }

  /** A message with this payload has come; rejects when the connection is lost. */
  arrival(payload: string, signal: AbortSignal): Promise<void> {
    const came = Promise.withResolvers<void>();
    this.#awaited.set(payload, came.resolve);
    signal.addEventListener('abort', () => this.#awaited.delete(payload), { once: true });
    return Promise.race([came.promise, this.#lost.promise]);
  }

  /**
   * Subscribes anew to one topic until the retained message is `payload` (null: none). What is given
   * comes before a message published after SUBACK, which `marker` is the topic of.
   */
  async look(
    topic: string,
    payload: string | null,
    marker: string,
    signal: AbortSignal,
  ): Promise<void> {
    this.#looking.add(topic);
    try {
      for (;;) {
        this.#given.delete(topic);
        await this.subscribe(topic);
        const nonce = newNonce();
        const came = this.arrival(nonce, signal);
        await Promise.all([this.publish(marker, nonce, 1), came]);
        const given = this.#given.get(topic) ?? null;
        await this.#client.unsubscribe(topic);
        if (given === payload || signal.aborted) return;
        await sleep(AGAIN_MS);
      }
    } finally {
      this.#looking.delete(topic);
      this.#given.delete(topic);
    }
  }

  /** Takes back what is retained and leaves; bounded, and never an error. */
  async close(): Promise<void> {
    const topic = this.#retainedTopic;
    const orderly = async (): Promise<void> => {
      if (topic !== null && this.#client.isConnected) await this.clear(topic);
      await this.#client.disconnect();
    };
    const done = new AbortController();
    const late = sleep(CLEANING_MS, undefined, { signal: done.signal });
    await Promise.race([orderly(), late]).catch(() => {});
    done.abort();
    late.catch(() => {});
    await this.#client.destroy();
  }

  #take({ topic, payload, retain }: ReceivedMessage): void {
    const text = payload.toString('latin1');
    if (retain && this.#looking.has(topic)) this.#given.set(topic, text);
    const resolve = this.#awaited.get(text);
    if (resolve === undefined) return;
    this.#awaited.delete(text);
    resolve();
  }
}

export function newNonce(): string {
  return randomBytes(NONCE_BYTES).toString('hex');
}

/** Publishes at one server until it comes out at the other. */
export async function reach(
  from: ProbeSite,
  to: ProbeSite,
  topic: string,
  signal: AbortSignal,
): Promise<void> {
  const came = Promise.withResolvers<void>();
  const failed = Promise.withResolvers<never>();
  const attempts = async (): Promise<never> => {
    while (!signal.aborted) {
      const nonce = newNonce();
      to.arrival(nonce, signal).then(came.resolve, failed.reject);
      from.publish(topic, nonce, 1).catch(failed.reject);
      await sleep(AGAIN_MS, undefined, { signal });
    }
    throw new ClientError('closed', 'stopped');
  };
  await Promise.race([came.promise, failed.promise, attempts()]);
}
