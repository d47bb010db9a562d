/**
 * One broker process for tests from outside: starts `causeway start` (from source, or any other
 * command line), reads its log, kills or stops it, and looks at its memory and metrics.
 * Used by e2e, chaos, foreign and hostile tests; knows the command line and nothing of src/.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export interface LogEntry {
  readonly level: string;
  readonly msg: string;
  readonly address?: string;
  readonly [field: string]: unknown;
}

export interface BrokerOptions {
  /** Data folder; without one the broker is ephemeral. */
  readonly data?: string;
  /** URLs to listen on; one TCP listener on a free port when absent. */
  readonly listen?: readonly string[];
  /** Configuration file; its listeners stand, unless `listen` is given. */
  readonly config?: string;
  /** Metrics and health on a free port. */
  readonly hasAdmin?: boolean;
  /** Instead of a free one. */
  readonly adminPort?: number;
  readonly flags?: readonly string[];
  /** Program and first arguments instead of `node src/cli/main.ts`. */
  readonly program?: readonly string[];
  /** Put before the command line, for limits and the like: `sh -c 'ulimit …; exec "$@"' sh`. */
  readonly wrap?: readonly string[];
  readonly cwd?: string;
  /** To be ready, on a machine that may be busy. */
  readonly startMsMax?: number;
  readonly env?: NodeJS.ProcessEnv;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

const START_MS = 60_000;
const STOP_MS = 15_000;
const ENTRIES_MAX = 2000;
const main = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
/** A test that ends early takes its brokers along. */
const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/** Without options of whoever runs the tests. */
export function brokerEnvironment(): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith('CAUSEWAY_'));
  return Object.fromEntries(own);
}

export class Broker {
  readonly pid: number;
  /** Log entries, newest last; a flood of them is cut at the old end. */
  readonly entries: LogEntry[] = [];
  /** By scheme, without the colon. */
  readonly addresses: Map<string, URL> = new Map();
  /** Resolves when every listener is up, rejects when the process ended before. */
  readonly ready: Promise<void>;
  readonly exited: Promise<Exit>;
  exit: Exit | null = null;
  /** Text on stderr, and lines on stdout that are no log entries. */
  noise = '';
  readonly #child: ChildProcess;
  #waiting: (() => void)[] = [];

