/**
 * What of the Cassandra driver needs no Cassandra: how the ring is cut and scanned, what options are
 * refused, and what the errors of the driver are taken for.
 */
import t from 'tap';
import { cassandraFailure } from '../../src/drivers/cassandra/cassandra-error.ts';
import { cassandraSettings } from '../../src/drivers/cassandra/cassandra-options.ts';
import type { CassandraPort, CassandraRow } from '../../src/drivers/cassandra/cassandra-port.ts';
import { CassandraFailure } from '../../src/drivers/cassandra/cassandra-port.ts';
import {
  cutRing,
  shareOf,
  shareUnserved,
  TOKEN_MAX,
  TOKEN_MIN,
} from '../../src/drivers/cassandra/token-ring.ts';
import { TokenScan } from '../../src/drivers/cassandra/token-scan.ts';

t.test('the ring is cut without gap or overlap', async (t) => {
  const cases: [readonly bigint[], number][] = [
    [[], 1],
    [[], 7],
    [[0n], 1],
    [[TOKEN_MIN, 5n, TOKEN_MAX], 2],
    [[-3n, 9n, 4n, 4n], 1000],
  ];
  for (const [tokens, pieces] of cases) {
    const ranges = cutRing(tokens, pieces);
    t.equal(ranges[0]?.after, TOKEN_MIN);
    t.equal(ranges.at(-1)?.upTo, TOKEN_MAX);
    t.ok(ranges.length >= pieces);
    t.ok(ranges.every((range) => range.after < range.upTo));
    t.ok(ranges.every((range, index) => index === 0 || range.after === ranges[index - 1]?.upTo));
    for (const token of tokens) {
      if (token === TOKEN_MIN) continue;
      t.ok(
        ranges.some((range) => range.upTo === token),
        `cut at ${token}`,
      );
    }
    const share = ranges.reduce((sum, range) => sum + shareOf(range), 0);
    t.ok(Math.abs(share - 1) < 1e-9);
  }
  t.strictSame(cutRing([], 4), cutRing([], 4), 'the same for everybody');
});

t.test('how much of the ring is not served', async (t) => {
  const quarter = 2n ** 62n;
  const ends = [-quarter, 0n, quarter, 2n * quarter - 1n];
  t.equal(
    shareUnserved(ends, () => true),
    0,
  );
  t.equal(
    shareUnserved(ends, () => false),
    1,
  );
  t.equal(
    shareUnserved(ends, (end) => end !== 0n),
    0.25,
  );
  const around = shareUnserved(ends, (end) => end !== -quarter);
  t.ok(Math.abs(around - 0.25) < 1e-9, 'over the end of the ring');
  t.equal(
    shareUnserved([7n], () => false),
    1,
    'one token owns all',
  );
  t.equal(
    shareUnserved([], () => false),
    0,
    'nothing is known',
  );
});

/** Rows whose key is their token; fails where told to. */
function portOf(tokens: readonly bigint[], fails: Set<number>): CassandraPort {
  let calls = 0;
  return {
    state: 'up',
    reasons: [],
    write: () => {},
    tokens: () => [],
    listen: () => {},
    read(_statement, [after, upTo], pageRows, from, done) {
      calls += 1;
      if (fails.has(calls)) {
        done(new CassandraFailure('not_done', 'READ_TIMEOUT', 'planned'), [], null);
        return;
      }
      const all = tokens.filter((one) => one > (after as bigint) && one <= (upTo as bigint));
      const begin = from === null ? 0 : from.readUInt32BE();
      const end = Math.min(all.length, begin + pageRows);
      const next = Buffer.alloc(4);
      next.writeUInt32BE(end);
      const rows: CassandraRow[] = all.slice(begin, end).map((one) => [one]);
      done(null, rows, end < all.length ? next : null);
    },
  };
}

