/**
 * What the tests of access over real sockets share: a folder with a configuration and the files it
 * names, a node that runs from it (in this process, or as a process of its own), clients that log in
 * with any bytes, and calls of the operator's API. Knows nothing of how anything is decided.
 */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import tls, { type ConnectionOptions } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import type { Test } from 'tap';
import { stringify } from 'yaml';
import { hashPassword, type NewHashAlgorithm } from '../../src/access/authn/hash-password.ts';
import { BrokerNode } from '../../src/app/node.ts';
import { loadConfig } from '../../src/config/load.ts';
import { Client } from '../conformance/client.ts';
import { type ConnectFields, connect, type ProtocolVersion } from '../conformance/packets.ts';
import { Broker, type LogEntry } from './broker.ts';

/** Admin token of every node started here. */
export const ADMIN_TOKEN = 'an-admin-token-of-the-tests-0123456789';
const REFUSED = 'reload refused, everything stays as it was';
const WITHIN_MS = 15_000;
/** Compiled sources, so that the next node starts in half the time. */
const compileCache = fileURLToPath(new URL('../../node_modules/.cache/compile', import.meta.url));

/** What takes apart again, at the end of a test or of a program. */
export type Ending = Pick<Test, 'teardown'>;

/** A folder of its own for one configuration; gone when the test ends. */
export class Site {
  readonly folder: string = mkdtempSync(join(tmpdir(), 'causeway-access-'));

