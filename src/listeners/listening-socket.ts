/**
 * One bound address: listens, says in plain words why it cannot, notices when descriptors run out,
 * and lets go again. Both kinds of listener (on streams and on raw handles) own one. Control plane.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { chmod } from 'node:fs/promises';
import type { AddressInfo, Server } from 'node:net';
import type { Log } from '../core/ports.ts';
import type { ListenerCounters } from './listener.ts';
import { ListenerError } from './listener-error.ts';
import type { ListenerPlan } from './listener-plan.ts';
import { LogThrottle } from './log-throttle.ts';
import { listenOnUnixPath, removeUnixFile, type UnixFile } from './unix-path.ts';

/** Descriptors a process needs beside its connections: store files, logs, its own sockets. */
const DESCRIPTORS_RESERVED = 64;

export class ListeningSocket {
  readonly #plan: ListenerPlan;
  readonly #server: Server;
  readonly #counters: ListenerCounters;
  readonly #log: Log;
  readonly #throttle: LogThrottle = new LogThrottle();
  /** Connections from which on the kernel may refuse us descriptors. */
  readonly #connectionsAlarm: number;
  #file: UnixFile | null = null;
  #address: string;

  constructor(plan: ListenerPlan, server: Server, counters: ListenerCounters, log: Log) {
    this.#plan = plan;
    this.#server = server;
    this.#counters = counters;
    this.#log = log;
    this.#address = addressOf(plan, plan.port);
    this.#connectionsAlarm = Math.max(1, descriptorsMax() - DESCRIPTORS_RESERVED);
  }

  /** The URL, with the port the kernel gave once it listens. */
  get address(): string {
    return this.#address;
  }

  async open(): Promise<void> {
    const { unixPath, unixMode, host, port, backlog, name } = this.#plan;
    try {
      if (unixPath !== '') {
        this.#file = await listenOnUnixPath(this.#server, unixPath, unixMode, backlog);
      } else {
        this.#server.listen({ host, port, backlog });
        await once(this.#server, 'listening');
        this.#address = addressOf(this.#plan, (this.#server.address() as AddressInfo).port);
      }
    } catch (error) {
      throw new ListenerError('LISTENER_ADDRESS', name, explain(error, this.#plan), error);
    }
    // From here on an error is about one connection; the listener goes on.
    this.#server.on('error', (error: NodeJS.ErrnoException) => {
      this.acceptFailed(error.code ?? error.message);
    });
  }

  /** A connection could not be accepted; told once per second. */
  acceptFailed(code: string | number): void {
    this.#counters.acceptErrors += 1;
    this.#throttle.log((suppressed) => {
      this.#log.error(
        { listener: this.#plan.name, code, suppressed },
        'a connection could not be accepted; raise the limit of open files (ulimit -n) if it is EMFILE',
      );
    });
  }

  /**
   * Call per connection. With no descriptor left libuv closes what comes in and tells nobody (a
   * spare descriptor serves to do it), so this is said before it happens.
   */
  watchDescriptors(connections: number): void {
    if (connections < this.#connectionsAlarm) return;
    this.#throttle.log((suppressed) => {
      this.#log.error(
        { listener: this.#plan.name, connections, suppressed },
        'file descriptors run out: new connections will be closed unseen; raise ulimit -n',
      );
    });
  }

  async setUnixMode(mode: number): Promise<void> {
    if (this.#file !== null) await chmod(this.#file.path, mode);
  }

  /** Nothing is accepted any more when it resolves; connections live on. */
  async close(): Promise<void> {
    // Node's own callback would wait until the last connection has ended.
    if (this.#server.listening) this.#server.close();
    if (this.#file !== null) {
      await removeUnixFile(this.#file);
      this.#file = null;
    }
  }
}

function addressOf(plan: ListenerPlan, port: number): string {
  if (plan.unixPath !== '') return `unix:${plan.unixPath}`;
  const host = plan.host.includes(':') ? `[${plan.host}]` : plan.host;
  return `${plan.scheme}://${host}:${port}${plan.websocketPath}`;
}

/** The soft limit of open files (Node has raised it to the hard one); infinite where unknown. */
function descriptorsMax(): number {
  try {
    const limits = readFileSync('/proc/self/limits', 'latin1');
    const found = /^Max open files\s+(\d+)/m.exec(limits);
    return found === null ? Number.POSITIVE_INFINITY : Number(found[1]);
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

function explain(error: unknown, plan: ListenerPlan): string {
  const { code, message } = error as NodeJS.ErrnoException;
  const isUnix = plan.unixPath !== '';
  switch (code) {
    case 'EADDRINUSE':
      return isUnix
        ? `${message}; stop that process or choose another path (EADDRINUSE)`
        : `port ${plan.port} is taken; stop the process that listens there ` +
            `(ss -ltnp 'sport = :${plan.port}' shows it) or choose another port (EADDRINUSE)`;
    case 'EACCES':
    case 'EPERM':
      return isUnix
        ? `may not make ${plan.unixPath}; give this user write access to its folder (${code})`
        : `may not listen on port ${plan.port}; choose a port above 1023, or give the program ` +
            `the right to: setcap cap_net_bind_service=+ep FILE (${code})`;
    case 'EADDRNOTAVAIL':
      return `${plan.host} is no address of this machine; 0.0.0.0 or [::] stand for all (${code})`;
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `host ${plan.host} cannot be resolved; check the name or give an address (${code})`;
    case 'ENOENT':
      return `the folder of ${plan.unixPath} is not there; make it first (${code})`;
    default:
      return code === undefined || message.includes(code) ? message : `${message} (${code})`;
  }
}
