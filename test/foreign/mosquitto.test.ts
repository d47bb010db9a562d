/** mosquitto_pub, mosquitto_sub and mosquitto_rr: what people type first, in both versions. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type MosquittoClient, mosquitto } from '../../scripts/provide.ts';
import { openVenue } from './venue.ts';

const venue = await openVenue();
t.teardown(() => venue.close());

const WITHIN_MS = 15_000;
const LARGE_BYTES = 900 * 1024;
let count = 0;
const unique = (name: string): string => `${name}-${++count}`;

interface Outcome {
  readonly code: number | null;
  readonly lines: readonly string[];
  readonly errors: string;
}

/** One run of a client. */
class Run {
  readonly child: ChildProcess;
  readonly outcome: Promise<Outcome>;
  #output = '';
  #errors = '';
  #wake: () => void = () => {};

  constructor(name: MosquittoClient, args: readonly string[]) {
    // Without stdbuf, lines come when a buffer of 4 KiB is full.
    this.child = spawn('stdbuf', ['-oL', mosquitto(name), ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#output += text;
      this.#wake();
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#errors += text;
    });
    const timer = setTimeout(() => this.child.kill('SIGKILL'), WITHIN_MS);
    this.outcome = new Promise((resolve) => {
      this.child.once('close', (code) => {
        clearTimeout(timer);
        this.#wake();
        const lines = this.#output.split('\n').filter((line) => line !== '');
        resolve({ code, lines, errors: this.#errors });
      });
    });
  }

  /** Waits until it printed this, as -d makes it do. */
  async said(text: string): Promise<this> {
    while (!this.#output.includes(text)) {
      if (this.child.exitCode !== null || this.child.signalCode !== null) {
        throw new Error(`ended before "${text}": ${this.#output}${this.#errors}`);
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this;
  }
}

const own = /^(Client|Subscribed|Unsubscribed)/;
/** Messages among the lines that -d adds. */
function messages({ lines }: Outcome): string[] {
  return lines.filter((line) => !own.test(line));
}

for (const version of ['mqttv311', 'mqttv5'] as const) {
  const v5 = version === 'mqttv5';
  const tcp = ['-h', '127.0.0.1', '-p', String(venue.port('mqtt')), '-V', version];
  const tls = ['-h', 'localhost', '-p', String(venue.port('mqtts')), '-V', version];
  const lasting = v5 ? ['-c', '-x', '600'] : ['-c'];

  const pub = (...args: string[]): Promise<Outcome> =>
    new Run('mosquitto_pub', [...tcp, ...args]).outcome;
  const sub = (...args: string[]): Promise<Run> =>
    new Run('mosquitto_sub', [...tcp, '-d', ...args]).said('Subscribed (mid');

  t.test(version, async (t) => {
    for (const qos of ['0', '1', '2']) {
      await t.test(`QoS ${qos}`, async (t) => {
        const topic = unique('qos');
        const reader = await sub('-q', qos, '-C', '3', '-F', '%q %p', '-t', topic);
        for (const text of ['one', 'two', 'three']) {
          const { code, errors } = await pub('-q', qos, '-t', topic, '-m', text);
          t.equal(code, 0, errors);
        }
        const outcome = await reader.outcome;
        t.strictSame(messages(outcome), [`${qos} one`, `${qos} two`, `${qos} three`]);
        t.equal(outcome.code, 0);
      });
    }

    await t.test('many from a file of lines, at QoS 2', async (t) => {
      const topic = unique('lines');
      const reader = await sub('-q', '2', '-C', '200', '-t', topic);
      const file = join(venue.folder, topic);
      const lines = Array.from({ length: 200 }, (_, index) => `line ${index}`);
      writeFileSync(file, `${lines.join('\n')}\n`);
      const writer = spawn(
        'sh',
        [
          '-c',
          'exec "$0" "$@" -l < "$FILE"',
          mosquitto('mosquitto_pub'),
          ...tcp,
          '-q',
          '2',
          '-t',
          topic,
        ],
        { env: { ...process.env, FILE: file }, stdio: 'ignore' },
      );
      const code = await new Promise((resolve) => writer.once('exit', resolve));
      t.equal(code, 0);
      t.strictSame(messages(await reader.outcome), lines);
    });

    await t.test('retained, and removed', async (t) => {
      const topic = unique('kept');
      t.equal((await pub('-r', '-q', '1', '-t', topic, '-m', 'kept')).code, 0);
      const first = await sub('-C', '1', '-F', '%r %p', '-t', topic);
      t.strictSame(messages(await first.outcome), ['1 kept']);
      t.equal((await pub('-r', '-n', '-q', '1', '-t', topic)).code, 0);
      const second = await sub('-C', '1', '-F', '%r %p', '-t', topic);
      await pub('-q', '1', '-t', topic, '-m', 'live');
      t.strictSame(messages(await second.outcome), ['0 live']);
    });

    await t.test('the will of a client that was killed', async (t) => {
      const topic = unique('will');
      const reader = await sub('-q', '1', '-C', '1', '-t', topic);
      const will = ['--will-topic', topic, '--will-payload', 'gone', '--will-qos', '1'];
      const dying = await sub('-t', unique('unused'), ...will);
      dying.child.kill('SIGKILL');
      t.strictSame(messages(await reader.outcome), ['gone']);
    });

    await t.test('a session is resumed with what came meanwhile', async (t) => {
      const topic = unique('resume');
      const id = unique('sleeper');
      const first = await sub('-i', id, ...lasting, '-q', '2', '-t', topic);
      first.child.kill('SIGINT');
      await first.outcome;
      for (const text of ['one', 'two']) await pub('-q', '2', '-t', topic, '-m', text);
      const again = ['-i', id, ...lasting, '-q', '2', '-C', '2', '-t', topic];
      const outcome = await new Run('mosquitto_sub', [...tcp, ...again]).outcome;
      t.strictSame(outcome.lines, ['one', 'two']);
    });

    await t.test('900 KB in one message, over TCP and TLS', async (t) => {
      const topic = unique('large');
      const file = join(venue.folder, topic);
      // Hexadecimal, for what is printed is text.
      const payload = randomBytes(LARGE_BYTES / 2).toString('hex');
      writeFileSync(file, payload);
      const reader = await sub('-q', '1', '-C', '2', '-t', topic);
      t.equal((await pub('-q', '1', '-t', topic, '-f', file)).code, 0);
      const over = [...tls, '--cafile', venue.caFile, '-q', '1', '-t', topic, '-f', file];
      const { code, errors } = await new Run('mosquitto_pub', over).outcome;
      t.equal(code, 0, errors);
      const got = messages(await reader.outcome);
      t.equal(got.length, 2);
      t.ok(got.every((line) => line === readFileSync(file, 'latin1')));
    });

    await t.test('over TLS', async (t) => {
      const topic = unique('tls');
      const args = [...tls, '--cafile', venue.caFile];
      const reading = ['-d', '-q', '2', '-C', '1', '-t', topic];
      const reader = await new Run('mosquitto_sub', [...args, ...reading]).said('Subscribed (mid');
      await pub('-q', '2', '-t', topic, '-m', 'in secret');
      t.strictSame(messages(await reader.outcome), ['in secret']);
      const other = [...tls, '--cafile', '/etc/ssl/certs/ca-certificates.crt'];
      const refused = await new Run('mosquitto_pub', [...other, '-t', topic, '-m', 'x']).outcome;
      t.not(refused.code, 0, 'a certificate of nobody it knows');
    });

    await t.test('mosquitto_rr gets its answer', async (t) => {
      const topic = unique('service');
      const answers = `${topic}/answers`;
      const format = v5 ? '%R %D' : '%p';
      const server = await sub('-q', '1', '-C', '1', '-F', format, '-t', topic);
      const data = v5 ? ['-D', 'publish', 'correlation-data', 'c7'] : [];
      const asking = ['-q', '1', '-t', topic, '-e', answers, '-m', 'question', '-W', '10', ...data];
      const asker = new Run('mosquitto_rr', [...tcp, ...asking]);
      const asked = messages(await server.outcome);
      t.strictSame(asked, [v5 ? `${answers} c7` : 'question']);
      await pub('-q', '1', '-t', answers, '-m', 'answer', ...data);
      const outcome = await asker.outcome;
      t.strictSame(outcome.lines, ['answer'], outcome.errors);
    });

    await t.test('a shared subscription splits the messages', async (t) => {
      const topic = unique('shared');
      const filter = `$share/group/${topic}`;
      const members = await Promise.all([0, 1].map(() => sub('-q', '1', '-C', '3', '-t', filter)));
      for (let i = 0; i < 6; i++) await pub('-q', '1', '-t', topic, '-m', String(i));
      const got = await Promise.all(members.map(async ({ outcome }) => messages(await outcome)));
      t.strictSame(got.flat().sort(), ['0', '1', '2', '3', '4', '5']);
    });

    if (!v5) return;
    await t.test('properties arrive as they were sent', async (t) => {
      const topic = unique('props');
      const reader = await sub('-q', '1', '-C', '1', '-F', '%j', '-t', topic);
      const pairs = [
        ['content-type', 'text/plain'],
        ['response-topic', 'answers/here'],
        ['correlation-data', 'c7'],
        ['payload-format-indicator', '1'],
        ['message-expiry-interval', '60'],
        ['user-property', 'colour', 'blue'],
      ];
      const properties = pairs.flatMap((words) => ['-D', 'publish', ...words]);
      const { code, errors } = await pub('-q', '1', '-t', topic, '-m', 'hello', ...properties);
      t.equal(code, 0, errors);
      const [line] = messages(await reader.outcome);
      t.match(JSON.parse(line ?? '{}'), {
        topic,
        qos: 1,
        payload: 'hello',
        properties: {
          'content-type': 'text/plain',
          'response-topic': 'answers/here',
          'correlation-data': 'c7',
          'payload-format-indicator': 1,
          'user-properties': { colour: 'blue' },
        },
      });
    });

    await t.test("a will waits for its delay, and goes with the client's return", async (t) => {
      const topic = unique('delay');
      const reader = await sub('-q', '1', '-C', '1', '-F', '%p', '-t', topic);
      const id = unique('dying');
      const will = ['--will-topic', topic, '--will-payload', 'gone', '--will-qos', '1'];
      const delayed = [...will, '-D', 'will', 'will-delay-interval', '1', ...lasting, '-i', id];
      const first = await sub('-t', unique('unused'), ...delayed);
      first.child.kill('SIGKILL');
      await first.outcome;
      // Back in time: this one's will must be the only one.
      const second = await sub('-t', unique('unused'), ...delayed);
      await new Promise((resolve) => setTimeout(resolve, 1500));
      await pub('-q', '1', '-t', topic, '-m', 'nobody is gone');
      t.strictSame(messages(await reader.outcome), ['nobody is gone']);
      const late = await sub('-q', '1', '-C', '1', '-F', '%p', '-t', topic);
      const killedAt = Date.now();
      second.child.kill('SIGKILL');
      t.strictSame(messages(await late.outcome), ['gone']);
      const afterMs = Date.now() - killedAt;
      t.ok(afterMs >= 900 && afterMs < 4000, `after ${afterMs} ms`);
    });
  });
}

t.test('nothing of this made the broker complain', async (t) => {
  t.strictSame(venue.broker.errors, []);
  t.equal(venue.broker.exit, null);
});