  constructor(t: Ending) {
    t.teardown(() => rmSync(this.folder, { recursive: true, force: true }));
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  write(name: string, content: string | Buffer, mode: number = 0o600): string {
    const path = this.path(name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    chmodSync(path, mode);
    return path;
  }

  /** Writes `causeway.yaml`; failed logins block nobody unless it says otherwise. */
  configure(config: object): string {
    const whole = {
      listeners: ['mqtt://127.0.0.1:0'],
      bans: { login: { failuresMax: 0 } },
      sysIntervalS: 0,
      ...config,
    };
    return this.write('causeway.yaml', stringify(whole));
  }

  get config(): string {
    return this.path('causeway.yaml');
  }

  /** Writes a rule file. */
  rules(rules: readonly object[], name = 'acl.yaml'): string {
    return this.write(name, stringify({ rules }));
  }
}

/** Lines of a password file; a cheap cost, as the tests hash a lot. */
export async function passwordLines(
  users: Readonly<Record<string, string>>,
  algorithm: NewHashAlgorithm = 'scrypt',
  cost = 10,
): Promise<string> {
  const lines: string[] = [];
  for (const [user, password] of Object.entries(users)) {
    lines.push(`${user}:${await hashPassword(Buffer.from(password), algorithm, cost)}\n`);
  }
  return lines.join('');
}

export interface Answer {
  readonly status: number;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: a test says what it expects
  readonly json: any;
}

/** A running node as its clients and its operator see it. */
export abstract class RunningNode {
  abstract readonly entries: readonly LogEntry[];

  /** Asks for a reload, as SIGHUP does; whether it was taken over. */
  abstract reload(): Promise<boolean>;

  abstract stop(): Promise<unknown>;

  /** Port of a listener, by its name; of the only one when none is given. */
  port(name?: string): number {
    const address = this.address(name);
    return Number(new URL(address).port);
  }

  address(name?: string): string {
    const found = this.entries.find(
      ({ msg, listener, address }) =>
        msg === 'listening' &&
        listener !== 'admin' &&
        // Other nodes dial an address without a scheme.
        address?.includes('://') === true &&
        (name === undefined || listener === name),
    );
    if (found?.address === undefined) throw new Error(`no listener ${name}`);
    return found.address;
  }

  get admin(): string {
    const found = this.entries.find(
      ({ msg, listener }) => msg === 'listening' && listener === 'admin',
    );
    if (found?.address === undefined) throw new Error('no admin address');
    return found.address;
  }

  async api(
    method: string,
    path: string,
    { body, token = ADMIN_TOKEN }: { readonly body?: unknown; readonly token?: string } = {},
  ): Promise<Answer> {
    const response = await fetch(new URL(`/api/v1${path}`, this.admin), {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        connection: 'close',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson = /json/.test(response.headers.get('content-type') ?? '');
    return { status: response.status, text, json: isJson && text !== '' ? JSON.parse(text) : null };
  }

  /** The text of /metrics. */
  async metricsText(): Promise<string> {
    const headers = { connection: 'close' };
    return (await fetch(new URL('/metrics', this.admin), { headers })).text();
  }

  /** One sample, named with its labels as written; 0 when there is none. */
  async metric(name: string): Promise<number> {
    const line = (await this.metricsText()).split('\n').find((one) => one.startsWith(`${name} `));
    return Number(line?.slice(name.length + 1) ?? 0);
  }

  /** Entries with this message, those before `from` left out. */
  said(msg: string, from = 0): LogEntry[] {
    return this.entries.slice(from).filter((entry) => entry.msg === msg);
  }
}

/** In this process: quick to start, for what needs no kill. */
export class NearNode extends RunningNode {
  readonly entries: LogEntry[] = [];
  /** All that was logged, as written. */
  text = '';
  #node: BrokerNode | null = null;

  /** Rejects when the node does not start. With `data`, sessions are kept in that folder. */
  static async start(
    t: Ending,
    site: Site,
    options: { readonly data?: string } = {},
  ): Promise<NearNode> {
    const near = new NearNode();
    await near.open(t, site, options);
    return near;
  }

  async open(t: Ending, site: Site, { data }: { readonly data?: string } = {}): Promise<void> {
    process.env.CAUSEWAY_ADMIN_TOKEN = ADMIN_TOKEN;
    // Without a folder of its own a node keeps its tokens in the site's, never in the checkout's.
    const kept =
      data === undefined
        ? { store: 'memory', 'admin.tokensFile': site.path('api-tokens.json') }
        : { data: site.path(data) };
    const words = { ...kept, 'admin.url': 'http://127.0.0.1:0' };
    const load = () =>
      loadConfig({
        file: site.config,
        environment: {},
        flags: Object.entries(words).map(([path, value]) => ({ flag: `--${path}`, path, value })),
      });
    const loaded = load();
    const log = pino(
      { level: loaded.config.log.level, base: null, formatters: { level: (level) => ({ level }) } },
      { write: (line: string) => this.#hear(line) },
    );
    this.#node = await BrokerNode.start({
      loaded,
      load,
      version: 'test',
      log: {
        log,
        setLevel: (level) => {
          log.level = level;
        },
        flush: async () => {},
        flushNow: () => {},
      },
    });
    t.teardown(() => this.stop());
  }

  #hear(line: string): void {
    this.text += line;
    this.entries.push(JSON.parse(line) as LogEntry);
  }

  async reload(): Promise<boolean> {
    const { problems } = await this.#node!.reload();
    return problems.length === 0;
  }

  async stop(): Promise<void> {
    await this.#node?.stop();
  }
}

/** A process of its own: signals, kills, memory. */
export class FarNode extends RunningNode {
  readonly broker: Broker;

  private constructor(broker: Broker) {
    super();
    this.broker = broker;
  }

  /** With `data`, sessions are kept in that folder of the site. */
  static async start(
    t: Ending,
    site: Site,
    options: {
      readonly data?: string;
      readonly flags?: readonly string[];
      readonly wrap?: readonly string[];
    } = {},
  ): Promise<FarNode> {
    const { data, flags = [], wrap = [] } = options;
    const broker = await Broker.start({
      config: site.config,
      hasAdmin: true,
      env: { CAUSEWAY_ADMIN_TOKEN: ADMIN_TOKEN, NODE_COMPILE_CACHE: compileCache },
      flags,
      wrap,
      ...(data === undefined ? {} : { data: site.path(data) }),
    });
    t.teardown(() => broker.kill());
    return new FarNode(broker);
  }

  get entries(): readonly LogEntry[] {
    return this.broker.entries;
  }

  async reload(): Promise<boolean> {
    const before = new Set(this.entries);
    let last: LogEntry | undefined;
    this.broker.signal('SIGHUP');
    await until(() => {
      last = this.entries.find(
        (entry) => !before.has(entry) && (entry.msg === 'reloaded' || entry.msg === REFUSED),
      );
      return last !== undefined;
    }, 'a reload ends');
    return last!.msg === 'reloaded';
  }

  stop(): Promise<unknown> {
    return this.broker.stop();
  }
}

export interface LoginFields extends Partial<ConnectFields> {
  /** Name of the listener. */
  readonly at?: string;
  readonly tls?: ConnectionOptions;
  /** Address of this machine to come from. */
  readonly from?: string;
  /** Sent right after CONNECT, in the same segment. */
  readonly following?: readonly Buffer[];
}

/** A connection to a listener, handshake done; rejects when there is none. */
export async function dial(
  node: RunningNode,
  { at, tls: secure, from }: Pick<LoginFields, 'at' | 'tls' | 'from'> = {},
): Promise<net.Socket> {
  const where = {
    host: '127.0.0.1',
    port: node.port(at),
    ...(from === undefined ? {} : { localAddress: from }),
  };
  const socket = secure === undefined ? net.connect(where) : tls.connect({ ...where, ...secure });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.once(secure === undefined ? 'connect' : 'secureConnect', resolve);
  socket.once('error', reject);
  await promise;
  socket.off('error', reject);
  return socket;
}

let made = 0;

/** Sends CONNECT; the client may be let in or not. */
export async function sendLogin(node: RunningNode, fields: LoginFields = {}): Promise<Client> {
  const { at: _at, tls: _tls, from: _from, following = [], ...given } = fields;
  const version: ProtocolVersion = fields.version ?? 5;
  made += 1;
  const { clientId = `client-${made}` } = given;
  const client = new Client(await dial(node, fields), version, String(clientId));
  client.send(connect({ ...given, version, clientId }), ...following);
  return client;
}

/** A client that is let in, or the test fails. */
export async function login(node: RunningNode, fields: LoginFields = {}): Promise<Client> {
  const client = await sendLogin(node, fields);
  client.connack = await client.expect('CONNACK', { reasonCode: 0 }, WITHIN_MS);
  return client;
}

/** What CONNACK says; the connection is ended. null: closed without one. */
export async function codeOf(node: RunningNode, fields: LoginFields = {}): Promise<number | null> {
  const client = await sendLogin(node, fields);
  const answer = await client.next(WITHIN_MS);
  client.destroy();
  return answer?.type === 'CONNACK' ? answer.reasonCode : null;
}

/** Waits until it holds; throws when it does not in time. */
export async function until(
  holds: () => boolean | Promise<boolean>,
  what: string,
  withinMs: number = WITHIN_MS,
): Promise<void> {
  const endMs = performance.now() + withinMs;
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`not within ${withinMs} ms: ${what}`);
    await sleep(20);
  }
}

/** Everything that comes until a ping is answered: payloads by topic, in order. */
export async function heard(client: Client): Promise<string[]> {
  client.send(Buffer.from([0xc0, 0]));
  const found: string[] = [];
  for (;;) {
    const got = await client.next();
    if (got === null) throw new Error('the connection ended');
    if (got.type === 'PINGRESP') return found;
    if (got.type !== 'PUBLISH') continue;
    found.push(`${got.topic} ${got.payload.toString()}`);
    await client.acknowledge(got);
  }
}

/** A session that stays for ten minutes. */
export const persistent: Pick<LoginFields, 'clean' | 'properties'> = {
  clean: false,
  properties: [['sessionExpiryInterval', 600]],
};
