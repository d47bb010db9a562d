/**
 * The connection to Cassandra while things happen to a server of the test's own, which asks for a login
 * over TLS: wrong logins, a server that is stopped and goes on, one that is killed and comes back.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import type { CassandraLink } from '../../src/drivers/cassandra/cassandra-link.ts';
import type {
  CassandraFailure,
  CassandraState,
} from '../../src/drivers/cassandra/cassandra-port.ts';
import { Certificates } from '../listeners/certificates.ts';
import {
  type LinkChanges,
  linkTo,
  makeKeyspace,
  readPage,
  write,
} from '../support/cassandra-link.ts';
import { ownCassandra, pointsOf, type SharedCassandra } from '../support/cassandra-server.ts';

const READY_MS = 60_000;
const insert = {
  cql: 'INSERT INTO item (key, version) VALUES (?, ?)',
  together: 'INSERT INTO item (key, version) VALUES (?, ?) USING TIMESTAMP ?',
};
const select = { cql: 'SELECT key, version, writetime(version) FROM item WHERE key = ?' };
const TABLE = 'CREATE TABLE KEYSPACE.item (key text PRIMARY KEY, version bigint)';

async function until(what: string, isSo: () => boolean, timeoutMs: number = 30_000): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!isSo()) {
    if (performance.now() > endMs) throw new Error(`not in time: ${what}`);
    await sleep(10);
  }
}

function outcomeOf(work: Promise<void>): Promise<CassandraFailure | null> {
  return work.then(
    () => null,
    (failure: CassandraFailure) => failure,
  );
}

t.test('a server that asks for a login over TLS', async (t) => {
  const certificates = new Certificates();
  certificates.authority('ca');
  certificates.authority('other-ca');
  certificates.issue('server', 'ca', 'DNS:cassandra.test');
  certificates.openssl('pkcs8', '-topk8', '-nocrypt', '-in', 'server.key', '-out', 'server.pk8');
  const parameters = {
    private_key: certificates.pem('server.pk8') + certificates.pem('server.pem'),
    trusted_certificates: certificates.pem('ca.pem'),
  };
  const node = await ownCassandra(t, {
    settings: {
      authenticator: 'PasswordAuthenticator',
      client_encryption_options: {
        enabled: true,
        optional: false,
        ssl_context_factory: {
          class_name: 'org.apache.cassandra.security.PEMBasedSslContextFactory',
          parameters,
        },
      },
    },
  });
  // The account that a new Cassandra has.
  const server: SharedCassandra = {
    ...pointsOf(node),
    username: 'cassandra',
    password: 'cassandra',
  };
  const tls = { ca: [certificates.pem('ca.pem')], servername: 'cassandra.test' };
  const quick: LinkChanges = { tls, attemptTimeoutMs: 700, probeMs: 200, backoffMaxMs: 500 };
  const keyspace = await makeKeyspace(t, server, [TABLE], undefined, { tls });

  async function opened(changes: LinkChanges = {}): Promise<CassandraLink> {
    const link = linkTo(t, server, { keyspace, ...quick, ...changes });
    await link.ready(READY_MS);
    return link;
  }

  t.test('is up with the right login, and says what is wrong with others', async (t) => {
    const link = await opened();
    await write(link, insert, ['login', 1n], 1n);
    t.strictSame((await readPage(link, select, ['login'])).rows, [['login', 1n, 1n]]);
    const wrong: [LinkChanges, RegExp][] = [
      [{ password: 'hunter2' }, /refuses the user or the password/],
      [{ username: null, password: null }, /asks for a user and a password/],
      [{ tls: { ca: [certificates.pem('other-ca.pem')] } }, /certificate is not accepted/],
      [{ tls: { ...tls, servername: 'elsewhere.test' } }, /certificate is not accepted/],
      [{ tls: null }, /no node can be reached/],
    ];
    await Promise.all(
      wrong.map(async ([changes, expected]) => {
        const refused = linkTo(t, server, { keyspace, ...quick, ...changes });
        await until(`${expected}`, () => expected.test(refused.reasons[0] ?? ''));
        t.equal(refused.state, 'down');
        t.notMatch(refused.reasons.join(), 'hunter2');
        refused.close();
      }),
    );
  });

  t.test('stopped, it is missed; going on, it gets what was kept for it', async (t) => {
    const link = await opened({ requestTimeoutMs: 30_000 });
    const short = await opened({ requestTimeoutMs: 4000 });
    const states: CassandraState[] = [];
    const base = 1_763_740_000_000_000n;
    await write(link, insert, ['first', 0n], base);
    await write(short, insert, ['short', 0n], base);
    link.listen({ cassandraChanged: (state) => states.push(state) });
    node.signal('SIGSTOP');
    const { batches } = link.counters;
    const kept = Array.from({ length: 60 }, (_, index) =>
      outcomeOf(write(link, insert, [`kept/${index}`, BigInt(index)], base + BigInt(index))),
    );
    const newer = outcomeOf(write(link, insert, ['first', 9n], base + 9n));
    const given = outcomeOf(write(short, insert, ['short', 1n], base + 1n));
    t.match(await given, { outcome: 'unknown', code: 'TIMEOUT' }, 'nobody knows what became of it');
    await until('it is missed', () => link.state === 'down' && short.state === 'down');
    t.match(link.reasons, [/no node of Cassandra in dc1 answers/]);
    const late = await outcomeOf(write(link, insert, ['late', 1n], base));
    t.match(late, { outcome: 'not_done', code: 'DOWN' }, 'nothing is taken while it is away');
    // After a few unanswered requests the driver gives the connection up, with the others on it.
    t.ok(link.counters.timeouts > 0, `${link.counters.timeouts} timeouts are counted`);
    const { TIMEOUT, INTERRUPTED } = link.counters.attemptFailures;
    t.ok(TIMEOUT + INTERRUPTED >= 16, `${TIMEOUT} in time, ${INTERRUPTED} with their connection`);
    t.ok(link.requests >= 21, 'what was taken is kept');
    node.signal('SIGCONT');
    const outcomes = await Promise.all([...kept, newer]);
    t.strictSame(new Set(outcomes), new Set([null]), 'and all of it done');
    t.ok(link.counters.batches > batches, 'some of it together');
    t.ok(link.counters.retries >= 21, `${link.counters.retries} retries`);
    for (let index = 0; index < kept.length; index += 1) {
      const { rows } = await readPage(link, select, [`kept/${index}`]);
      const version = BigInt(index);
      t.strictSame(rows, [[`kept/${index}`, version, base + version]], 'with its own timestamp');
    }
    // A retry that comes late carries the time of its write, not of its sending.
    await write(link, insert, ['first', 5n], base + 5n);
    t.strictSame((await readPage(link, select, ['first'])).rows, [['first', 9n, base + 9n]]);
    await until('it is well', () => link.state === 'up');
    const changes = states.filter((state, index) => state !== states[index - 1]);
    // Going on, it may be slow once more before it is well.
    t.match(changes.join(' '), /^degraded down degraded (up degraded )*up$/);
  });

  t.test('killed and started again, it is found, with what it had acknowledged', async (t) => {
    const link = await opened({ requestTimeoutMs: 1000 });
    const acked: number[] = [];
    let isWriting = true;
    const writing = (async () => {
      for (let index = 0; isWriting; index += 1) {
        const failure = await outcomeOf(write(link, insert, [`kill/${index}`, 1n], 7n));
        if (failure === null) acked.push(index);
        else await sleep(20);
      }
    })();
    await until('some are written', () => acked.length > 50);
    await node.stop('SIGKILL');
    await until('it is missed', () => link.state === 'down');
    t.match(await outcomeOf(write(link, insert, ['gone', 1n], 1n)), {
      outcome: 'not_done',
      code: 'DOWN',
    });
    const before = acked.length;
    await node.resume();
    await until('it is found again', () => link.state !== 'down', 120_000);
    await until('writes go on', () => acked.length > before + 10, 120_000);
    isWriting = false;
    await writing;
    const lost: number[] = [];
    for (const index of acked) {
      const { rows } = await readPage(link, select, [`kill/${index}`]);
      if (rows.length !== 1) lost.push(index);
    }
    t.strictSame(lost, [], `none of ${acked.length} is lost`);
    t.equal(link.requests, 0);
  });
});
