/**
 * `causeway rr`: publishes a request and prints the response, in the manner of mosquitto_rr.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { checkMessage, type ReceivedMessage } from '../../client/message.ts';
import type { Command } from '../command.ts';
import { EXIT_OK, UsageError } from '../command.ts';
import { clientFlags, clientOptions, clientUsage } from '../mqtt/client-flags.ts';
import type { Flags } from '../mqtt/flags.ts';
import { readFlags } from '../mqtt/flags.ts';
import { formatPrinter, formatUsage, payloadPrinter } from '../mqtt/message-format.ts';
import { Output } from '../mqtt/output.ts';
import { messageProperties } from '../mqtt/properties.ts';
import { EXIT_TIMEOUT, exitCodeOf, fromFlags, makeClient, onSignal, Remarks } from '../mqtt/run.ts';

const usage = `causeway rr -t TOPIC (-m TEXT | -f FILE | -s | -n) [-e TOPIC] [FLAGS]

Publishes a request, waits for the first response and prints it. With MQTT 5 the request carries
the response topic and correlation data, and a response with other correlation data is passed over.

Request:
  -t, --topic TOPIC        of the request
  -e, --response-topic TOPIC    of the response (default: response/ and the client identifier)
  -m, --message TEXT       the payload
  -f, --file FILE          the payload is the content of the file
  -s, --stdin-file         the payload is all of standard input
  -n, --null               empty payload
  -q, --qos QOS            of both, 0 (default), 1 or 2
  -r, --retain
  -W, --timeout SECONDS    longest wait for the response (default 30)
Output:
  -v, --verbose            topic before the payload
  -F, --format FORMAT
  -N, --no-newline         nothing after the message
${formatUsage}
${clientUsage}

Exit codes: 0 answered, 1 wrong flags, 2 not connected or refused, 27 no answer in time.`;

const flagTable = {
  ...clientFlags,
  topic: { type: 'string', short: 't' },
  'response-topic': { type: 'string', short: 'e' },
  message: { type: 'string', short: 'm' },
  file: { type: 'string', short: 'f' },
  'stdin-file': { type: 'boolean', short: 's' },
  null: { type: 'boolean', short: 'n' },
  qos: { type: 'string', short: 'q' },
  retain: { type: 'boolean', short: 'r' },
  timeout: { type: 'string', short: 'W' },
  verbose: { type: 'boolean', short: 'v' },
  format: { type: 'string', short: 'F' },
  'no-newline': { type: 'boolean', short: 'N' },
} as const;

const SOURCES = ['message', 'file', 'stdin-file', 'null'] as const;
const TIMEOUT_S = 30;

async function run(args: readonly string[]): Promise<number> {
  const flags = readFlags(args, flagTable);
  const remarks = new Remarks('rr', flags.has('quiet'));
  const topic = flags.text('topic');
  if (topic === undefined) throw new UsageError('a topic is missing: -t TOPIC');
  const payload = readPayload(flags);
  const print = printer(flags);
  const options = clientOptions(flags);
  const clientId = options.clientId ?? `causeway-rr-${randomBytes(8).toString('hex')}`;
  const responseTopic = flags.text('response-topic') ?? `response/${clientId}`;
  const timeoutS = flags.seconds('timeout') ?? TIMEOUT_S;
  const qos = flags.qos('qos');
  const given = messageProperties(flags);
  const correlationData = given.correlationData ?? randomBytes(8);

  fromFlags(() => {
    checkMessage({ topic, payload, qos, retain: false, properties: { ...given, responseTopic } });
  });
  const response = Promise.withResolvers<ReceivedMessage | null>();
  const client = makeClient({
    ...options,
    clientId,
    onMessage: (message) => {
      const answered = message.properties.correlationData;
      if (answered === undefined || answered.equals(correlationData)) response.resolve(message);
    },
  });
  let isStopped = false;
  const forget = onSignal(() => {
    isStopped = true;
    response.resolve(null);
  });
  const timer = setTimeout(() => response.resolve(null), timeoutS * 1000);
  try {
    await client.connect();
    const [subscribed] = await client.subscribe([{ filter: responseTopic, qos }]);
    if (subscribed?.error) throw subscribed.error;
    const isModern = options.version === 5;
    const properties = isModern ? { ...given, responseTopic, correlationData } : {};
    await client.publish(topic, payload, { qos, retain: flags.has('retain'), properties });
    const lost = client.closed.then((error) => {
      if (error !== null) throw error;
      return null;
    });
    const message = await Promise.race([response.promise, lost]);
    const output = new Output();
    if (message !== null) await output.write(print(message));
    await client.disconnect();
    await output.flushed();
    return message !== null || isStopped ? EXIT_OK : EXIT_TIMEOUT;
  } catch (error) {
    await client.disconnect();
    return exitCodeOf(error, remarks);
  } finally {
    clearTimeout(timer);
    forget();
  }
}

function readPayload(flags: Flags): Buffer {
  const sources = SOURCES.filter((name) => flags.has(name));
  if (sources.length !== 1) {
    throw new UsageError('give the message with one of -m, -f, -s and -n');
  }
  if (sources[0] === 'null') return Buffer.alloc(0);
  if (sources[0] === 'message') return Buffer.from(flags.text('message') ?? '');
  try {
    return readFileSync(sources[0] === 'file' ? flags.text('file')! : 0);
  } catch (error) {
    throw new UsageError(`the payload cannot be read: ${(error as Error).message}`);
  }
}

function printer(flags: Flags): (message: ReceivedMessage) => Buffer {
  const format = flags.text('format');
  const newline = !flags.has('no-newline');
  if (format !== undefined) return formatPrinter(format, newline);
  return payloadPrinter(flags.has('verbose'), newline);
}

export const command: Command = {
  name: 'rr',
  summary: 'publish a request and print the response',
  usage,
  run,
};
