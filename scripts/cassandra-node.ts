/**
 * One real Cassandra server from the jars that provide-cassandra.ts keeps: its own loopback address, a
 * temporary folder, ended with the process that started it, however that ends. Several make a cluster,
 * in one datacenter or in more. Used by scripts/test.ts and test/support/cassandra-server.ts.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { onPath } from './programs.ts';
import { cassandraKit } from './provide-cassandra.ts';

export interface CassandraNodeOptions {
  /** `dc1` unless told. */
  readonly datacenter?: string;
  /** A node of the cluster to join; without one it is a cluster of its own. */
  readonly seed?: CassandraNode;
  /** Where others of its cluster reach what listens at `ip`, made before it starts; there, unless told. */
  readonly reachedAt?: (ip: string) => Promise<string>;
  /** Over the lines of cassandra.yaml that this file has. */
  readonly settings?: Readonly<Record<string, unknown>>;
  readonly heapMiB?: number;
  /** Of the Java machine, after those that this file has. */
  readonly flags?: readonly string[];
}

export const CQL_PORT = 9042;
/** Other nodes come here. */
export const STORAGE_PORT = 7000;
/** On an idle machine 7 s; four times that where every core has other work. */
const START_MS_MAX = 180_000;
const KNOCK_MS = 50;
const OUTPUT_MAX = 20_000;

/** Java's own modules that Cassandra reaches into by reflection, and those whose names it compiles to. */
const OPENED: readonly string[] = [
  'java.base/java.io',
  'java.base/java.lang',
  'java.base/java.lang.module',
  'java.base/java.lang.ref',
  'java.base/java.lang.reflect',
  'java.base/java.net',
  'java.base/java.nio',
  'java.base/java.util',
  'java.base/java.util.concurrent',
  'java.base/java.util.concurrent.atomic',
  'java.base/jdk.internal.loader',
  'java.base/jdk.internal.math',
  'java.base/jdk.internal.module',
  'java.base/jdk.internal.ref',
  'java.base/jdk.internal.reflect',
  'java.base/jdk.internal.util.jar',
  'java.base/sun.nio.ch',
  'java.rmi/sun.rmi.transport.tcp',
  'jdk.management/com.sun.management.internal',
];
const EXPORTED: readonly string[] = [
  'java.base/java.lang.ref',
  'java.base/jdk.internal.misc',
  'java.base/jdk.internal.perf',
  'java.base/jdk.internal.ref',
  'java.base/jdk.internal.util.jar',
  'java.base/sun.nio.ch',
  'java.management.rmi/com.sun.jmx.remote.internal.rmi',
  'java.rmi/sun.rmi.registry',
  'java.rmi/sun.rmi.server',
  'java.rmi/sun.rmi.transport.tcp',
  'java.sql/java.sql',
  'jdk.naming.dns/com.sun.jndi.dns',
];

const LOGBACK = `<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%-5level %date{HH:mm:ss.SSS} %logger{0} %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="out"/></root>
</configuration>
`;

/** Those whose end this process' own end must not forget. */
const running = new Set<CassandraNode>();
let isWatchingExit = false;

export class CassandraNode {
  readonly ip: string;
  readonly port: number = CQL_PORT;
  readonly datacenter: string;
  readonly folder: string;
  readonly #options: CassandraNodeOptions;
  /** What others know it by. */
  address: string;
  #child: ChildProcess | null = null;
  #output = '';

  constructor(ip: string, folder: string, options: CassandraNodeOptions) {
    this.ip = ip;
    this.address = ip;
    this.folder = folder;
    this.datacenter = options.datacenter ?? 'dc1';
    this.#options = options;
  }

  /** Runs until `remove`, or until this process ends. */
  static async launch(options: CassandraNodeOptions = {}): Promise<CassandraNode> {
    if (!isWatchingExit) {
      isWatchingExit = true;
      process.on('exit', () => {
        for (const node of running) node.#abandon();
      });
    }
    for (let attempt = 1; ; attempt += 1) {
      const folder = mkdtempSync(join(tmpdir(), 'causeway-cassandra-'));
      const node = new CassandraNode(await freeLoopback(), folder, options);
      running.add(node);
      try {
        node.address = (await options.reachedAt?.(node.ip)) ?? node.ip;
        node.#configure();
        await node.resume();
        return node;
      } catch (error) {
        await node.remove();
        // Between finding the address free and taking it somebody else may have.
        if (attempt === 3 || !/in use/i.test(`${error}`)) throw error;
      }
    }
  }

