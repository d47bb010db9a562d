/**
 * `causeway sub`: prints the messages of topics, in the manner of mosquitto_sub.
 */
import type { Client } from '../../client/client.ts';
import type { ReceivedMessage } from '../../client/message.ts';
import { fullOptions, type Subscription } from '../../client/subscriptions.ts';
import type { Command } from '../command.ts';
import { EXIT_OK, UsageError } from '../command.ts';
import { clientFlags, clientOptions, clientUsage } from '../mqtt/client-flags.ts';
import type { Flags } from '../mqtt/flags.ts';
import { readFlags } from '../mqtt/flags.ts';
import { formatPrinter, formatUsage, payloadPrinter } from '../mqtt/message-format.ts';
import { Output } from '../mqtt/output.ts';
import { refuseProperties, userProperties } from '../mqtt/properties.ts';
import {
  EXIT_CONNECTION,
  EXIT_TIMEOUT,
  exitCodeOf,
  fromFlags,
  makeClient,
  onSignal,
  Remarks,
} from '../mqtt/run.ts';

const usage = `causeway sub -t FILTER [-t FILTER ...] [FLAGS]

Prints the messages of topics until it is stopped. Reconnects when the connection is lost.

Subscription:
  -t, --topic FILTER       repeatable; + and # are wildcards, $share/GROUP/FILTER is shared
  -q, --qos QOS            0 (default), 1 or 2
      --no-local           not what this client publishes itself
      --retain-as-published     keep the retain flag as it was published
      --retain-handling N  retained messages: 0 at once, 1 if new, 2 never
      --subscription-id N
Which messages:
  -C, --count N            end after N messages
  -W, --timeout SECONDS    end after this time
      --retained-only      only retained ones; ends with the first that is not
  -R, --no-retained        none that were retained
      --remove-retained    clear the retained ones that come
Output:
  -v, --verbose            topic before the payload
  -F, --format FORMAT
  -N, --no-newline         nothing after each message
${formatUsage}
${clientUsage}

Exit codes: 0 done, 1 wrong flags, 2 not connected or refused, 27 the time of -W is over.`;

const flagTable = {
  ...clientFlags,
  topic: { type: 'string', short: 't', multiple: true },
  qos: { type: 'string', short: 'q' },
  'no-local': { type: 'boolean' },
  'retain-as-published': { type: 'boolean' },
  'retain-handling': { type: 'string' },
  'subscription-id': { type: 'string' },
  count: { type: 'string', short: 'C' },
  timeout: { type: 'string', short: 'W' },
  'retained-only': { type: 'boolean' },
  'no-retained': { type: 'boolean', short: 'R' },
  'remove-retained': { type: 'boolean' },
  verbose: { type: 'boolean', short: 'v' },
  format: { type: 'string', short: 'F' },
  'no-newline': { type: 'boolean', short: 'N' },
} as const;

async function run(args: readonly string[]): Promise<number> {
  const flags = readFlags(args, flagTable);
  refuseProperties(flags, 'publish', 'sub');
  const subscriptions = readSubscriptions(flags);
  const subscriptionId = flags.count('subscription-id', 1, 268_435_455);
  const timeoutS = flags.seconds('timeout');
  const remarks = new Remarks('sub', flags.has('quiet'));
  const output = new Output();
  const listener = new Listener(flags, output);
  const client = makeClient({
    ...clientOptions(flags),
    onMessage: (message) => listener.take(message),
    reconnect: { minMs: 1000 },
    onDisconnected: (error, retryMs) => {
      if (retryMs === null) return;
      remarks.remark(`${error.message}; next attempt in ${(retryMs / 1000).toFixed(1)} s`);
    },
  });
  listener.attach(client);
  output.onClosed(() => void client.disconnect());
  const forget = onSignal(() => void client.disconnect());
  let isTimedOut = false;
  const timer =
    timeoutS === undefined
      ? undefined
      : setTimeout(() => {
          isTimedOut = true;
          void client.disconnect();
        }, timeoutS * 1000);
  try {
    await client.connect();
    const results = await client.subscribe(subscriptions, {
      ...(subscriptionId === undefined ? {} : { subscriptionId }),
      userProperties: userProperties(flags),
    });
    const refused = results.filter((one) => one.error !== null);
    for (const { error } of refused) remarks.error(error);
    if (refused.length === results.length) {
      await client.disconnect();
      return EXIT_CONNECTION;
    }
    const error = await client.closed;
    if (error !== null) return exitCodeOf(error, remarks);
  } catch (error) {
    const hasEnded = isTimedOut || listener.isDone || output.isClosed;
    await client.disconnect();
    if (!hasEnded && !isClosedError(error)) return exitCodeOf(error, remarks);
  } finally {
    clearTimeout(timer);
    forget();
  }
  await output.flushed();
  return isTimedOut ? EXIT_TIMEOUT : EXIT_OK;
}

function isClosedError(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'closed';
}

function readSubscriptions(flags: Flags): Subscription[] {
  const filters = flags.all('topic');
  if (filters.length === 0) throw new UsageError('a topic is missing: -t FILTER');
  if (flags.has('no-retained') && flags.has('retained-only')) {
    throw new UsageError('--no-retained and --retained-only leave no message');
  }
  const options = {
    qos: flags.qos('qos'),
    noLocal: flags.has('no-local'),
    retainAsPublished: flags.has('retain-as-published'),
    retainHandling: (flags.count('retain-handling', 0, 2) ?? 0) as 0 | 1 | 2,
  };
  return fromFlags(() => filters.map((filter) => fullOptions({ filter, ...options })));
}

/** Decides about each message and prints it. */
class Listener {
  readonly #flags: Flags;
  readonly #output: Output;
  readonly #print: (message: ReceivedMessage) => Buffer;
  #left: number;
  #client: Client | null = null;

  constructor(flags: Flags, output: Output) {
    this.#flags = flags;
    this.#output = output;
    const format = flags.text('format');
    const newline = !flags.has('no-newline');
    this.#print =
      format === undefined
        ? payloadPrinter(flags.has('verbose'), newline)
        : formatPrinter(format, newline);
    this.#left = flags.count('count', 1, Number.MAX_SAFE_INTEGER) ?? Number.POSITIVE_INFINITY;
  }

  /** All messages of -C are there. */
  get isDone(): boolean {
    return this.#left === 0;
  }

  attach(client: Client): void {
    this.#client = client;
  }

  take(message: ReceivedMessage): void | Promise<void> {
    const { topic, retain } = message;
    if (retain ? this.#flags.has('no-retained') : this.#flags.has('retained-only')) {
      if (!retain) void this.#client?.disconnect();
      return;
    }
    if (retain && this.#flags.has('remove-retained')) {
      // What cannot be cleared now would be shown again next time; nothing else depends on it.
      this.#client?.publish(topic, '', { retain: true }).catch(() => {});
    }
    const written = this.#output.write(this.#print(message));
    if (--this.#left === 0) void this.#client?.disconnect();
    return written;
  }
}

export const command: Command = {
  name: 'sub',
  summary: 'print the messages of topics',
  usage,
  run,
};
