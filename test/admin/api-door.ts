// An API over HTTP for tests: a token of each role, requests with raw paths, and every answer checked
// against the document.
import { mkdtempSync, rmSync } from 'node:fs';
import { type IncomingMessage, type RequestOptions, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import {
  type AdminOptions,
  type AdminServer,
  createAdminServer,
} from '../../src/admin/admin-server.ts';
import type { ApiOptions } from '../../src/admin/api/api.ts';
import { type Role, roles } from '../../src/admin/api/role.ts';
import { TokenStore } from '../../src/admin/api/token-store.ts';
import { makeLimits } from '../../src/core/limits.ts';
import { systemClock, systemScheduler } from '../../src/listeners/scheduler.ts';
import { World, type WorldOptions } from '../core/world.ts';
import { Contract, type OpenApi } from './api-contract.ts';
import { FakeAcl, FakeBans, FakeConfig, FakeQuotas } from './fake-rooms.ts';
import { FakeSources } from './fake-sources.ts';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
  // biome-ignore lint/suspicious/noExplicitAny: the contract has checked it
  readonly json: () => any;
}

export interface Ask {
  readonly as?: Role | null;
  /** Instead of the role's. */
  readonly token?: string;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
}

export interface DoorOptions {
  readonly world?: WorldOptions;
  readonly api?: Partial<ApiOptions>;
  readonly admin?: Partial<AdminOptions>;
  /** Default: one of each role. */
  readonly tokens?: readonly Role[];
  /** With TLS: the test asks by itself. */
  readonly secure?: boolean;
}

export class ApiDoor {
  readonly world: World;
  readonly sources: FakeSources;
  readonly bans: FakeBans = new FakeBans();
  readonly acl: FakeAcl = new FakeAcl();
  readonly quotas: FakeQuotas = new FakeQuotas();
  readonly config: FakeConfig = new FakeConfig();
  readonly logged: { readonly fields: object; readonly message: string }[] = [];
  readonly tokens: Map<Role, string> = new Map();
  readonly folder: string = mkdtempSync(join(tmpdir(), 'causeway-api-'));
  server!: AdminServer;
  contract!: Contract;

  private constructor(world: World) {
    this.world = world;
    this.sources = Object.assign(new FakeSources(), { stats: world.stats });
  }

  get tokensFile(): string {
    return join(this.folder, 'data', 'api-tokens.json');
  }

  static async open(t: Test, options: DoorOptions = {}): Promise<ApiDoor> {
    const door = new ApiDoor(await World.start(options.world));
    t.teardown(() => rmSync(door.folder, { recursive: true, force: true }));
    const store = new TokenStore({ file: door.tokensFile, wallMs: () => Date.now() });
    for (const role of options.tokens ?? roles) {
      const { token } = await store.create({ name: `the-${role}`, role, expiresInS: null });
      door.tokens.set(role, token);
    }
    await door.#start(options);
    t.teardown(() => door.server.stop());
    return door;
  }

  async #start({ api, admin, secure = false }: DoorOptions): Promise<void> {
    const { world, sources } = this;
    const log = (fields: object, message: string): void => {
      this.logged.push({ fields, message });
    };
    this.server = createAdminServer({
      host: '127.0.0.1',
      port: 0,
      version: sources.version,
      stats: world.stats,
      store: sources.store,
      listeners: sources.listeners,
      log: { debug: log, info: log, warn: log, error: log },
      readiness: () => ({
        isDraining: false,
        isStoreOpen: true,
        isStoreWritable: true,
        listenersUp: 1,
        listenersConfigured: 1,
      }),
      probe: { target: () => null },
      drain: world.broker,
      ...admin,
      api: {
        core: world.broker.admin,
        observe: (observer) => world.broker.observe(observer),
        limits: () => makeLimits(),
        clock: systemClock,
        scheduler: systemScheduler,
        bans: this.bans,
        acl: this.acl,
        quotas: this.quotas,
        config: this.config,
        tokensFile: this.tokensFile,
        ...api,
      },
    });
    await this.server.start();
    if (secure) return;
    const answer = await this.send('GET', '/api/v1/openapi.json');
    this.contract = new Contract(JSON.parse(answer.body) as OpenApi);
  }

  /** Asks below `/api/v1`; throws when the answer is not in the document. */
  async ask(method: string, path: string, ask: Ask = {}): Promise<Answer> {
    const url = `/api/v1${path}`;
    const answer = await this.send(method, url, ask);
    const type = answer.headers['content-type'] ?? '';
    this.contract.check(method, url, answer.status, type, answer.body);
    return answer;
  }

  get(path: string, as: Role = 'admin'): Promise<Answer> {
    return this.ask('GET', path, { as });
  }

  async send(method: string, path: string, ask: Ask = {}): Promise<Answer> {
    const response = await this.open(method, path, ask);
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString();
    return {
      status: response.statusCode!,
      headers: response.headers,
      body,
      json: () => JSON.parse(body),
    };
  }

  /** The beginning of an answer; the path goes out as it is. */
  open(method: string, path: string, ask: Ask = {}): Promise<IncomingMessage> {
    const { as = null, body, headers = {} } = ask;
    const token = ask.token ?? (as === null ? undefined : this.tokens.get(as));
    const url = new URL(this.server.address!);
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const options: RequestOptions = {
      host: url.hostname.replace(/[[\]]/g, ''),
      port: url.port,
      method,
      path,
      agent: false,
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
    };
    const sent = request(options, resolve);
    sent.on('error', reject);
    sent.end(
      body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body),
    );
    return promise;
  }

  /** All items of a list, page by page. */
  // biome-ignore lint/suspicious/noExplicitAny: the contract has checked them
  async all(path: string, as: Role = 'admin'): Promise<any[]> {
    const items: unknown[] = [];
    let cursor: string | null = null;
    for (let pages = 0; pages < 10_000; pages++) {
      const join = path.includes('?') ? '&' : '?';
      const next = cursor === null ? path : `${path}${join}cursor=${cursor}`;
      const answer = await this.get(next, as);
      if (answer.status !== 200) throw new Error(answer.body);
      const page = answer.json() as { items: unknown[]; cursor: string | null };
      items.push(...page.items);
      cursor = page.cursor;
      if (cursor === null) return items;
    }
    throw new Error('the list does not end');
  }
}
