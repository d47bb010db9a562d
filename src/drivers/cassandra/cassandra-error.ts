/**
 * What an error of the driver means: whether the request was done, whether to try again, and what an
 * operator has to do. Told by the names and numbers of errors, so that the driver need not be loaded;
 * nothing it says holds a value, a user or a password.
 */
import { type CassandraCode, CassandraFailure, type CassandraOutcome } from './cassandra-port.ts';

/** What the driver's errors are looked at for. */
interface DriverError extends Error {
  readonly code?: unknown;
  readonly isSocketError?: boolean;
  readonly requestNotWritten?: boolean;
  readonly innerErrors?: Readonly<Record<string, unknown>>;
  readonly required?: number;
  readonly alive?: number;
}

/** Numbers of the native protocol, version 4. */
const ANSWERS: ReadonlyMap<number, readonly [CassandraCode, CassandraOutcome]> = new Map([
  [0x0000, ['SERVER', 'unknown']],
  [0x0100, ['LOGIN', 'refused']],
  [0x1000, ['UNAVAILABLE', 'not_done']],
  [0x1001, ['OVERLOADED', 'not_done']],
  [0x1002, ['OVERLOADED', 'not_done']],
  [0x1003, ['SERVER', 'unknown']],
  [0x1100, ['WRITE_TIMEOUT', 'unknown']],
  [0x1200, ['READ_TIMEOUT', 'not_done']],
  [0x1300, ['READ_FAILURE', 'not_done']],
  [0x1500, ['WRITE_FAILURE', 'unknown']],
  [0x2100, ['UNAUTHORIZED', 'refused']],
] as const);

const TLS_CODE = /^(?:CERT|DEPTH_ZERO|ERR_SSL|ERR_TLS|SELF_SIGNED|UNABLE_TO)/;
/** What the driver throws while it encodes a value, before anything is sent. */
const ENCODING: ReadonlySet<string> = new Set(['TypeError', 'RangeError', 'SyntaxError']);
const DATACENTERS: RegExp = /configured as '(.*)', but only found hosts in data centers: \[(.*)\]/;
const TEXT_MAX = 200;

/** These may go away by themselves. */
const PASSING: ReadonlySet<CassandraCode> = new Set([
  'NO_HOST',
  'UNAVAILABLE',
  'OVERLOADED',
  'TIMEOUT',
  'WRITE_TIMEOUT',
  'WRITE_FAILURE',
  'INTERRUPTED',
  'READ_TIMEOUT',
  'READ_FAILURE',
  'SERVER',
]);

export function isPassing(code: CassandraCode): boolean {
  return PASSING.has(code);
}

export function cassandraFailure(error: unknown): CassandraFailure {
  if (error instanceof CassandraFailure) return error;
  if (!(error instanceof Error)) return failure('unknown', 'SERVER', 'an unknown error');
  const known = error as DriverError;
  if (known.name === 'NoHostAvailableError') return noHost(known);
  if (known.name === 'AuthenticationError') return login(known);
  if (known.name === 'OperationTimedOutError') {
    return failure('unknown', 'TIMEOUT', 'no answer in time');
  }
  if (known.name === 'ResponseError' && typeof known.code === 'number') return answer(known);
  if (known.isSocketError === true) {
    const outcome = known.requestNotWritten === true ? 'not_done' : 'unknown';
    return failure(outcome, 'INTERRUPTED', 'the connection broke');
  }
  if (known.name === 'DriverError' && known.message === 'Connection timeout') {
    return failure('not_done', 'NO_HOST', 'no connection in time');
  }
  if (known.name === 'BusyConnectionError') {
    return failure('not_done', 'OVERLOADED', 'every connection is full');
  }
  if (typeof known.code === 'string') {
    if (!TLS_CODE.test(known.code)) return failure('not_done', 'NO_HOST', known.code);
    const how = 'look at tls.ca, and whether the certificate has the address in it';
    return failure('refused', 'TLS', `its certificate is not accepted (${known.code}): ${how}`);
  }
  if (known.name === 'ArgumentError') return argument(known);
  if (ENCODING.has(known.name)) {
    // Its message has the value.
    return failure('refused', 'INVALID', 'a value does not fit its column, or one is missing');
  }
  return failure('unknown', 'SERVER', known.name);
}

/** The driver tried all, and has an error for each; one that somebody must act upon is told first. */
function noHost(error: DriverError): CassandraFailure {
  const inner = Object.values(error.innerErrors ?? {}).filter((one) => one instanceof Error);
  const failures = inner.map((one) => cassandraFailure(one));
  const telling = failures.find(({ code }) => !isPassing(code));
  if (telling !== undefined) return telling;
  const reasons = [
    ...new Set(failures.map(({ message }) => message.replace('Cassandra: ', ''))),
  ].slice(0, 3);
  const why = reasons.length === 0 ? '' : `: ${reasons.join(', ')}`;
  return failure('not_done', 'NO_HOST', `no node can be reached${why}`);
}

function login(error: DriverError): CassandraFailure {
  const isAsked = /requires authentication/.test(error.message);
  const why = isAsked ? 'it asks for a user and a password' : 'it refuses the user or the password';
  return failure('refused', 'LOGIN', why);
}

/** Of those the driver has, only the one about the datacenter depends on what an operator says. */
function argument(error: DriverError): CassandraFailure {
  const parts = DATACENTERS.exec(error.message);
  if (parts === null) return failure('refused', 'INVALID', shorten(error.message));
  const [, wanted = '', there = ''] = parts;
  const names = there.split(',').map((name) => `"${name.trim()}"`);
  const why = `no node is of the datacenter "${wanted}"; there is ${names.join(', ')}`;
  return failure(
    'refused',
    'NO_DATACENTER',
    `${shorten(why)}: the local datacenter must be one of these`,
  );
}

function answer(error: DriverError): CassandraFailure {
  const [code, outcome] = ANSWERS.get(error.code as number) ?? ['INVALID', 'refused'];
  if (code === 'LOGIN') return login(error);
  if (code === 'UNAVAILABLE') {
    const { required = 0, alive = 0 } = error;
    const why = `LOCAL_QUORUM needs ${required} replicas and ${alive} are alive`;
    return failure(outcome, code, why);
  }
  if (code !== 'INVALID') return failure(outcome, code, shorten(error.message));
  if (/^keyspace\b.*does not exist/i.test(error.message)) return noKeyspace(error.message);
  if (/(?:table|unconfigured).*(?:does not exist|table)/i.test(error.message)) {
    const why = `a table is missing (${shorten(error.message)}): run causeway cassandra init`;
    return failure('refused', 'NO_TABLE', why);
  }
  return failure('refused', 'INVALID', shorten(error.message));
}

function noKeyspace(message: string): CassandraFailure {
  const name = /'([a-z0-9_]{1,48})'/.exec(message)?.[1] ?? '';
  const why = `the keyspace "${name}" does not exist: run causeway cassandra init`;
  return failure('refused', 'NO_KEYSPACE', why);
}

function failure(outcome: CassandraOutcome, code: CassandraCode, why: string): CassandraFailure {
  return new CassandraFailure(outcome, code, `Cassandra: ${why}`);
}

function shorten(text: string): string {
  const line = text.replaceAll(/[^\x20-\x7e]+/g, ' ');
  return line.length > TEXT_MAX ? `${line.slice(0, TEXT_MAX)}…` : line;
}
