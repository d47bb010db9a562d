/**
 * Which writes go to Cassandra together: those of keys that the same nodes of the local datacenter keep. The
 * link and its session are the real ones, the client of the driver is a ring that this test makes up.
 */
import cassandra, { type Client, type types } from 'cassandra-driver';
import t, { type Test } from 'tap';
import { CassandraLink } from '../../src/drivers/cassandra/cassandra-link.ts';
import { cassandraSettings } from '../../src/drivers/cassandra/cassandra-options.ts';
import { CassandraSession } from '../../src/drivers/cassandra/cassandra-session.ts';

const insert = {
  cql: 'INSERT INTO item (key, body) VALUES (?, ?) USING TTL ?',
  together: 'INSERT INTO item (key, body) VALUES (?, ?) USING TTL ? AND TIMESTAMP ?',
};
const KEYS = 400;
const PROBE_MS = 20;
const TOGETHER_MAX = 10;

interface MadeUpHost {
  readonly address: string;
  readonly datacenter: string;
  readonly tokens: readonly string[];
  isUp(): boolean;
}

function host(address: string, token: number): MadeUpHost {
  const datacenter = address.startsWith('far') ? 'dc2' : 'dc1';
  return { address, datacenter, tokens: [`${token}`], isUp: () => true };
}

const near = ['near1', 'near2', 'near3', 'near4'].map((address, index) => host(address, index));
const far = ['far1', 'far2'].map((address, index) => host(address, 10 + index));
const [near1, near2, near3, near4] = near as [MadeUpHost, MadeUpHost, MadeUpHost, MadeUpHost];
const [far1, far2] = far as [MadeUpHost, MadeUpHost];

/** By part of the ring: who keeps it. Of the first two the same nodes near by. */
const PARTS: readonly (readonly MadeUpHost[])[] = [
  [near1, near2, far1],
  [near2, far2, near1],
  [near3, far1, near4],
  [near4, near1, far2],
];
const EVERYWHERE = PARTS.map(() => [...near, ...far]);

const keyOf = (index: number): string => `${index % PARTS.length}/${index}`;
const partOf = (key: string): number => Number(key[0]);

/** Nodes near by that keep the key. */
function keepers(key: string): string {
  const local = PARTS[partOf(key)]!.filter(({ datacenter }) => datacenter === 'dc1');
  return local
    .map(({ address }) => address)
    .sort()
    .join();
}

interface Sent {
  readonly key: string;
  readonly timestampUs: bigint;
}

/** What the session uses of the driver's client. It answers each write in a later turn. */
class MadeUpClient {
  /** Null: the ring is not known. */
  parts: readonly (readonly MadeUpHost[])[] | null;
  asked = 0;
  /** Signs of life that nodes were asked for. */
  probes = 0;
  readonly batches: (readonly Sent[])[] = [];
  readonly alone: Sent[] = [];
  readonly hosts = { values: (): readonly MadeUpHost[] => [...near, ...far] };
  readonly metadata = {
    newToken: (token: string): string => token,
    getReplicas: (_keyspace: string, token: string): readonly MadeUpHost[] | null =>
      this.parts?.[Number(token) % PARTS.length] ?? null,
  };

  constructor(parts: readonly (readonly MadeUpHost[])[] | null) {
    this.parts = parts;
  }

  on(): void {}

  getReplicas(_keyspace: string, key: Buffer): readonly MadeUpHost[] | null {
    this.asked++;
    return this.parts?.[partOf(key.toString())] ?? null;
  }

  async execute(
    cql: string,
    values: readonly unknown[],
    options: { readonly timestamp?: types.Long },
  ): Promise<object> {
    if (cql === insert.cql) {
      const timestampUs = BigInt(options.timestamp?.toString() ?? '-1');
      this.alone.push({ key: String(values[0]), timestampUs });
    } else {
      this.probes++;
    }
    await new Promise((resolve) => setImmediate(resolve));
    return {};
  }

