/** Actions of `ctl` about the datacenter a node is in, and about moving its clients elsewhere. */
import { setTimeout as sleep } from 'node:timers/promises';
import { UsageError } from '../command.ts';
import { type Action, type Call, type Column, terminalWidth } from './action.ts';
import { ApiError } from './api-client.ts';
import { cassandraPairs } from './cassandra-text.ts';
import { clusterPairs, clusterRows, nodeColumns } from './cluster-text.ts';
import { renderPairs, renderTable } from './table.ts';
import { safeText } from './terminal-text.ts';

const text = { type: 'string' } as const;
const flag = { type: 'boolean' } as const;

/** What GET and POST of /drain and /cluster/drain answer. */
interface Drain {
  readonly draining?: boolean;
  readonly drained?: boolean;
  readonly moved?: number;
  readonly remaining?: number;
  readonly startedAtMs?: number;
  /** Of a region: the other nodes know. */
  readonly isTold?: boolean;
}

const drainColumns: readonly Column[] = [
  { field: 'nodeId', title: 'NODE' },
  { field: 'draining', title: 'DRAINING' },
  { field: 'moved', title: 'MOVED', isNumber: true },
  { field: 'remaining', title: 'LEFT', isNumber: true },
];

const POLL_MS = 500;
const CLIENTS_PER_S_MAX = 100_000;
const REFERENCE_MAX = 1024;

/** Null: the node has none. */
async function cassandraOf(call: Call): Promise<unknown> {
  try {
    return await call.api.get('/cassandra');
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null;
    throw error;
  }
}

async function cassandra(call: Call): Promise<void> {
  const answer = await call.api.get('/cassandra');
  if (call.isJson) return call.json(answer ?? null);
  process.stdout.write(renderPairs(cassandraPairs(answer)));
}

async function cluster(call: Call): Promise<void> {
  const answer = await call.api.get('/cluster');
  if (call.isJson) return call.json(answer ?? null);
  const ofCassandra = await cassandraOf(call);
  const more = ofCassandra === null ? [] : cassandraPairs(ofCassandra);
  process.stdout.write(renderPairs([...clusterPairs(answer), ...more]));
  const table = renderTable(nodeColumns, clusterRows(answer), terminalWidth());
  process.stdout.write(`\n${table}`);
}

function rateOf(call: Call): number | undefined {
  const given = call.flag('rate');
  if (given === undefined) return undefined;
  const rate = /^\d{1,6}$/.test(given) ? Number(given) : 0;
  if (rate < 1 || rate > CLIENTS_PER_S_MAX) {
    throw new UsageError(`--rate is 1 to ${CLIENTS_PER_S_MAX} clients a second`);
  }
  return rate;
}

function referenceOf(call: Call): string | undefined {
  const given = call.flag('to');
  if (given !== undefined && given.length > REFERENCE_MAX) {
    throw new UsageError(`--to is a name of at most ${REFERENCE_MAX} characters`);
  }
  return given;
}

async function drain(call: Call): Promise<void> {
  const given = (name: string): boolean => call.flags.values.has(name);
  for (const alone of ['stop', 'show']) {
    if (!given(alone)) continue;
    const other = ['rate', 'to', 'wait', 'stop', 'show'].find((one) => one !== alone && given(one));
    if (other !== undefined) throw new UsageError(`drain --${alone} takes no --${other}`);
  }
  const path = given('region') ? '/cluster/drain' : '/drain';
  if (given('stop')) {
    const answer = await call.api.send('DELETE', path);
    if (given('region')) remarkUntold(answer);
    return call.done('clients may come again', answer);
  }
  if (given('show')) {
    const shown = await call.api.get(path);
    return given('region') ? showRegion(call, shown) : call.show(shown);
  }
  const [clientsPerS, serverReference] = [rateOf(call), referenceOf(call)];
  const body = {
    ...(clientsPerS === undefined ? {} : { clientsPerS }),
    ...(serverReference === undefined ? {} : { serverReference }),
  };
  const begun = (await call.api.send('POST', path, {}, body)) as Drain | undefined;
  if (given('region')) remarkUntold(begun);
  if (!given('wait')) return call.done(`draining: ${progress(begun)}`, begun);
  await follow(call, path, begun ?? {});
}

function remarkUntold(answer: unknown): void {
  if ((answer as Drain | undefined)?.isTold !== false) return;
  process.stderr.write('causeway ctl: Redis does not answer: the other nodes do not know yet\n');
}

/** The whole datacenter, then node by node. */
function showRegion(call: Call, answer: unknown): void {
  if (call.isJson) {
    call.json(answer ?? null);
    return;
  }
  const { nodes = [], ...rest } = (answer ?? {}) as { readonly nodes?: readonly object[] };
  call.show(rest);
  const rows = nodes.map((node) => drainColumns.map(({ field }) => valueText(node, field)));
  process.stdout.write(`\n${renderTable(drainColumns, rows, terminalWidth())}`);
}

function valueText(node: object, field: string): string {
  return safeText(
    String(Object.hasOwn(node, field) ? (node as Record<string, unknown>)[field] : ''),
  );
}

/** Until nobody is left. */
async function follow(call: Call, path: string, begun: Drain): Promise<void> {
  let told = '';
  for (let state = begun; ; ) {
    if (state.draining !== true || state.startedAtMs !== begun.startedAtMs) {
      throw new ApiError(409, 'somebody else has ended this drain, or begun another');
    }
    const line = progress(state);
    if (line !== told && !call.isJson) process.stdout.write(`${line}\n`);
    told = line;
    if (state.drained === true) return call.done('nobody is left', state);
    await sleep(POLL_MS);
    state = ((await call.api.get(path)) ?? {}) as Drain;
  }
}

function progress({ moved = 0, remaining = 0 }: Drain = {}): string {
  return safeText(`${moved} moved, ${remaining} left`);
}

export const clusterActions: readonly Action[] = [
  {
    resource: 'cluster',
    verb: '',
    args: [],
    flags: {},
    summary: 'the datacenter as the node sees it: nodes, links, versions, lag, Redis',
    run: cluster,
  },
  {
    resource: 'cassandra',
    verb: '',
    args: [],
    flags: {},
    summary: 'the Cassandra that regions share: connection, lag of retained messages, rounds',
    run: cassandra,
  },
  {
    resource: 'drain',
    verb: '',
    args: [],
    flags: { region: flag, rate: text, to: text, wait: flag, stop: flag, show: flag },
    summary:
      'move all clients elsewhere, or those of all nodes [--region] [--rate N a second] [--to SERVER_REFERENCE] [--wait]; --show, --stop',
    run: drain,
  },
];
