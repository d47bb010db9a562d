/**
 * A storm of wrong passwords from many addresses at a node that runs as a process of its own, while
 * users from other addresses log in and out and somebody else talks. Says what happened; whoever runs
 * it judges. Run short by `storm.test.ts`, and as long as one likes by `run-storm.ts`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from '../conformance/packets.ts';
import {
  codeOf,
  dial,
  type Ending,
  FarNode,
  heard,
  login,
  passwordLines,
  Site,
  until,
} from './access-kit.ts';

export interface StormOptions {
  readonly attemptsPerS: number;
  readonly addresses: number;
  /** At least so long, and until every address is blocked, or `secondsMax`. */
  readonly seconds: number;
  readonly secondsMax: number;
  /** log2 of scrypt's N. */
  readonly scryptCost: number;
}

export interface StormReport {
  readonly attempts: number;
  readonly seconds: number;
  /** Attempts by what CONNACK said; `closed` without one. */
  readonly outcomes: ReadonlyMap<string, number>;
  /** Logins of good users: those whose password had to be hashed, and those who came back. */
  readonly firstMs: readonly number[];
  readonly againMs: readonly number[];
  /** What they were told; 0 every time, if all is well. */
  readonly goodCodes: readonly (number | null)[];
  /** A connected client's messages to itself at QoS 1. */
  readonly talkMs: readonly number[];
  /** Addresses that the list of bans names for failed logins. */
  readonly blocked: readonly string[];
  readonly stormAddresses: readonly string[];
  readonly grownBytes: number;
  /** Share of the event loop's delays above a quarter of a second. */
  readonly lateShare: number;
  /** Passwords that wait to be hashed, at the most. */
  readonly waitingMax: number;
  readonly errors: readonly unknown[];
}

const USERS = 12;
const TICK_MS = 10;
/** An attempt that nobody answers is given up, so that this process stays small. */
const OPEN_MAX = 3000;
const LOOP_DELAY = 'causeway_event_loop_delay_seconds';

