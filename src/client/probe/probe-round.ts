/**
 * One round of a probe: connects to every server, does with each what a device does, then from each to
 * each other, and takes back what it left. Bounded in time as a whole and step by step; never throws for
 * what a server does. Called by `causeway probe`.
 */
import { ClientError } from '../client-error.ts';
import type { ClientOptions } from '../options.ts';
import { Deadline, StoppedError } from './deadline.ts';
import { newNonce, ProbeSite, reach } from './probe-site.ts';
import type { CrossStep, OwnStep, RoundResult, StepResult } from './probe-step.ts';

export interface RoundOptions {
  /** One for each server. */
  readonly servers: readonly ClientOptions[];
  /** Topics below it belong to this round alone. */
  readonly topicPrefix: string;
  /** For one step. */
  readonly stepMs: number;
  /** For all of them; cleaning up takes a second more at most. */
  readonly totalMs: number;
  /** What takes longer has failed. */
  readonly latencyMaxMs: number;
  readonly signal: AbortSignal;
}

/** A retained message that could not be taken back goes by itself after so many rounds. */
const LIFE_ROUNDS = 3;

/** Throws ClientError `invalid_argument` for options no client can have. */
export async function probeRound(options: RoundOptions): Promise<RoundResult> {
  const startedAtMs = Date.now();
  const startMs = performance.now();
  const round = new Round(options);
  try {
    await round.run();
  } finally {
    await round.close();
  }
  const { steps, isComplete } = round;
  return {
    startedAtMs,
    ms: performance.now() - startMs,
    ok: isComplete && steps.every(({ ok }) => ok),
    isAborted: options.signal.aborted,
    steps,
  };
}

class Round {
  readonly steps: StepResult[] = [];
  isComplete = false;
  readonly #options: RoundOptions;
  readonly #sites: readonly ProbeSite[];
  readonly #deadline: Deadline;

  constructor(options: RoundOptions) {
    this.#options = options;
    this.#deadline = new Deadline(options.stepMs, options.totalMs, options.signal);
    const timeouts = {
      connectTimeoutMs: options.stepMs,
      answerTimeoutMs: options.stepMs,
    };
    this.#sites = options.servers.map((server) => new ProbeSite({ ...timeouts, ...server }));
  }

  async run(): Promise<void> {
    const places = [...this.#sites.keys()];
    const up: number[] = [];
    await Promise.all(
      places.map(async (place) => {
        if (await this.#alone(place)) up.push(place);
      }),
    );
    const pairs = up.flatMap((from) => up.flatMap((to) => (from === to ? [] : [{ from, to }])));
    await Promise.all(pairs.map(({ from, to }) => this.#across(from, to)));
    await Promise.all(up.map((place) => this.#retained(place, up)));
    this.isComplete = up.length === places.length && !this.#deadline.isStopped;
  }

  async close(): Promise<void> {
    await Promise.all(this.#sites.map((site) => site.close()));
  }

  /** False: nothing more can be asked of this server. */
  async #alone(place: number): Promise<boolean> {
    const site = this.#sites[place]!;
    const topic = this.#messageTopic(place, place);
    if (!(await this.#own(place, 'connect', () => site.connect()))) return false;
    const filter = `${this.#options.topicPrefix}/to/${place}/+`;
    if (!(await this.#own(place, 'subscribe', () => site.subscribe(filter)))) return false;
    await this.#own(place, 'qos0', (signal) => sendThrough(site, site, topic, 0, signal));
    await this.#own(place, 'ack', () => site.publish(topic, newNonce(), 1));
    await this.#own(place, 'qos1', (signal) => sendThrough(site, site, topic, 1, signal));
    return true;
  }

  async #across(from: number, to: number): Promise<void> {
    const [source, target] = [this.#sites[from]!, this.#sites[to]!];
    const topic = this.#messageTopic(from, to);
    const isReached = await this.#cross(from, to, 'reach', (signal) => {
      return reach(source, target, topic, signal);
    });
    if (!isReached) return;
    for (const qos of [0, 1] as const) {
      await this.#cross(from, to, `qos${qos}`, (signal) => {
        return sendThrough(source, target, topic, qos, signal);
      });
    }
  }

  /** Set at one server, read and found cleared at all. */
  async #retained(place: number, up: readonly number[]): Promise<void> {
    const site = this.#sites[place]!;
    const { topicPrefix, totalMs } = this.#options;
    const topic = `${topicPrefix}/retained/${place}`;
    const nonce = newNonce();
    const lifeS = Math.ceil((LIFE_ROUNDS * totalMs) / 1000);
    const isSet = await this.#own(place, 'retained_set', () => site.retain(topic, nonce, lifeS));
    if (!isSet) return;
    const readers = await this.#lookAll(place, up, 'retained_read', topic, nonce);
    const startMs = performance.now();
    try {
      await this.#deadline.within(() => site.clear(topic));
    } catch (error) {
      this.#failed({ from: place, to: null, step: 'retained_clear' }, startMs, error);
      return;
    }
    await this.#lookAll(place, readers, 'retained_clear', topic, null);
  }

  /** The places where it came out as wanted. */
  async #lookAll(
    place: number,
    readers: readonly number[],
    step: 'retained_read' | 'retained_clear',
    topic: string,
    payload: string | null,
  ): Promise<number[]> {
    const well: number[] = [];
    await Promise.all(
      readers.map(async (reader) => {
        const marker = this.#messageTopic(reader, reader);
        const look = (signal: AbortSignal): Promise<void> => {
          return this.#sites[reader]!.look(topic, payload, marker, signal);
        };
        const isWell = await (reader === place
          ? this.#own(place, step, look)
          : this.#cross(place, reader, step, look));
        if (isWell) well.push(reader);
      }),
    );
    return well;
  }

  #messageTopic(from: number, to: number): string {
    return `${this.#options.topicPrefix}/to/${to}/${from}`;
  }

  #own(from: number, step: OwnStep, work: Work): Promise<boolean> {
    return this.#step({ from, to: null, step }, work);
  }

  #cross(from: number, to: number, step: CrossStep, work: Work): Promise<boolean> {
    return this.#step({ from, to, step }, work);
  }

  async #step(name: StepName, work: Work): Promise<boolean> {
    const startMs = performance.now();
    try {
      await this.#deadline.within(work);
    } catch (error) {
      this.#failed(name, startMs, error);
      return false;
    }
    const ms = performance.now() - startMs;
    const { latencyMaxMs } = this.#options;
    const reason = ms <= latencyMaxMs ? null : `took longer than ${latencyMaxMs} ms`;
    this.steps.push({ ...name, ok: reason === null, ms, reason });
    // Late is a failure to report, and no reason to leave out what follows.
    return true;
  }

  #failed(name: StepName, startMs: number, error: unknown): void {
    // Who is told to stop has no failure to report.
    if (error instanceof StoppedError || this.#deadline.isStopped) return;
    const ms = performance.now() - startMs;
    if (error instanceof ClientError && error.code === 'invalid_argument') throw error;
    this.steps.push({ ...name, ok: false, ms, reason: (error as Error).message });
  }
}

type StepName = Pick<StepResult, 'from' | 'to' | 'step'>;
type Work = (signal: AbortSignal) => Promise<void>;

/** One message in at one server and out at the other. */
async function sendThrough(
  from: ProbeSite,
  to: ProbeSite,
  topic: string,
  qos: 0 | 1,
  signal: AbortSignal,
): Promise<void> {
  const nonce = newNonce();
  const came = to.arrival(nonce, signal);
  await Promise.all([from.publish(topic, nonce, qos), came]);
}
