/**
 * The connection to Cassandra over a real server that nothing happens to: what is written is read, with
 * the timestamps it was given; bounds; pages and token ranges; and what is said to who set it up wrongly.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import type { CassandraFailure } from '../../src/drivers/cassandra/cassandra-port.ts';
import { cutRing } from '../../src/drivers/cassandra/token-ring.ts';
import { type TokenPage, TokenScan } from '../../src/drivers/cassandra/token-scan.ts';
import { linkTo, makeKeyspace, readPage, write } from '../support/cassandra-link.ts';
import { sharedCassandra } from '../support/cassandra-server.ts';

const TABLE = `CREATE TABLE KEYSPACE.item (
  key text PRIMARY KEY, body blob, version bigint, size int, is_set boolean)`;
const insert = {
  cql: 'INSERT INTO item (key, body, version, size, is_set) VALUES (?, ?, ?, ?, ?)',
};
const together = {
  cql: 'INSERT INTO item (key, body) VALUES (?, ?) USING TTL ?',
  together: 'INSERT INTO item (key, body) VALUES (?, ?) USING TTL ? AND TIMESTAMP ?',
};
const bodies = { cql: 'SELECT body, writetime(body), ttl(body) FROM item WHERE key = ?' };
const select = {
  cql: 'SELECT key, body, version, size, is_set, writetime(version) FROM item WHERE key = ?',
};
const scan = { cql: 'SELECT key, version FROM item WHERE token(key) > ? AND token(key) <= ?' };
const missing = { cql: 'SELECT key FROM nothing WHERE key = ?' };
const READY_MS = 60_000;

t.test('over the server of the test run', async (t) => {
  const server = await sharedCassandra(t);
  const keyspace = await makeKeyspace(t, server, [TABLE]);
  const link = linkTo(t, server, { keyspace });
  await link.ready(READY_MS);

  t.test('what is written is read, every type of it, with its timestamp', async (t) => {
    const body = Buffer.from([0, 1, 254, 255]);
    const version = 1_763_740_000_123_456n;
    await write(link, insert, ['a', body, version, 7, true], version);
    const { rows, next } = await readPage(link, select, ['a']);
    t.strictSame(rows, [['a', body, version, 7, true, version]]);
    t.equal(next, null);
    await write(link, insert, ['b', null, -1n, -7, false], 5n);
    t.strictSame((await readPage(link, select, ['b'])).rows, [['b', null, -1n, -7, false, 5n]]);
    t.strictSame((await readPage(link, select, ['none'])).rows, []);
    t.equal(link.state, 'up');
    t.strictSame(link.reasons, []);
  });

  t.test('an older timestamp never wins, in whatever order the writes arrive', async (t) => {
    const base = 1_763_740_000_000_000n;
    const order = [3n, 9n, 1n, 7n, 2n];
    for (const step of order) await write(link, insert, ['lww', null, step, 0, true], base + step);
    await Promise.all(
      [6n, 4n, 8n].map((step) => write(link, insert, ['lww', null, step, 0, true], base + step)),
    );
    const { rows } = await readPage(link, select, ['lww']);
    t.strictSame(rows, [['lww', null, 9n, 0, true, base + 9n]]);
  });

  t.test('many at a time go together, each with its timestamp, key and lifetime', async (t) => {
    const base = 1_763_750_000_000_000n;
    const before = link.counters.batches;
    const keys = Array.from({ length: 300 }, (_, index) => `together/${index}`);
    const put = (index: number, step: number): Promise<void> => {
      const body = Buffer.from(`${index} ${step}`);
      const ttlS = index % 3 === 0 ? 900 : 0;
      return write(link, together, [keys[index]!, body, ttlS], base + BigInt(1000 * index + step));
    };
    // In one batch an older write may come behind a newer one of the same key.
    await Promise.all(keys.flatMap((_, index) => [put(index, 2), put(index, 1)]));
    const batches = link.counters.batches - before;
    t.ok(batches > 20 && batches < 200, `${batches} batches of 600 writes`);
    for (const [index, key] of keys.entries()) {
      const { rows } = await readPage(link, bodies, [key]);
      const [body, timeUs, ttlS] = rows[0]!;
      const found = [(body as Buffer).toString(), timeUs, typeof ttlS === 'number'];
      t.strictSame(found, [`${index} 2`, base + BigInt(1000 * index + 2), index % 3 === 0]);
    }
  });

  t.test('large ones do not; one that is refused takes no others along', async (t) => {
    const before = link.counters.batches;
    const large = Buffer.alloc(5000);
    await Promise.all(
      Array.from({ length: 100 }, (_, i) => write(link, together, [`large/${i}`, large, 0], 1n)),
    );
    t.equal(link.counters.batches, before);
    const refused = link.counters.failures.INVALID;
    const outcomes = await Promise.all(
      Array.from({ length: 200 }, (_, i) => {
        // No blob is a boolean.
        const body = i % 50 === 30 ? true : Buffer.from(`${i}`);
        return write(link, together, [`mixed/${i}`, body, 0], 1n).then(
          () => null,
          (failure: CassandraFailure) => failure.code,
        );
      }),
    );
    t.ok(link.counters.batches > before);
    for (const [i, outcome] of outcomes.entries()) {
      t.equal(outcome, i % 50 === 30 ? 'INVALID' : null, `mixed/${i}`);
    }
    t.equal(link.counters.failures.INVALID - refused, 4);
    const { rows } = await readPage(link, bodies, ['mixed/199']);
    t.strictSame(rows, [[Buffer.from('199'), 1n, null]]);
  });

  t.test('a scan of token ranges sees each row once', async (t) => {
    const keys = Array.from({ length: 1000 }, (_, index) => `scan/${index}`);
    await Promise.all(
      keys.map((key, index) => write(link, insert, [key, null, BigInt(index), 0, true], 1n)),
    );
    const tokens = link.tokens();
    t.ok(tokens.length > 0, 'the ring is known');
    const ranges = cutRing(tokens, 16);
    const seen: string[] = [];
    const scanning = new TokenScan({ port: link, statement: scan, ranges, pageRows: 20 });
    let last = 0;
    while (!scanning.isDone) {
      const page = await new Promise<TokenPage>((resolve, reject) => {
        scanning.next((failure, page) => (page === null ? reject(failure) : resolve(page)));
      });
      t.ok(page.rows.length <= 20, 'a page is bounded');
      t.ok(scanning.progress >= last && scanning.progress <= 1, 'progress only rises');
      last = scanning.progress;
      for (const [key] of page.rows) seen.push(key as string);
    }
    t.equal(last, 1);
    const scanned = seen.filter((key) => key.startsWith('scan/'));
    t.strictSame(scanned.sort(), [...keys].sort());
    t.equal(new Set(seen).size, seen.length, 'nothing twice');
  });

  t.test('requests under way are bounded, by number and by bytes', async (t) => {
    const small = linkTo(t, server, { keyspace, inFlightMax: 4, requestsMax: 50 });
    await small.ready(READY_MS);
    let sentMax = 0;
    let isInside = true;
    const outcomes = Array.from(
      { length: 80 },
      (_, index) =>
        new Promise<string>((resolve) => {
          small.write(insert, [`bound/${index}`, null, 0n, 0, true], 1n, (failure) => {
            if (isInside) t.fail('answered from inside the call');
            sentMax = Math.max(sentMax, small.inFlight);
            resolve(failure === null ? 'done' : `${failure.outcome} ${failure.code}`);
          });
          sentMax = Math.max(sentMax, small.inFlight);
          t.ok(small.requests <= 50);
        }),
    );
    isInside = false;
    const said = await Promise.all(outcomes);
    t.equal(said.filter((one) => one === 'done').length, 50);
    t.equal(said.filter((one) => one === 'not_done BUSY').length, 30);
    t.equal(sentMax, 4);
    t.equal(small.requests, 0);
    t.equal(small.requestBytes, 0);
    t.equal(small.counters.failures.BUSY, 30);
    const tight = linkTo(t, server, { keyspace, requestBytesMax: 1000 });
    await tight.ready(READY_MS);
    const body = Buffer.alloc(600);
    const two = [1, 2].map((index) =>
      write(tight, insert, [`bytes/${index}`, body, 0n, 0, true], 1n),
    );
    const [first, second] = await Promise.allSettled(two);
    t.equal(first?.status, 'fulfilled');
    t.match(second, { status: 'rejected', reason: { code: 'BUSY', outcome: 'not_done' } });
  });

  t.test('what is counted adds up', async (t) => {
    const { writes, reads, failures, latencies } = link.counters;
    const failed = Object.values(failures).reduce((sum, count) => sum + count, 0);
    const answered = latencies.reduce((sum, count) => sum + count, 0);
    t.ok(writes > 1000 && reads > 10);
    t.equal(failed + answered, writes + reads);
    t.equal(link.counters.connects, 1);
    t.equal(link.counters.losses, 0);
  });

  t.test('a statement that may not be done twice is not taken', async (t) => {
    const unfit = [
      'INSERT INTO item (key) VALUES (?) IF NOT EXISTS',
      'INSERT INTO item (key) VALUES (?) USING TIMESTAMP ?',
      'INSERT INTO item (key) VALUES (?) USING TTL ? AND TIMESTAMP ?',
      'SELECT key FROM item',
      'TRUNCATE item',
    ];
    for (const cql of unfit) t.throws(() => link.write({ cql }, [], 1n, () => {}), TypeError, cql);
    t.throws(() => link.read(insert, [], 1, null, () => {}), TypeError);
  });

  t.test('who set it up wrongly is told what to do', async (t) => {
    await t.rejects(readPage(link, missing, ['a']), {
      outcome: 'refused',
      code: 'NO_TABLE',
      message: /table is missing .*: run causeway cassandra init/,
    });
    await t.rejects(write(link, insert, ['a', null, 'text', 0, true], 1n), {
      outcome: 'refused',
      code: 'INVALID',
    });
    const sockets = (): number =>
      process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length;
    const before = sockets();
    const problems: string[] = [];
    const wrong = linkTo(t, server, {
      localDatacenter: 'nowhere',
      onProblem: (why) => problems.push(why),
    });
    await t.rejects(wrong.ready(1500), { outcome: 'refused', code: 'NO_DATACENTER' });
    const askedMs = performance.now();
    await t.rejects(wrong.ready(30_000, 100), { code: 'NO_DATACENTER' });
    t.ok(performance.now() - askedMs < 10_000, 'what lasts is not waited for to the end');
    const there = `there is "${server.datacenter}"`;
    t.match(problems[0], `no node is of the datacenter "nowhere"; ${there}: the local datacenter`);
    t.match(problems[0], /^Cassandra: /);
    t.equal(wrong.state, 'down');
    t.equal(wrong.reasons[0], problems[0]);
    const bare = linkTo(t, server, { keyspace: 'causeway_test_none' });
    await t.rejects(bare.ready(1500), { outcome: 'refused', code: 'NO_KEYSPACE' });
    const init = 'the keyspace "causeway_test_none" does not exist: run causeway cassandra init';
    t.match(bare.reasons[0], init);
    await t.rejects(readPage(bare, select, ['a']), { outcome: 'not_done', code: 'DOWN' });
    t.ok(wrong.counters.losses > 2 && bare.counters.losses > 2, 'they go on trying');
    wrong.close();
    bare.close();
    for (let turn = 0; turn < 500 && sockets() > before; turn += 1) await sleep(20);
    // One of an earlier test may have been on its way out when it was counted.
    t.ok(sockets() <= before, `no attempt leaves a connection behind: ${sockets()} of ${before}`);
  });

  t.test('closing answers what is under way, and refuses what comes', async (t) => {
    const closing = linkTo(t, server, { keyspace });
    await closing.ready(READY_MS);
    const under = write(closing, insert, ['close', null, 0n, 0, true], 1n);
    closing.close();
    await t.rejects(under, { code: 'CLOSED', outcome: 'unknown' });
    await t.rejects(readPage(closing, select, ['a']), { code: 'CLOSED', outcome: 'not_done' });
    t.equal(closing.state, 'down');
    t.equal(closing.requests, 0);
  });
});

t.test('nobody is there', async (t) => {
  const link = linkTo(
    t,
    { contactPoints: ['127.0.0.1:1'], datacenter: 'dc1', username: null, password: null },
    { keyspace: 'any' },
  );
  await t.rejects(link.ready(500), { code: 'DOWN', message: /no node can be reached/ });
  const failure = await write(link, insert, ['a', null, 0n, 0, true], 1n).then(
    () => null,
    (error: CassandraFailure) => error,
  );
  t.match(failure, { code: 'DOWN', outcome: 'not_done', message: /ECONNREFUSED/ });
  t.ok(link.counters.losses > 1, 'it goes on trying');
});
