/**
 * Sends sequences of damaged, displaced and right packets to a whole broker over sockets, while two
 * ordinary clients go on talking. A case follows from seed and number: again with
 * `node test/fuzz/broker.ts --seed S --case N`. What must hold: the process lives, no handler fails,
 * every answer is well-formed, and the two are not disturbed.
 */
import net from 'node:net';
import { parseArgs } from 'node:util';
import { Prng } from '../chaos/prng.ts';
import { Client, connectClient, openSocket } from '../conformance/client.ts';
import { connect, type ProtocolVersion, subscribe } from '../conformance/packets.ts';
import { packetLength, readPacket } from '../conformance/reader.ts';
import { Broker } from '../e2e/broker.ts';
import { fixtures } from '../wire/fixtures/all.ts';

export interface BrokerFuzzOptions {
  readonly seed: number;
  readonly durationMs: number;
  readonly firstCase?: number;
  readonly caseCount?: number;
  /** Stands in for the broker's own answers, to see the fuzzer find what it should. */
  readonly tamper?: (answer: Buffer) => Buffer;
}

export interface BrokerFuzzReport {
  readonly cases: number;
  readonly answers: number;
  readonly problem: string | null;
  readonly text: string;
}

/** Cases under way at one time, each on a connection of its own. */
const AT_ONCE = 16;
const SETTLE_MS = 20;
const CASE_MS = 2000;
const PACKETS_MAX = 12;

/** Packets of a client, right and wrong, from the fixtures. */
const corpus = fixtures.filter(({ sender }) => sender === 'client');

interface Case {
  readonly version: ProtocolVersion;
  readonly bytes: Buffer;
  /** Where the bytes are cut into writes. */
  readonly cuts: readonly number[];
}

function makeCase(seed: number, number: number): Case {
  const prng = new Prng(seed ^ Math.imul(number + 1, 0x9e3779b1));
  const version = prng.pick<ProtocolVersion>([3, 4, 5]);
  const parts: Buffer[] = [];
  // Mostly connected first, for what lies behind is worth more.
  if (!prng.once(8)) {
    const clientId = `fuzz-${prng.between(0, 20)}`;
    const clean = prng.once(2);
    parts.push(connect({ version, clientId, clean, keepAliveSec: 5 }));
    if (prng.once(2)) {
      const subscriptions = [{ filter: prng.pick(['#', 'a/+', '$share/g/#', 'a']), qos: 2 }];
      parts.push(subscribe({ version, packetId: 1, subscriptions }));
    }
  }
  for (let count = prng.between(1, PACKETS_MAX); count > 0; count--) {
    const fitting = corpus.filter(({ versions }) => versions.includes(version));
    const { bytes } = prng.pick(prng.once(6) ? corpus : fitting);
    parts.push(prng.once(3) ? damage(bytes, prng) : bytes);
  }
  const bytes = Buffer.concat(parts);
  const cuts = Array.from({ length: prng.between(0, 4) }, () => prng.between(0, bytes.length));
  return { version, bytes, cuts: [...cuts, bytes.length].sort((a, b) => a - b) };
}

function damage(bytes: Buffer, prng: Prng): Buffer {
  const copy = Buffer.from(bytes);
  for (let count = prng.between(1, 3); count > 0; count--) {
    const at = prng.between(0, copy.length - 1);
    copy[at] = prng.once(2) ? prng.between(0, 255) : copy[at]! ^ (1 << prng.between(0, 7));
  }
  return prng.once(4) ? copy.subarray(0, prng.between(1, copy.length)) : copy;
}

