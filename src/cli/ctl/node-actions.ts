/** Actions of `ctl` about the node itself, who may reach it and who may operate it. */
import { UsageError } from '../command.ts';
import type { Action, Call, Column } from './action.ts';
import { pathPart } from './api-client.ts';
import { durationS } from './duration.ts';
import { safeText } from './terminal-text.ts';

const text = { type: 'string' } as const;
const banKinds: readonly string[] = ['client', 'user', 'address', 'certificate'];
const roles: readonly string[] = ['viewer', 'operator', 'admin'];

const banColumns: readonly Column[] = [
  { field: 'id', title: 'ID' },
  { field: 'kind', title: 'KIND' },
  { field: 'value', title: 'VALUE' },
  { field: 'user', title: 'ONLY USER' },
  { field: 'origin', title: 'ORIGIN' },
  { field: 'reason', title: 'REASON' },
  { field: 'by', title: 'BY' },
  { field: 'expiresAtMs', title: 'EXPIRES' },
  { field: 'hits', title: 'HITS', isNumber: true },
];

const limitColumns: readonly Column[] = [
  { field: 'kind', title: 'KIND' },
  { field: 'name', title: 'NAME' },
  { field: 'of', title: 'OF' },
  { field: 'per', title: 'PER' },
  { field: 'subject', title: 'WHOSE' },
  { field: 'used', title: 'USED', isNumber: true },
  { field: 'max', title: 'MAX', isNumber: true },
  { field: 'action', title: 'ACTION' },
  { field: 'reached', title: 'REACHED', isNumber: true },
];

const listenerColumns: readonly Column[] = [
  { field: 'name', title: 'NAME' },
  { field: 'transport', title: 'TRANSPORT' },
  { field: 'address', title: 'ADDRESS' },
  { field: 'connections', title: 'CONNECTIONS', isNumber: true },
];

const configColumns: readonly Column[] = [
  { field: 'path', title: 'OPTION' },
  { field: 'value', title: 'VALUE' },
  { field: 'origin', title: 'ORIGIN' },
];

const tokenColumns: readonly Column[] = [
  { field: 'name', title: 'NAME' },
  { field: 'role', title: 'ROLE' },
  { field: 'createdAt', title: 'CREATED' },
  { field: 'expiresAt', title: 'EXPIRES' },
  { field: 'origin', title: 'ORIGIN' },
];

const auditColumns: readonly Column[] = [
  { field: 'atMs', title: 'TIME' },
  { field: 'name', title: 'TOKEN' },
  { field: 'role', title: 'ROLE' },
  { field: 'address', title: 'ADDRESS' },
  { field: 'method', title: 'METHOD' },
  { field: 'path', title: 'PATH' },
  { field: 'target', title: 'TARGET' },
  { field: 'status', title: 'STATUS', isNumber: true },
];

function expiresInS(call: Call): number | null {
  const expires = call.flag('expires');
  return expires === undefined ? null : durationS('--expires', expires);
}

async function addBan(call: Call): Promise<void> {
  const [kind, value] = [call.arg(0), call.arg(1)];
  if (!banKinds.includes(kind)) throw new UsageError(`KIND is one of ${banKinds.join(', ')}`);
  const body = { kind, value, reason: call.flag('reason') ?? '', expiresInS: expiresInS(call) };
  const answer = await call.api.send('POST', '/bans', {}, body);
  const { id } = (answer ?? {}) as { id?: unknown };
  call.done(`banned ${kind} ${safeText(value)} (${safeText(String(id ?? ''))})`, answer);
}

async function createToken(call: Call): Promise<void> {
  const role = call.flag('role');
  if (role === undefined || !roles.includes(role)) {
    throw new UsageError(`--role is one of ${roles.join(', ')}`);
  }
  const body = { name: call.arg(0), role, expiresInS: expiresInS(call) };
  const answer = await call.api.send('POST', '/tokens', {}, body);
  const { token } = (answer ?? {}) as { token?: unknown };
  if (call.isJson) return call.json(answer);
  process.stderr.write('causeway ctl: shown this once; the node keeps only a hash\n');
  process.stdout.write(`${safeText(String(token ?? ''))}\n`);
}

/** An endpoint whose answer is one thing. */
function show(resource: string, verb: string, path: string, summary: string): Action {
  const run = async (call: Call): Promise<void> => call.show(await call.api.get(path));
  return { resource, verb, args: [], flags: {}, summary, run };
}

function list(
  resource: string,
  verb: string,
  path: string,
  columns: readonly Column[],
  summary: string,
): Action {
  const run = (call: Call): Promise<void> => call.list(path, {}, columns);
  return { resource, verb, args: [], flags: {}, summary, columns, run };
}

/** Asks the node to read something again, and shows what it says. */
function reload(resource: string, path: string, summary: string): Action {
  const run = async (call: Call): Promise<void> => {
    const answer = await call.api.send('POST', path);
    if (answer === undefined) call.done('reloaded');
    else call.show(answer);
  };
  return { resource, verb: 'reload', args: [], flags: {}, summary, run };
}

export const nodeActions: readonly Action[] = [
  list('bans', 'list', '/bans', banColumns, 'who is kept out, why and until when'),
  {
    resource: 'bans',
    verb: 'add',
    args: ['KIND', 'VALUE'],
    flags: { reason: text, expires: text },
    summary: 'KIND client, user, address (or CIDR) or certificate [--reason TEXT] [--expires 1h]',
    run: addBan,
  },
  {
    resource: 'bans',
    verb: 'lift',
    args: ['ID'],
    flags: {},
    summary: 'end a ban',
    run: async (call) => {
      const answer = await call.api.send('DELETE', `/bans/${pathPart(call.arg(0))}`);
      call.done(`lifted ${safeText(call.arg(0))}`, answer);
    },
  },
  list('limits', 'list', '/limits', limitColumns, 'quotas and limits with their current use'),
  show('stats', '', '/stats', 'counters of the node'),
  show('node', '', '/node', 'version, uptime and state of the node'),
  list('listeners', 'list', '/listeners', listenerColumns, 'where clients connect'),
  list('config', 'show', '/config', configColumns, 'options in force and their origin, no secrets'),
  reload('config', '/config/reload', 'read configuration, users, rules and certificates again'),
  reload('certificates', '/certificates/reload', 'read certificates again'),
  list('tokens', 'list', '/tokens', tokenColumns, 'names and roles of API tokens'),
  {
    resource: 'tokens',
    verb: 'create',
    args: ['NAME'],
    flags: { role: text, expires: text },
    summary: '--role viewer|operator|admin [--expires 30d]; prints the token once',
    run: createToken,
  },
  {
    resource: 'tokens',
    verb: 'delete',
    args: ['NAME'],
    flags: {},
    summary: 'the token is refused from now on',
    run: async (call) => {
      const answer = await call.api.send('DELETE', `/tokens/${pathPart(call.arg(0))}`);
      call.done(`deleted ${safeText(call.arg(0))}`, answer);
    },
  },
  list('audit', 'list', '/audit', auditColumns, 'the last calls that changed something'),
];
