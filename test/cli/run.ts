/**
 * Runs the command line as a user does: a process of its own, without the variables of this one that
 * would configure it. For the tests of `cli` and `app`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';

const main = join(import.meta.dirname, '..', '..', 'src', 'cli', 'main.ts');

export interface RunOptions {
  readonly env?: NodeJS.ProcessEnv | undefined;
  readonly cwd?: string | undefined;
}

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function launch(args: readonly string[], options: RunOptions): ChildProcess {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('CAUSEWAY_'));
  // tap adds its hooks to NODE_OPTIONS of every process that is spawned; `env` takes them out again.
  const nodeOptions = `NODE_OPTIONS=${options.env?.NODE_OPTIONS ?? ''}`;
  return spawn('/usr/bin/env', [nodeOptions, process.execPath, main, ...args], {
    cwd: options.cwd,
    env: { ...Object.fromEntries(inherited), ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

/** Runs to the end. */
export async function runCli(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const child = launch(args, options);
  const timer = setTimeout(() => child.kill('SIGKILL'), 30_000);
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout!),
    text(child.stderr!),
    once(child, 'exit') as Promise<[number | null]>,
  ]);
  clearTimeout(timer);
  return { code, stdout, stderr };
}

export interface LogEntry {
  readonly level: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

/** Readable lines have the message `text`. */
function readEntry(line: string): LogEntry {
  if (line.startsWith('{')) return JSON.parse(line) as LogEntry;
  return { level: '', msg: 'text', line };
}

/** A running `causeway start`. */
export class Running {
  readonly child: ChildProcess;
  readonly entries: LogEntry[] = [];
  readonly #exit: Promise<number | null>;
  #stderr = '';
  #ended = false;
  #heard: () => void = () => {};

  constructor(args: readonly string[], options: RunOptions = {}) {
    this.child = launch(['start', ...args], options);
    this.child.stderr!.on('data', (chunk: Buffer) => {
      this.#stderr += chunk.toString();
    });
    createInterface({ input: this.child.stdout! }).on('line', (line) => {
      this.entries.push(readEntry(line));
      this.#heard();
    });
    this.#exit = once(this.child, 'close').then(([code]) => {
      this.#ended = true;
      this.#heard();
      return code as number | null;
    });
  }

  /** The next entry with this message, from `from` on, that `fits`. */
  async entry(
    msg: string,
    fits: (entry: LogEntry) => boolean = () => true,
    from = 0,
  ): Promise<LogEntry> {
    const endMs = performance.now() + 20_000;
    for (;;) {
      const found = this.entries.slice(from).find((entry) => entry.msg === msg && fits(entry));
      if (found !== undefined) return found;
      const leftMs = endMs - performance.now();
      if (this.#ended || leftMs <= 0) {
        const said = this.entries.map((entry) => JSON.stringify(entry)).join('\n');
        throw new Error(`no entry "${msg}"; it said:\n${said}\n${this.#stderr}`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#heard = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Port of the first listener with this scheme. */
  async port(scheme: string): Promise<number> {
    const isOf = (entry: LogEntry): boolean => String(entry.address).startsWith(`${scheme}:`);
    const { address } = await this.entry('listening', isOf);
    return Number(new URL(String(address)).port);
  }

  /** Sends the signal and gives the exit code. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    if (!this.#ended) this.child.kill(signal);
    return this.exit();
  }

  async exit(): Promise<number | null> {
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 20_000);
    const code = await this.#exit;
    clearTimeout(timer);
    return code;
  }

  get stderr(): string {
    return this.#stderr;
  }
}
