/**
 * `causeway pub`: publishes from the command line, in the manner of mosquitto_pub.
 */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client, PublishOptions } from '../../client/client.ts';
import { checkMessage } from '../../client/message.ts';
import { EMPTY_BUFFER } from '../../util/bytes.ts';
import type { Command } from '../command.ts';
import { EXIT_OK, UsageError } from '../command.ts';
import { clientFlags, clientOptions, clientUsage } from '../mqtt/client-flags.ts';
import type { Flags } from '../mqtt/flags.ts';
import { readFlags } from '../mqtt/flags.ts';
import { messageProperties } from '../mqtt/properties.ts';
import { exitCodeOf, fromFlags, makeClient, onSignal, Remarks } from '../mqtt/run.ts';

const usage = `causeway pub -t TOPIC (-m TEXT | -f FILE | -l | -s | -n) [FLAGS]

Publishes a message and ends when the server has it.

Message:
  -t, --topic TOPIC
  -m, --message TEXT       the payload
  -f, --file FILE          the payload is the content of the file
  -s, --stdin-file         the payload is all of standard input
  -l, --stdin-line         each line of standard input is a message
  -n, --null               empty payload (with -r: clears the retained message)
  -q, --qos QOS            0 (default), 1 or 2
  -r, --retain
      --repeat N           publish N times
      --repeat-delay SECONDS   with a pause between
${clientUsage}

Exit codes: 0 published, 1 wrong flags, 2 not connected or refused.`;

const flagTable = {
  ...clientFlags,
  topic: { type: 'string', short: 't' },
  message: { type: 'string', short: 'm' },
  file: { type: 'string', short: 'f' },
  'stdin-file': { type: 'boolean', short: 's' },
  'stdin-line': { type: 'boolean', short: 'l' },
  null: { type: 'boolean', short: 'n' },
  qos: { type: 'string', short: 'q' },
  retain: { type: 'boolean', short: 'r' },
  repeat: { type: 'string' },
  'repeat-delay': { type: 'string' },
} as const;

const SOURCES = ['message', 'file', 'stdin-file', 'stdin-line', 'null'] as const;

/** Lines read ahead of the server's acknowledgements. */
const LINES_PENDING_MAX = 1000;

async function run(args: readonly string[]): Promise<number> {
  const flags = readFlags(args, flagTable);
  const remarks = new Remarks('pub', flags.has('quiet'));
  const topic = flags.text('topic');
  if (topic === undefined) throw new UsageError('a topic is missing: -t TOPIC');
  const sources = SOURCES.filter((name) => flags.has(name));
  if (sources.length !== 1) {
    throw new UsageError('give the message with one of -m, -f, -l, -s and -n');
  }
  const options = clientOptions(flags);
  const publish = {
    qos: flags.qos('qos'),
    retain: flags.has('retain'),
    properties: options.version === 5 ? messageProperties(flags) : {},
  };
  fromFlags(() => checkMessage({ topic, payload: EMPTY_BUFFER, ...publish }));
  const repeats = flags.count('repeat', 1, 1_000_000_000) ?? 1;
  const delayS = flags.seconds('repeat-delay') ?? 0;
  const payload = sources[0] === 'stdin-line' ? null : readPayload(flags, sources[0]!);

  const client = makeClient(options);
  let isStopped = false;
  const forget = onSignal(() => {
    isStopped = true;
    void client.disconnect();
  });
  try {
    await client.connect();
    if (payload === null) await publishLines(client, topic, publish);
    for (let i = 0; payload !== null && i < repeats && !isStopped; i++) {
      if (i > 0 && delayS > 0) await sleep(delayS * 1000);
      await client.publish(topic, payload, publish);
    }
    await client.disconnect();
    return EXIT_OK;
  } catch (error) {
    await client.disconnect();
    return isStopped ? EXIT_OK : exitCodeOf(error, remarks);
  } finally {
    forget();
  }
}

function readPayload(flags: Flags, source: (typeof SOURCES)[number]): Buffer {
  if (source === 'message') return Buffer.from(flags.text('message') ?? '');
  if (source === 'null') return EMPTY_BUFFER;
  const file = source === 'file' ? flags.text('file')! : 0;
  try {
    return readFileSync(file);
  } catch (error) {
    throw new UsageError(`the payload cannot be read: ${(error as Error).message}`);
  }
}

async function publishLines(client: Client, topic: string, options: PublishOptions): Promise<void> {
  const pending = new Set<Promise<unknown>>();
  let failure: unknown = null;
  const lines = createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY });
  void client.closed.then((error) => {
    failure ??= error;
    lines.close();
    process.stdin.destroy();
  });
  for await (const line of lines) {
    const sent = client.publish(topic, line, options).catch((error: unknown) => {
      failure ??= error;
    });
    pending.add(sent);
    void sent.then(() => pending.delete(sent));
    if (pending.size >= LINES_PENDING_MAX) await Promise.race(pending);
    if (failure !== null) break;
  }
  await Promise.all(pending);
  if (failure !== null) throw failure;
}

export const command: Command = {
  name: 'pub',
  summary: 'publish messages to a broker',
  usage,
  run,
};