  constructor(options: BrokerOptions = {}) {
    const { listen = options.config === undefined ? ['mqtt://127.0.0.1:0'] : [] } = options;
    const words = [
      // tap puts NODE_OPTIONS into the environment of whatever is started, given or not.
      ...['/usr/bin/env', '-u', 'NODE_OPTIONS'],
      ...(options.wrap ?? []),
      ...(options.program ?? [process.execPath, main]),
      'start',
      ...(options.config === undefined ? [] : ['--config', options.config]),
      ...listen.flatMap((url) => ['--listen', url]),
      ...(options.data === undefined ? ['--ephemeral'] : ['--data', options.data]),
      ...[
        '--admin',
        options.hasAdmin === true ? `http://127.0.0.1:${options.adminPort ?? 0}` : 'off',
      ],
      ...(options.flags ?? []),
    ];
    const child = spawn(words[0]!, words.slice(1), {
      env: { ...brokerEnvironment(), ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    running.add(child);
    this.#child = child;
    this.pid = child.pid ?? 0;
    child.stderr.on('data', (chunk: Buffer) => {
      this.noise = (this.noise + chunk.toString()).slice(-4000);
    });
    createInterface({ input: child.stdout }).on('line', (line) => this.#line(line));
    this.exited = new Promise((resolve) => {
      const ended = (exit: Exit): void => {
        running.delete(child);
        this.exit ??= exit;
        resolve(this.exit);
        this.#wake();
      };
      child.once('error', (error) => {
        this.noise += error.message;
        ended({ code: null, signal: null });
      });
      child.once('exit', (code, signal) => ended({ code, signal }));
    });
    this.ready = this.entry('ready', () => true, options.startMsMax ?? START_MS).then(async () => {
      if (options.hasAdmin === true) await this.entry('listening', (one) => isHttp(one.address));
    });
    // Who kills it while it starts does not wait for it.
    this.ready.catch(() => {});
  }

  /** Starts one and waits until it listens. */
  static async start(options: BrokerOptions = {}): Promise<Broker> {
    const broker = new Broker(options);
    try {
      await broker.ready;
    } catch (error) {
      await broker.kill();
      throw error;
    }
    return broker;
  }

  #line(line: string): void {
    let entry: LogEntry;
    try {
      entry = JSON.parse(line) as LogEntry;
    } catch {
      this.noise = `${this.noise}${line}\n`.slice(-4000);
      return;
    }
    if (this.entries.length >= ENTRIES_MAX) this.entries.shift();
    this.entries.push(entry);
    if (entry.msg === 'listening' && entry.address !== undefined && entry.address.includes('//')) {
      const url = new URL(entry.address);
      this.addresses.set(url.protocol.slice(0, -1), url);
    }
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** The first entry with this message that passes; waits for it. */
  async entry(
    msg: string,
    is: (entry: LogEntry) => boolean = () => true,
    withinMs: number = START_MS,
  ): Promise<LogEntry> {
    const deadline = performance.now() + withinMs;
    for (;;) {
      const found = this.entries.find((entry) => entry.msg === msg && is(entry));
      if (found !== undefined) return found;
      const leftMs = deadline - performance.now();
      if (this.exit !== null || leftMs <= 0) {
        const why = this.exit === null ? 'did not say' : 'ended before it said';
        throw new Error(`the broker ${why} "${msg}"\n${this.said()}`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#waiting.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  /** Its last words, for messages of tests. */
  said(): string {
    const lines = this.entries.slice(-15).map((entry) => JSON.stringify(entry));
    return [...lines, this.noise].join('\n');
  }

  /** Entries of level error or worse. */
  get errors(): LogEntry[] {
    return this.entries.filter(({ level }) => level === 'error' || level === 'fatal');
  }

  port(scheme: string = 'mqtt'): number {
    const url = this.addresses.get(scheme);
    if (url === undefined) throw new Error(`no ${scheme} listener\n${this.said()}`);
    return Number(url.port);
  }

  signal(name: NodeJS.Signals): void {
    if (this.exit === null) this.#child.kill(name);
  }

  async kill(): Promise<Exit> {
    this.signal('SIGKILL');
    return this.exited;
  }

  /** SIGTERM, and SIGKILL when that is not enough; the exit shows which. */
  async stop(): Promise<Exit> {
    this.signal('SIGTERM');
    const timer = setTimeout(() => this.signal('SIGKILL'), STOP_MS);
    const exit = await this.exited;
    clearTimeout(timer);
    return exit;
  }

  /** Resident memory now. */
  rssBytes(): number {
    return this.#statusBytes('VmRSS');
  }

  /** Of it, pages of files: the program and what it has mapped. */
  rssFileBytes(): number {
    return this.#statusBytes('RssFile');
  }

  #statusBytes(name: string): number {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    return Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? Number.NaN) * 1024;
  }

  /** User and system time of all its threads. */
  cpuSeconds(): number {
    const fields = readFileSync(`/proc/${this.pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  /** Samples of /metrics by name with labels, as written. */
  async metrics(): Promise<Map<string, number>> {
    const admin = this.addresses.get('http');
    if (admin === undefined) throw new Error('started without hasAdmin');
    const answer = await fetch(new URL('/metrics', admin), { headers: { connection: 'close' } });
    const samples = new Map<string, number>();
    for (const line of (await answer.text()).split('\n')) {
      const space = line.lastIndexOf(' ');
      if (line !== '' && !line.startsWith('#')) {
        samples.set(line.slice(0, space), Number(line.slice(space + 1)));
      }
    }
    return samples;
  }

  /** One sample; 0 when there is none. */
  async metric(name: string): Promise<number> {
    return (await this.metrics()).get(name) ?? 0;
  }

  /** Connections closed for this reason since the start. */
  async closed(reason: string): Promise<number> {
    return this.metric(`causeway_connections_closed_total{reason="${reason}"}`);
  }

  /** Waits until a metric reaches a value; tells the last value if it never does. */
  async metricReaches(name: string, value: number, withinMs: number = 10_000): Promise<number> {
    const deadline = performance.now() + withinMs;
    for (;;) {
      const now = await this.metric(name);
      if (now >= value || performance.now() > deadline) return now;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

function isHttp(address: string | undefined): boolean {
  return address?.startsWith('http') === true;
}