t.test('a scan reads a page that failed again, and loses and doubles nothing', async (t) => {
  const tokens = Array.from({ length: 500 }, (_, index) => BigInt(index - 250) * 2n ** 54n);
  const fails = new Set([1, 5, 6, 40]);
  const port = portOf([TOKEN_MAX, ...tokens], fails);
  const ranges = cutRing([0n], 8);
  const scan = new TokenScan({ port, statement: { cql: '' }, ranges, pageRows: 9 });
  const seen: bigint[] = [];
  let failures = 0;
  for (let turn = 0; turn < 1000 && !scan.isDone; turn += 1) {
    scan.next((failure, page) => {
      if (failure !== null) failures += 1;
      for (const [key] of page?.rows ?? []) seen.push(key as bigint);
    });
  }
  t.ok(scan.isDone);
  t.equal(scan.progress, 1);
  t.equal(failures, fails.size);
  t.equal(seen.length, 501);
  t.equal(new Set(seen).size, 501);
  t.throws(() => scan.next(() => {}), /done/);
});

t.test('options that cannot work are refused by name', async (t) => {
  const good = { contactPoints: ['c1'], localDatacenter: 'dc1', keyspace: 'causeway' };
  t.match(cassandraSettings(good), { requestsMax: 10_000, inFlightMax: 256, tls: null });
  const points = ['10.0.0.1:9042', '[::1]:9042', '::1', 'host.example'];
  t.strictSame(cassandraSettings({ ...good, contactPoints: points }).contactPoints, points);
  const bad: [object, RegExp][] = [
    [{ contactPoints: [] }, /contact point/],
    [{ contactPoints: ['user:secret@host'] }, /is not host/],
    [{ contactPoints: [''] }, /is not host/],
    [{ localDatacenter: '' }, /local datacenter/],
    [{ keyspace: 'Drop;' }, /keyspace/],
    [{ username: 'u' }, /without a password/],
    [{ tls: { cert: 'c' } }, /without its key/],
  ];
  for (const [change, expected] of bad) {
    t.throws(() => cassandraSettings({ ...good, ...change }), {
      name: 'TypeError',
      message: expected,
    });
  }
});

/** As the driver makes them. */
function driverError(name: string, message: string, fields: object = {}): Error {
  return Object.assign(new Error(message), { name, ...fields });
}

t.test('errors of the driver are told apart by what is known of the request', async (t) => {
  const response = (code: number, message: string, fields: object = {}): Error =>
    driverError('ResponseError', message, { code, ...fields });
  const socket = { isSocketError: true };
  const cases: [Error, string, string][] = [
    [driverError('OperationTimedOutError', 'late'), 'unknown', 'TIMEOUT'],
    [response(0x1100, 'write timeout'), 'unknown', 'WRITE_TIMEOUT'],
    [response(0x1500, 'write failure'), 'unknown', 'WRITE_FAILURE'],
    [response(0x1000, 'unavailable', { required: 2, alive: 1 }), 'not_done', 'UNAVAILABLE'],
    [response(0x1001, 'overloaded'), 'not_done', 'OVERLOADED'],
    [response(0x2100, 'no'), 'refused', 'UNAUTHORIZED'],
    [response(0x2000, 'line 1'), 'refused', 'INVALID'],
    [response(0x2200, "Keyspace 'abc' does not exist"), 'refused', 'NO_KEYSPACE'],
    [response(0x2200, 'table x does not exist'), 'refused', 'NO_TABLE'],
    [driverError('DriverError', 'Socket was closed', socket), 'unknown', 'INTERRUPTED'],
    [
      driverError('DriverError', 'x', { ...socket, requestNotWritten: true }),
      'not_done',
      'INTERRUPTED',
    ],
    [driverError('NoHostAvailableError', 'all'), 'not_done', 'NO_HOST'],
    [
      driverError('NoHostAvailableError', 'all', {
        innerErrors: {
          a: driverError('Error', 'x', { code: 'ECONNREFUSED' }),
          b: driverError('AuthenticationError', 'bad credentials'),
        },
      }),
      'refused',
      'LOGIN',
    ],
    [driverError('Error', 'x', { code: 'SELF_SIGNED_CERT_IN_CHAIN' }), 'refused', 'TLS'],
  ];
  for (const [error, outcome, code] of cases) {
    t.match(cassandraFailure(error), { outcome, code }, `${error.name} ${error.message}`);
  }
  t.match(
    cassandraFailure(response(0x1000, 'x', { required: 2, alive: 1 })).message,
    'LOCAL_QUORUM needs 2 replicas and 1 are alive',
  );
  t.notMatch(
    cassandraFailure(driverError('AuthenticationError', 'user bob, password hunter2')).message,
    'hunter2',
  );
});