  /** What it last said. */
  get output(): string {
    return this.#output;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Starts it with the address and the data it had. Resolves when it takes requests. */
  async resume(): Promise<void> {
    const { java, jars } = cassandraKit();
    const heap = `${this.#options.heapMiB ?? 400}m`;
    const agent = readdirSync(jars).find((name) => name.startsWith('jamm-')) ?? 'jamm.jar';
    const conf = join(this.folder, 'conf');
    const properties = {
      'jdk.attach.allowAttachSelf': true,
      'logback.configurationFile': join(conf, 'logback.xml'),
      'cassandra.config': `file://${join(conf, 'cassandra.yaml')}`,
      'cassandra.storagedir': this.folder,
      'cassandra-foreground': 'yes',
      // What a node of a large cluster waits for does not come here.
      'cassandra.ring_delay_ms': 2000,
      'cassandra.skip_wait_for_gossip_to_settle': 0,
      'cassandra.superuser_setup_delay_ms': 0,
    };
    const command = [
      java,
      `-Xms${heap}`,
      `-Xmx${heap}`,
      '-Xss512k',
      '-XX:+UseSerialGC',
      // It lives for a minute: compiling well would not pay (10 s of CPU to start, not 15).
      '-XX:TieredStopAtLevel=1',
      ...(this.#options.flags ?? []),
      ...OPENED.map((name) => `--add-opens=${name}=ALL-UNNAMED`),
      ...EXPORTED.map((name) => `--add-exports=${name}=ALL-UNNAMED`),
      `-javaagent:${join(jars, agent)}`,
      ...Object.entries(properties).map(([name, value]) => `-D${name}=${value}`),
      '-cp',
      `${conf}:${join(jars, '*')}`,
      'org.apache.cassandra.service.CassandraDaemon',
    ];
    // Linux ends it with whoever started it, also where that one is killed.
    const setpriv = onPath('setpriv');
    if (setpriv !== undefined) command.unshift(setpriv, '--pdeathsig', 'KILL');
    const child = spawn(command[0] as string, command.slice(1), {
      cwd: this.folder,
      env: { PATH: process.env.PATH, LANG: 'C.UTF-8' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    this.#output = '';
    let isListening = false;
    await new Promise<void>((resolve, reject) => {
      const fail = (why: string): void => {
        clearTimeout(timer);
        reject(new Error(`Cassandra ${why}\n${this.#output}`));
      };
      const timer = setTimeout(() => fail('did not start in time'), START_MS_MAX);
      child.on('error', (error) => fail(error.message));
      child.once('exit', (code, signal) => fail(`ended with ${code ?? signal}`));
      const hear = (chunk: Buffer): void => {
        this.#output = (this.#output + chunk.toString()).slice(-OUTPUT_MAX);
        if (isListening || !this.#output.includes('Starting listening for CQL clients')) return;
        // It says so before it does.
        isListening = true;
        knock();
      };
      const knock = (): void => {
        const socket = connect(CQL_PORT, this.ip);
        socket.once('connect', () => {
          socket.destroy();
          clearTimeout(timer);
          resolve();
        });
        socket.once('error', () => {
          if (child.exitCode === null && child.signalCode === null) setTimeout(knock, KNOCK_MS);
        });
      };
      child.stdout?.on('data', hear);
      child.stderr?.on('data', hear);
    });
  }

  signal(name: NodeJS.Signals): void {
    this.#child?.kill(name);
  }

  /** SIGTERM lets it write down what it has, SIGKILL does not; resolves when it is gone. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    child.kill('SIGCONT');
    child.kill(signal);
    await gone;
  }

  /** Ends it at once, and takes its folder away. */
  async remove(): Promise<void> {
    await this.stop('SIGKILL');
    rmSync(this.folder, { recursive: true, force: true });
    running.delete(this);
  }

  #abandon(): void {
    this.#child?.kill('SIGKILL');
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 3 });
  }

  #configure(): void {
    const conf = join(this.folder, 'conf');
    mkdirSync(conf);
    const inFolder = (name: string): string => join(this.folder, name);
    const seeds = this.#options.seed?.address ?? this.address;
    const settings = {
      cluster_name: 'causeway',
      partitioner: 'org.apache.cassandra.dht.Murmur3Partitioner',
      num_tokens: 4,
      listen_address: this.ip,
      broadcast_address: this.address,
      rpc_address: this.ip,
      // Not what it is reached at by its own: a proxy may be there.
      broadcast_rpc_address: this.ip,
      native_transport_port: CQL_PORT,
      storage_port: STORAGE_PORT,
      endpoint_snitch: 'GossipingPropertyFileSnitch',
      seed_provider: [
        { class_name: 'org.apache.cassandra.locator.SimpleSeedProvider', parameters: [{ seeds }] },
      ],
      data_file_directories: [inFolder('data')],
      commitlog_directory: inFolder('commitlog'),
      saved_caches_directory: inFolder('saved'),
      hints_directory: inFolder('hints'),
      cdc_raw_directory: inFolder('cdc'),
      // What is answered is on disk, so that kill -9 of the only replica takes nothing back.
      commitlog_sync: 'batch',
      commitlog_segment_size: '4MiB',
      commitlog_total_space: '64MiB',
      memtable_heap_space: '64MiB',
      memtable_offheap_space: '64MiB',
      key_cache_size: '8MiB',
      disk_optimization_strategy: 'ssd',
      auto_snapshot: false,
      ...this.#options.settings,
    };
    writeFileSync(join(conf, 'cassandra.yaml'), stringify(settings));
    writeFileSync(join(conf, 'cassandra-rackdc.properties'), `dc=${this.datacenter}\nrack=r1\n`);
    writeFileSync(join(conf, 'logback.xml'), LOGBACK);
  }
}

/** An address of this machine alone where both of Cassandra's ports are free. */
export async function freeLoopback(): Promise<string> {
  for (let attempt = 1; attempt <= 20; attempt += 1) {
    const ip = `127.${randomInt(16, 240)}.${randomInt(1, 255)}.${randomInt(1, 255)}`;
    if ((await isFree(ip, CQL_PORT)) && (await isFree(ip, STORAGE_PORT))) return ip;
  }
  throw new Error('no loopback address like 127.20.1.1 is free; see CASSANDRA_CONTACT_POINTS');
}

function isFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, host, () => server.close(() => resolve(true)));
  });
}
