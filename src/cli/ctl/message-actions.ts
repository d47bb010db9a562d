/** Actions of `ctl` about routes, retained messages and publishing. Collected by `actions.ts`. */
import { readFileSync } from 'node:fs';
import { buffer } from 'node:stream/consumers';
import { UsageError } from '../command.ts';
import type { Action, Call, Column } from './action.ts';
import { durationS } from './duration.ts';
import { safeText } from './terminal-text.ts';

const text = { type: 'string' } as const;

const routeColumns: readonly Column[] = [
  { field: 'filter', title: 'FILTER' },
  { field: 'clientId', title: 'CLIENT ID' },
  { field: 'qos', title: 'QOS', isNumber: true },
];

const retainedColumns: readonly Column[] = [
  { field: 'topic', title: 'TOPIC' },
  { field: 'qos', title: 'QOS', isNumber: true },
  { field: 'bytes', title: 'BYTES', isNumber: true },
  { field: 'publisherId', title: 'FROM' },
  { field: 'publisherUser', title: 'USER' },
  { field: 'expiresAtMs', title: 'EXPIRES' },
];

interface Route {
  readonly filter: string;
  readonly subscribers?: readonly { readonly clientId: string; readonly qos: number }[];
}

/** A row per filter and subscriber. */
function rowsOf(routes: readonly unknown[]): unknown[] {
  return routes.flatMap((route) => {
    const { filter, subscribers = [] } = route as Route;
    return subscribers.map((subscriber) => ({ ...subscriber, filter }));
  });
}

async function deleteRetained(call: Call): Promise<void> {
  const filter = call.flag('filter');
  const topic = call.hasArg(0) ? call.arg(0) : undefined;
  if ((topic === undefined) === (filter === undefined)) {
    throw new UsageError('retained delete needs TOPIC, or --filter FILTER for many');
  }
  let deleted = 0;
  let complete = false;
  while (!complete) {
    const answer = (await call.api.send('DELETE', '/retained', { topic, filter })) as Deleted;
    deleted += answer.deleted;
    ({ complete } = answer);
    // What cannot be deleted now will not be by asking for ever.
    if (answer.deleted === 0) break;
  }
  const what = safeText(topic ?? filter ?? '');
  call.done(`deleted ${deleted} retained messages of ${what}`, { deleted, complete });
}

/** One request deletes a part of many. */
interface Deleted {
  readonly deleted: number;
  readonly complete: boolean;
}

async function publish(call: Call): Promise<void> {
  const payload = await readPayload(call);
  const qos = call.flag('qos') ?? '0';
  if (!['0', '1', '2'].includes(qos)) throw new UsageError('--qos is 0, 1 or 2');
  const expiry = call.flag('expiry');
  const answer = await call.api.send(
    'POST',
    '/publish',
    {},
    {
      topic: call.arg(0),
      payload: payload.toString('base64'),
      encoding: 'base64',
      qos: Number(qos),
      retain: call.flags.values.has('retain'),
      ...(expiry === undefined ? {} : { messageExpiryS: durationS('--expiry', expiry) }),
    },
  );
  call.done(`published ${payload.length} bytes to ${safeText(call.arg(0))}`, answer);
}

async function readPayload(call: Call): Promise<Buffer> {
  const given = ['message', 'file', 'stdin', 'null'].filter((name) => call.flags.values.has(name));
  if (given.length !== 1) {
    throw new UsageError('publish needs one of --message TEXT, --file FILE, --stdin and --null');
  }
  if (given[0] === 'message') return Buffer.from(call.flag('message')!);
  if (given[0] === 'stdin') return buffer(process.stdin);
  if (given[0] === 'null') return Buffer.alloc(0);
  try {
    return readFileSync(call.flag('file')!);
  } catch (error) {
    throw new UsageError(`--file: ${(error as Error).message}`);
  }
}

export const messageActions: readonly Action[] = [
  {
    resource: 'routes',
    verb: '',
    args: ['TOPIC'],
    flags: {},
    summary: 'who receives what is published to the topic',
    columns: routeColumns,
    run: (call) => call.list('/routes', { topic: call.arg(0) }, routeColumns, rowsOf),
  },
  {
    resource: 'retained',
    verb: 'list',
    args: ['[FILTER]'],
    flags: {},
    summary: 'retained messages that match the filter (default #)',
    columns: retainedColumns,
    run: (call) =>
      call.list('/retained', { filter: call.hasArg(0) ? call.arg(0) : '#' }, retainedColumns),
  },
  {
    resource: 'retained',
    verb: 'get',
    args: ['TOPIC'],
    flags: {},
    summary: 'one retained message with its payload',
    run: async (call) => {
      call.show(await call.api.get('/retained/message', { topic: call.arg(0) }));
    },
  },
  {
    resource: 'retained',
    verb: 'delete',
    args: ['[TOPIC]'],
    flags: { filter: text },
    summary: 'delete the retained message of a topic, or with --filter FILTER many',
    run: deleteRetained,
  },
  {
    resource: 'publish',
    verb: '',
    args: ['TOPIC'],
    flags: {
      message: { type: 'string', short: 'm' },
      file: { type: 'string', short: 'f' },
      stdin: { type: 'boolean', short: 's' },
      null: { type: 'boolean', short: 'n' },
      qos: { type: 'string', short: 'q' },
      retain: { type: 'boolean', short: 'r' },
      expiry: text,
    },
    summary: '--message TEXT | --file FILE | --stdin | --null [--qos N] [--retain] [--expiry 1h]',
    run: publish,
  },
];