export async function runStorm(t: Ending, options: StormOptions): Promise<StormReport> {
  const { attemptsPerS, seconds, secondsMax, scryptCost } = options;
  const site = new Site(t);
  const users = Array.from({ length: USERS }, (_, index) => `good-${index}`);
  const passwords = Object.fromEntries(users.map((user) => [user, `password of ${user}`]));
  site.write('passwords', await passwordLines(passwords, 'scrypt', scryptCost));
  site.configure({
    authentication: { chain: ['password'], password: { file: 'passwords' } },
    bans: {},
  });
  const node = await FarNode.start(t, site, { data: 'data' });
  const beforeBytes = node.broker.rssBytes();
  const stormAddresses = Array.from(
    { length: options.addresses },
    (_, index) => `127.0.1.${index + 1}`,
  );

  const talker = await login(node, {
    from: '127.0.2.1',
    username: 'good-0',
    password: passwords['good-0']!,
  });
  await talker.subscribed('talk', { qos: 1 });
  const outcomes = new Map<string, number>();
  const [firstMs, againMs, talkMs]: [number[], number[], number[]] = [[], [], []];
  const goodCodes: (number | null)[] = [];
  let [attempts, open, highestBytes, waitingMax] = [0, 0, beforeBytes, 0];
  let isOver = false;

  const attempt = async (): Promise<void> => {
    const number = attempts++;
    const from = stormAddresses[number % stormAddresses.length]!;
    open += 1;
    let outcome = 'closed';
    try {
      const socket = await dial(node, { from });
      outcome = await new Promise<string>((resolve) => {
        socket.once('data', (bytes: Buffer) => resolve(`0x${bytes[3]?.toString(16)}`));
        socket.once('close', () => resolve('closed'));
        socket.on('error', () => resolve('closed'));
        // Users there are, and others there are none of.
        const username = number % 2 === 0 ? `good-${number % USERS}` : `guess-${number % 1000}`;
        socket.write(
          connect({ version: 5, clientId: `storm-${number}`, username, password: `p${number}` }),
        );
      });
      socket.destroy();
    } catch {
      // Turned away before it was a connection.
    }
    open -= 1;
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  };

  const storm = async (): Promise<void> => {
    const beganMs = performance.now();
    const running: Promise<void>[] = [];
    while (!isOver) {
      const due = ((performance.now() - beganMs) / 1000) * attemptsPerS;
      while (attempts < due && open < OPEN_MAX) running.push(attempt());
      // What could not be sent in time is left out, or it would come all at once.
      if (attempts < due) attempts = Math.floor(due);
      await sleep(TICK_MS);
    }
    await Promise.all(running);
  };
  const visit = async (): Promise<void> => {
    for (let round = 0; !isOver; round++) {
      const user = users[1 + (round % (USERS - 1))]!;
      const beganMs = performance.now();
      const good = { from: '127.0.2.2', username: user, password: passwords[user]! };
      goodCodes.push(await codeOf(node, good));
      (round < USERS - 1 ? firstMs : againMs).push(performance.now() - beganMs);
      await sleep(50);
    }
  };
  const talk = async (): Promise<void> => {
    while (!isOver) {
      const beganMs = performance.now();
      await talker.publish('talk', 'x', { qos: 1 });
      await heard(talker);
      talkMs.push(performance.now() - beganMs);
      await sleep(20);
    }
  };
  const blocked = async (): Promise<string[]> => {
    const { json } = await node.api('GET', '/bans?limit=1000');
    const bans = json.items as { kind: string; value: string; origin: string; user?: string }[];
    const isOfStorm = (ban: (typeof bans)[number]): boolean =>
      ban.origin === 'login' && ban.kind === 'address' && (ban.user ?? null) === null;
    return bans.filter(isOfStorm).map(({ value }) => value);
  };
  const watch = async (): Promise<void> => {
    const beganMs = performance.now();
    for (;;) {
      await sleep(200);
      highestBytes = Math.max(highestBytes, node.broker.rssBytes());
      waitingMax = Math.max(waitingMax, await node.metric('causeway_login_hashes_waiting'));
      const passedS = (performance.now() - beganMs) / 1000;
      if (passedS < seconds) continue;
      const isDone =
        (await blocked()).length >= stormAddresses.length && firstMs.length >= USERS - 1;
      if (isDone || passedS > secondsMax) break;
    }
    isOver = true;
  };
  const beganMs = performance.now();
  await Promise.all([storm(), visit(), talk(), watch()]);
  const tookS = (performance.now() - beganMs) / 1000;
  await until(async () => (await node.metric('causeway_login_hashes_waiting')) === 0, 'it is over');
  const text = await node.metricsText();
  const sample = (name: string): number =>
    Number(
      text
        .split('\n')
        .find((line) => line.startsWith(`${name} `))
        ?.split(' ')[1],
    );
  const all = sample(`${LOOP_DELAY}_bucket{le="+Inf"}`);
  const inTime = sample(`${LOOP_DELAY}_bucket{le="0.25"}`);
  const report: StormReport = {
    attempts,
    seconds: tookS,
    outcomes,
    firstMs,
    againMs,
    goodCodes,
    talkMs,
    blocked: await blocked(),
    stormAddresses,
    grownBytes: highestBytes - beforeBytes,
    lateShare: 1 - inTime / all,
    waitingMax,
    errors: node.broker.errors,
  };
  talker.destroy();
  await node.stop();
  return report;
}

export function describeStorm(report: StormReport): string {
  const most = (times: readonly number[]): string => {
    const sorted = [...times].sort((a, b) => a - b);
    const at = (share: number): string =>
      (sorted[Math.floor(sorted.length * share)] ?? 0).toFixed(0);
    return `${sorted.length} times, median ${at(0.5)} ms, p99 ${at(0.99)} ms`;
  };
  return [
    `${report.attempts} attempts in ${report.seconds.toFixed(1)} s`,
    `answers: ${[...report.outcomes].map(([code, count]) => `${code} ${count}`).join(', ')}`,
    `good users the first time: ${most(report.firstMs)}`,
    `good users again: ${most(report.againMs)}`,
    `a connected client: ${most(report.talkMs)}`,
    `${report.blocked.length} addresses blocked`,
    `${(report.grownBytes / 1024 / 1024).toFixed(0)} MiB more, ${report.waitingMax} passwords waiting`,
    `event loop late by over 250 ms: ${(report.lateShare * 100).toFixed(2)} %`,
  ].join('\n');
}