  async batch(
    queries: readonly { readonly query: string; readonly params: readonly unknown[] }[],
  ): Promise<object> {
    this.batches.push(
      queries.map(({ query, params }) => {
        if (query !== insert.together) throw new Error(`${query} is not to be in a batch`);
        return { key: String(params[0]), timestampUs: params.at(-1) as bigint };
      }),
    );
    await new Promise((resolve) => setImmediate(resolve));
    return {};
  }

  shutdown(): Promise<void> {
    return Promise.resolve();
  }
}

async function linkOver(t: Test, client: MadeUpClient): Promise<CassandraLink> {
  const options = { contactPoints: ['near1'], localDatacenter: 'dc1', keyspace: 'made_up' };
  const link = new CassandraLink(
    cassandraSettings({ ...options, probeMs: PROBE_MS }),
    async (settings) => {
      const sharing = { isWhole: false };
      const driver = client as unknown as Client;
      return new CassandraSession(cassandra, driver, settings, new Map(), sharing);
    },
  );
  t.teardown(() => link.close());
  await link.ready(10_000);
  return link;
}

async function writeAll(link: CassandraLink): Promise<void> {
  const body = Buffer.from('x');
  await Promise.all(
    Array.from({ length: KEYS }, (_, index) => {
      return new Promise<void>((resolve, reject) => {
        link.write(insert, [keyOf(index), body, 0], BigInt(1000 + index), (failure) => {
          if (failure === null) resolve();
          else reject(failure);
        });
      });
    }),
  );
}

/** Each key was sent once, with its timestamp. */
function sameAsWritten(t: Test, { alone, batches }: MadeUpClient): void {
  const sent = [...alone, ...batches.flat()].map(({ key, timestampUs }) => `${key} ${timestampUs}`);
  const wanted = Array.from({ length: KEYS }, (_, index) => `${keyOf(index)} ${1000 + index}`);
  t.strictSame(sent.sort(), wanted.sort());
}

t.test('only of keys that the same nodes near by keep', async (t) => {
  const client = new MadeUpClient(PARTS);
  const link = await linkOver(t, client);
  await writeAll(link);
  sameAsWritten(t, client);
  t.equal(link.counters.batches, client.batches.length);
  const most = Math.max(...client.batches.map(({ length }) => length));
  t.equal(most, TOGETHER_MAX, 'those that may go together do');
  for (const batch of client.batches) {
    const sets = new Set(batch.map(({ key }) => keepers(key)));
    if (sets.size !== 1) t.fail(`one batch to ${[...sets].join(' and ')}`);
  }
  const mixed = client.batches.filter((batch) => new Set(batch.map(({ key }) => key[0])).size > 1);
  t.ok(mixed.length > 0, 'who keeps it far away, and in which order, does not part them');
});

t.test('none while nobody knows who keeps what', async (t) => {
  const client = new MadeUpClient(null);
  const link = await linkOver(t, client);
  await writeAll(link);
  sameAsWritten(t, client);
  t.strictSame(client.batches, []);
});

t.test(
  'all where every node near by keeps every key, until there is one that does not',
  async (t) => {
    const client = new MadeUpClient(EVERYWHERE);
    const link = await linkOver(t, client);
    await writeAll(link);
    sameAsWritten(t, client);
    t.equal(client.asked, 0, 'nobody looks for the replicas of a key');
    t.ok(
      client.batches.some((batch) => new Set(batch.map(({ key }) => keepers(key))).size > 1),
      'any go together',
    );
    client.parts = PARTS;
    client.batches.length = 0;
    client.alone.length = 0;
    // The next roll.
    await new Promise((resolve) => setTimeout(resolve, 10 * PROBE_MS));
    await writeAll(link);
    sameAsWritten(t, client);
    t.ok(client.batches.length > 0);
    for (const batch of client.batches) {
      const sets = new Set(batch.map(({ key }) => keepers(key)));
      if (sets.size !== 1) t.fail(`one batch to ${[...sets].join(' and ')}`);
    }
  },
);
