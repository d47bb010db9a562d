/**
 * Retained messages of a region over a real Cassandra: how many distinct topics a second one node has
 * acknowledged, how changes of few topics are put together, how long a new node takes to read a filled
 * keyspace, what a topic costs in memory, how long a restart takes, and how fast `#` is handed out.
 * Cassandra, the node and this process share the machine; the figures are of all three together.
 *
 *   node bench/region/retained.ts [topics to be read] [topics to be written]
 *
 * With CASSANDRA_CONTACT_POINTS (and CASSANDRA_LOCAL_DATACENTER) that one is used, in keyspaces that
 * begin with bench_ and stay there; else one is started.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CassandraNode } from '../../scripts/cassandra-node.ts';
import { Client } from '../../src/client/client.ts';
import { PacketSplitter } from '../../src/client/packet-splitter.ts';
import { makeMessage } from '../../src/core/message.ts';
import { type CassandraLink, openCassandra } from '../../src/drivers/cassandra/cassandra-link.ts';
import { encodeRecord } from '../../src/store/cassandra/retained-record.ts';
import { runCli } from '../../test/cli/run.ts';
import { Broker } from '../../test/e2e/broker.ts';

const PAYLOAD_BYTES = 64;
const PUBLISHERS = 16;
const WINDOW = 64;
const BUSY_TOPICS = 20;
const BUSY_MS = 5000;
const FILLING_AT_ONCE = 256;
const READY_MS_MAX = 900_000;
/** Whoever has done something is measured so long after. */
const REST_MS = 5000;
const TOPICS_MIN = 100_000;
const PUBLISH = 3;
const SUBSCRIBE_ALL = Buffer.from([0x82, 0x06, 0x00, 0x01, 0x00, 0x01, 0x23, 0x00]);

const toRead = Number(process.argv[2] ?? 1_000_000);
const toWrite = Number(process.argv[3] ?? 50_000);

const folder = mkdtempSync(join(tmpdir(), 'causeway-bench-'));
const own = process.env.CASSANDRA_CONTACT_POINTS === undefined;
const cassandra = own ? await CassandraNode.launch({ heapMiB: 1024 }) : null;
const point = cassandra?.ip ?? process.env.CASSANDRA_CONTACT_POINTS ?? '';
const datacenter = cassandra?.datacenter ?? process.env.CASSANDRA_LOCAL_DATACENTER ?? 'datacenter1';
const rows: [string, string][] = [];
let nodes = 0;

function tell(what: string, figure: string): void {
  rows.push([what, figure]);
  console.log(`${what}: ${figure}`);
}

const whole = new Intl.NumberFormat('en');
const count = (value: number): string => whole.format(Math.round(value));

function topicOf(index: number): string {
  return `plant/${index % 100}/line/${index % 1000}/device-${index}/state`;
}

interface Memory {
  readonly bytes: number;
  /** Of them; the kernel takes these back when somebody needs them. */
  readonly fileBytes: number;
}

function memoryOf(broker: Broker): Memory {
  return { bytes: broker.rssBytes(), fileBytes: broker.rssFileBytes() };
}

/** Against a node without any. */
function tellMemory(when: string, broker: Broker, bare: Memory, topics: number): void {
  const { bytes, fileBytes } = memoryOf(broker);
  const each = (bytes - bare.bytes) / topics - PAYLOAD_BYTES;
  const files = (fileBytes - bare.fileBytes) / topics;
  tell(
    `memory of one topic beyond its payload, ${when}`,
    `${count(each)} bytes, ${count(files)} of them pages of files`,
  );
}

async function init(keyspace: string): Promise<void> {
  const { code, stderr } = await runCli([
    ...['cassandra', 'init', '--contact-points', point, '--local-datacenter', datacenter],
    ...['--keyspace', keyspace, '--replication', `${datacenter}=1`],
  ]);
  if (code !== 0) throw new Error(stderr);
}

async function startNode(keyspace: string, data = `node-${nodes++}`): Promise<Broker> {
  const options = [
    `cassandra.contactPoints=${point}`,
    `cassandra.localDatacenter=${datacenter}`,
    `cassandra.keyspace=${keyspace}`,
    'sysIntervalS=0',
    'log.level=info',
  ];
  return await Broker.start({
    data: join(folder, data),
    hasAdmin: true,
    startMsMax: READY_MS_MAX,
    flags: options.flatMap((option) => ['--set', option]),
  });
}

