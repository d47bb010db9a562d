/**
 * What the tests of access backends share: two clients that talk at QoS 1 all the while, so that a
 * test can say that they noticed nothing, and the users a Redis holds. Used by `backend-*.test.ts`.
 */
import { createHash, randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '../conformance/client.ts';
import { type LoginFields, login, type RunningNode, until } from './access-kit.ts';

const PACE_MS = 10;

/** One publishes, the other hears it, one message after the other, until it is told to end. */
export class Flow {
  count = 0;
  /** Longest way from PUBLISH to both its PUBACK and the subscriber. */
  slowestMs = 0;
  readonly #from: Client;
  readonly #to: Client;
  readonly #topic: string;
  #isOver = false;
  #done: Promise<void> = Promise.resolve();

  private constructor(from: Client, to: Client, topic: string) {
    this.#from = from;
    this.#to = to;
    this.#topic = topic;
  }

  static async start(
    node: RunningNode,
    topic: string,
    from: LoginFields,
    to: LoginFields,
  ): Promise<Flow> {
    const flow = new Flow(await login(node, from), await login(node, to), topic);
    await flow.#to.subscribed(topic, { qos: 1 });
    flow.#done = flow.#run();
    // Whoever ends it hears of it.
    flow.#done.catch(() => {});
    await flow.reaches(1);
    return flow;
  }

  async #run(): Promise<void> {
    while (!this.#isOver) {
      const beganMs = performance.now();
      const payload = `${this.count}`;
      await Promise.all([
        this.#from.publish(this.#topic, payload, { qos: 1 }),
        // The next one and no other: nothing is lost, nothing comes twice.
        this.#to.message({ topic: this.#topic, payload }),
      ]);
      this.slowestMs = Math.max(this.slowestMs, performance.now() - beganMs);
      this.count += 1;
      await sleep(PACE_MS);
    }
  }

  /** So many messages have gone through. */
  reaches(count: number): Promise<void> {
    const isFar = until(() => this.count >= count, `message ${count} goes through`);
    return Promise.race([isFar, this.#done]);
  }

  /** Rejects when a message does not go through. */
  get done(): Promise<void> {
    return this.#done;
  }

  /** Rejects when anything went wrong on the way. */
  async end(): Promise<void> {
    this.#isOver = true;
    await this.#done;
    for (const client of [this.#from, this.#to]) {
      await client.ping();
      client.destroy();
    }
  }
}

/** Fields of a user as EMQX keeps them, for HSET. */
export function redisUser(password: string): string[] {
  const salt = randomBytes(8).toString('hex');
  const digest = createHash('sha256').update(`${salt}${password}`).digest('hex');
  return ['password_hash', digest, 'salt', salt];
}