/** Sends a case; gives the number of answers, or says what was wrong with them. */
function send(
  port: number,
  one: Case,
  tamper: (answer: Buffer) => Buffer,
): Promise<number | string> {
  return new Promise((resolve) => {
    let buffer: Buffer = Buffer.alloc(0);
    let answers = 0;
    let problem: string | null = null;
    const socket = net.connect({ host: '127.0.0.1', port, noDelay: true });
    const timer = setTimeout(() => socket.destroy(), CASE_MS);
    socket.on('data', (chunk: Buffer) => {
      buffer = Buffer.concat([buffer, chunk]);
      try {
        for (let length = packetLength(buffer); length > 0; length = packetLength(buffer)) {
          const answer = buffer.subarray(0, length);
          buffer = buffer.subarray(length);
          // A CONNECT that was damaged may have asked for another version.
          readAnyVersion(tamper(answer), one.version);
          answers++;
        }
      } catch (error) {
        problem = `${(error as Error).message}: ${buffer.subarray(0, 80).toString('hex')}`;
        socket.destroy();
      }
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(problem ?? answers);
    });
    socket.once('connect', () => {
      let from = 0;
      for (const cut of one.cuts) {
        socket.write(one.bytes.subarray(from, cut));
        from = cut;
      }
      setTimeout(() => socket.end(), SETTLE_MS);
    });
  });
}

function readAnyVersion(answer: Buffer, version: ProtocolVersion): void {
  const others = ([5, 4, 3] as const).filter((other) => other !== version);
  let first: unknown = null;
  for (const candidate of [version, ...others]) {
    try {
      readPacket(answer, candidate);
      return;
    } catch (error) {
      first ??= error;
    }
  }
  throw first;
}

export async function fuzzBroker(options: BrokerFuzzOptions): Promise<BrokerFuzzReport> {
  const { seed, durationMs, firstCase = 0, caseCount = Number.MAX_SAFE_INTEGER } = options;
  const broker = await Broker.start({ hasAdmin: true });
  let cases = 0;
  let answers = 0;
  let problem: string | null = null;
  try {
    const port = broker.port();
    const version = 5;
    const calm = new Client(await openSocket('127.0.0.1', port), version, 'calm');
    await connectClient(calm, { version, clientId: 'calm', keepAliveSec: 0 });
    await calm.subscribed('calm/only', { qos: 2 });
    const endsAtMs = performance.now() + durationMs;
    while (problem === null && cases < caseCount && performance.now() < endsAtMs) {
      const count = Math.min(AT_ONCE, caseCount - cases);
      const numbers = Array.from({ length: count }, (_, index) => firstCase + cases + index);
      const outcomes = await Promise.all(
        numbers.map((number) => send(port, makeCase(seed, number), options.tamper ?? same)),
      );
      cases += count;
      for (const [index, outcome] of outcomes.entries()) {
        if (typeof outcome === 'number') answers += outcome;
        else problem ??= `case ${numbers[index]}: ${outcome}`;
      }
      await calm.publish('calm/only', String(cases), { qos: 2 });
      await calm.message({ payload: String(cases) });
      if (broker.errors.length > 0) problem ??= `cases up to ${numbers.at(-1)}`;
    }
    const failures = await broker.metric('causeway_internal_errors_total');
    if (failures > 0) problem ??= `${failures} handlers failed`;
    calm.destroy();
  } catch (error) {
    problem ??= (error as Error).message;
  }
  if (broker.exit !== null) problem = `the broker ended: ${problem ?? ''}`;
  if (problem !== null) problem = `${problem}\n${broker.said()}`;
  await broker.kill();
  const counts = `${cases} cases, ${answers} answers`;
  const again = `again: node test/fuzz/broker.ts --seed ${seed} --case N`;
  const text = problem === null ? counts : `${counts}\nFAILED: ${problem}\n${again}`;
  return { cases, answers, problem, text };
}

function same(answer: Buffer): Buffer {
  return answer;
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      case: { type: 'string' },
      seconds: { type: 'string', default: '60' },
    },
  });
  const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
  const durationMs = Number(values.seconds) * 1000;
  const only = values.case === undefined ? {} : { firstCase: Number(values.case), caseCount: 1 };
  console.log(`fuzz broker: seed ${seed}`);
  const report = await fuzzBroker({ seed, durationMs, ...only });
  console.log(report.text);
  process.exit(report.problem === null ? 0 : 1);
}