// ---------------------------------------------------------------------------------- writing

async function publishers(broker: Broker): Promise<Client[]> {
  const clients = Array.from({ length: PUBLISHERS }, (_, index) => {
    const url = `mqtt://127.0.0.1:${broker.port()}`;
    return new Client({ url, clientId: `bench-${index}`, inflightMax: WINDOW, keepAliveS: 600 });
  });
  await Promise.all(clients.map((client) => client.connect()));
  return clients;
}

/** Each keeps its window full until `next` has nothing more; how many were acknowledged, in how many ms. */
async function publishAll(
  clients: readonly Client[],
  next: () => string | null,
): Promise<{ acked: number; ms: number }> {
  const startMs = performance.now();
  let acked = 0;
  const work = async (client: Client): Promise<void> => {
    for (let topic = next(); topic !== null; topic = next()) {
      const payload = `${acked}`.padEnd(PAYLOAD_BYTES, 'x');
      await client.publish(topic, payload, { qos: 1, retain: true });
      acked++;
    }
  };
  const workers = clients.flatMap((client) => Array.from({ length: WINDOW }, () => work(client)));
  await Promise.all(workers);
  return { acked, ms: performance.now() - startMs };
}

async function measureWrites(): Promise<void> {
  await init('bench_write');
  const broker = await startNode('bench_write');
  const bare = memoryOf(broker);
  const clients = await publishers(broker);
  const writes = (): Promise<number> => broker.metric('causeway_cassandra_retained_writes_total');
  let index = 0;
  const cpuS = broker.cpuSeconds();
  const { acked, ms } = await publishAll(clients, () =>
    index < toWrite ? topicOf(index++) : null,
  );
  const cpuUs = ((broker.cpuSeconds() - cpuS) * 1e6) / acked;
  tell('distinct topics, acknowledged', `${count((acked * 1000) / ms)} a second (${count(acked)})`);
  tell('CPU of the node for each', `${count(cpuUs)} µs`);

  const before = await writes();
  const endMs = performance.now() + BUSY_MS;
  let turn = 0;
  const busy = await publishAll(clients, () => {
    return performance.now() < endMs ? topicOf(turn++ % BUSY_TOPICS) : null;
  });
  const written = (await writes()) - before;
  tell(
    `${BUSY_TOPICS} topics that change all the time, acknowledged`,
    `${count((busy.acked * 1000) / busy.ms)} a second`,
  );
  tell('  changes to one write to Cassandra', (busy.acked / written).toFixed(1));
  await Promise.all(clients.map((client) => client.disconnect()));
  await sleep(REST_MS);
  // Of few topics it would be the clients'.
  if (toWrite >= TOPICS_MIN) tellMemory('written by clients, at rest', broker, bare, toWrite);
  await broker.stop();
}

// ---------------------------------------------------------------------------------- reading

async function fill(link: CassandraLink, topics: number): Promise<void> {
  const cql = 'INSERT INTO retained (topic, record) VALUES (?, ?) USING TTL ?';
  const statement = { cql, together: `${cql} AND TIMESTAMP ?` };
  const nowUs = (Date.now() - 3_600_000) * 1000;
  const payload = Buffer.alloc(PAYLOAD_BYTES, 'x');
  let index = 0;
  const work = async (): Promise<void> => {
    for (let mine = index++; mine < topics; mine = index++) {
      const topic = topicOf(mine);
      const version = { timeUs: nowUs + mine, writer: 1 };
      const message = makeMessage(0, topic, payload, { qos: 1, retain: true });
      message.source = { clientId: `device-${mine}`, identity: null, tenant: '' };
      await written(link, statement, [topic, encodeRecord(message, version), 0], version.timeUs);
    }
  };
  await Promise.all(Array.from({ length: FILLING_AT_ONCE }, work));
}

async function written(
  link: CassandraLink,
  statement: { readonly cql: string },
  values: readonly (string | Buffer | number)[],
  timeUs: number,
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const failure = await new Promise<Error | null>((resolve) =>
      link.write(statement, values, BigInt(timeUs), resolve),
    );
    if (failure === null) return;
    if (attempt === 10) throw failure;
  }
}

/** Messages, and bytes, that a subscriber of `#` gets before it is quiet. */
async function replay(broker: Broker, expected: number): Promise<{ ms: number; bytes: number }> {
  const connectPacket = Buffer.from([
    ...[0x10, 0x10, 0x00, 0x04, 0x4d, 0x51, 0x54, 0x54, 0x04, 0x02, 0x02, 0x58],
    ...[0x00, 0x04, 0x62, 0x65, 0x6e, 0x63],
  ]);
  const socket = connect(broker.port(), '127.0.0.1');
  return await new Promise((resolve, reject) => {
    let messages = 0;
    let bytes = 0;
    let startMs = 0;
    const splitter = new PacketSplitter(2 ** 28, (buffer, start) => {
      const type = buffer[start]! >> 4;
      if (type === 2) {
        startMs = performance.now();
        socket.write(SUBSCRIBE_ALL);
      }
      if (type === PUBLISH && ++messages === expected) {
        socket.destroy();
        resolve({ ms: performance.now() - startMs, bytes });
      }
    });
    socket.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      splitter.push(chunk);
    });
    socket.on('error', reject);
    socket.on('close', () => reject(new Error(`closed after ${messages} messages`)));
    socket.write(connectPacket);
  });
}

async function measureReads(): Promise<void> {
  const keyspace = `bench_read_${toRead}`;
  await init(keyspace);
  const link = openCassandra({
    contactPoints: [point],
    localDatacenter: datacenter,
    keyspace,
    username: null,
    password: null,
    tls: null,
    inFlightMax: FILLING_AT_ONCE,
    onProblem: console.log,
  });
  await link.ready(10_000);
  const fillMs = performance.now();
  await fill(link, toRead);
  link.close();
  const rate = (toRead * 1000) / (performance.now() - fillMs);
  tell('filled, without a node', `${count(rate)} rows a second (${count(toRead)})`);

  await init('bench_empty');
  const bare = await startNode('bench_empty');
  const bareMemory = memoryOf(bare);
  await bare.stop();

  const name = `node-${nodes++}`;
  let startMs = performance.now();
  let broker = await startNode(keyspace, name);
  const readyMs = performance.now() - startMs;
  tell(
    'a new node is ready',
    `after ${(readyMs / 1000).toFixed(1)} s (${count((toRead * 1000) / readyMs)} topics a second)`,
  );
  tellMemory('new node, ready', broker, bareMemory, toRead);
  // Until then it would begin with a round again.
  await broker.metricReaches('causeway_cassandra_rounds_total', 1, READY_MS_MAX);
  await sleep(REST_MS);
  tellMemory('new node, at rest', broker, bareMemory, toRead);
  await broker.stop();

  startMs = performance.now();
  broker = await startNode(keyspace, name);
  tell('restarted over its mirror', `after ${((performance.now() - startMs) / 1000).toFixed(1)} s`);
  tellMemory('restarted', broker, bareMemory, toRead);
  for (let round = 1; round <= 3; round++) {
    const cpuS = broker.cpuSeconds();
    const { ms } = await replay(broker, toRead);
    const cpuUs = ((broker.cpuSeconds() - cpuS) * 1e6) / toRead;
    const rate = `${count((toRead * 1000) / ms)} messages a second`;
    tell(`#, round ${round}`, `${rate}, CPU of the node ${cpuUs.toFixed(2)} µs each`);
  }
  await sleep(REST_MS);
  tellMemory('after these', broker, bareMemory, toRead);
  tell('characters of a topic', `${topicOf(toRead - 1).length}`);
  await broker.stop();
}

try {
  await measureWrites();
  await measureReads();
  console.log(`\n| ${cpus().length} CPUs, ${PAYLOAD_BYTES} bytes of payload | |\n| --- | ---: |`);
  for (const [what, figure] of rows) console.log(`| ${what} | ${figure} |`);
} finally {
  await cassandra?.remove();
  rmSync(folder, { recursive: true, force: true });
}
