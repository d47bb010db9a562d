/**
 * Regions for tests from outside: a node from source for each, links between them through a proxy of their
 * own that can be cut, and clients. Knows the configuration and nothing of src/ but how passwords are hashed.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { parse, stringify } from 'yaml';
import { Client, connectClient, openSocket } from '../conformance/client.ts';
import type { ProtocolVersion } from '../conformance/packets.ts';
import type { ReadPacket } from '../conformance/reader.ts';
import {
  type AcceptOptions,
  fetcherOf,
  LINK_PASSWORD,
  type LinkName,
  type LinkOptions,
  sourceOf,
  writeRegion,
} from '../support/region-config.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { ADMIN_TOKEN } from './access-kit.ts';
import { Broker } from './broker.ts';
import { type ConnectOptions, until } from './cluster-kit.ts';

/** Compiled sources, so that the next node starts in half the time. */
const compileCache = fileURLToPath(new URL('../../node_modules/.cache/compile', import.meta.url));

/** What a test may change of a configuration. */
export interface Changeable {
  shutdownGraceMs?: number;
  steering?: { home: readonly { region: string; reference: string }[] };
  readonly regions: {
    links: { allow?: readonly string[] }[];
    accept: { certificate?: string }[];
  };
}

export interface RegionsOptions {
  readonly names: readonly string[];
  readonly links: readonly LinkName[];
  readonly link?: Readonly<Partial<Record<LinkName, LinkOptions>>>;
  /** Of the region that is fetched from. */
  readonly accept?: Readonly<Partial<Record<LinkName, AcceptOptions>>>;
  /** Regions that others start, from `config(name)`. */
  readonly elsewhere?: readonly string[];
  /** More of every configuration. */
  readonly config?: object;
  /** More of its section `regions`. */
  readonly regions?: object;
}

export class TestRegions {
  readonly brokers: Map<string, Broker> = new Map();
  /** By link: where it is dialled. */
  readonly proxies: Map<string, TcpProxy> = new Map();
  readonly #options: RegionsOptions;
  readonly #folder: string;
  readonly #clients: Set<Client> = new Set();
  #clientCount = 0;

  private constructor(options: RegionsOptions, folder: string) {
    this.#options = options;
    this.#folder = folder;
  }

  /** All nodes are ready and all links are up; everything ends with the test. */
  static async start(t: Test, options: RegionsOptions): Promise<TestRegions> {
    const folder = mkdtempSync(join(tmpdir(), 'causeway-regions-'));
    const regions = new TestRegions(options, folder);
    t.teardown(async () => {
      await regions.#end();
      rmSync(folder, { recursive: true, force: true });
    });
    for (const link of options.links) regions.proxies.set(link, await TcpProxy.start(1));
    const { elsewhere = [] } = options;
    for (const name of [...options.names, ...elsewhere]) await regions.#write(name);
    await Promise.all(options.names.map((name) => regions.startRegion(name)));
    if (elsewhere.length === 0) await regions.linksUp();
    return regions;
  }

  async #write(name: string): Promise<void> {
    const portOf = (link: LinkName): number => this.proxies.get(link)!.port;
    await writeRegion(join(this.#folder, name), { ...this.#options, name, portOf });
  }

  /** With the data it had before; links to it are led to where it listens now. */
  async startRegion(name: string): Promise<Broker> {
    const broker = await Broker.start({
      config: join(this.#folder, name, 'causeway.yaml'),
      data: join(this.#folder, name, 'data'),
      hasAdmin: true,
      env: { NODE_COMPILE_CACHE: compileCache, CAUSEWAY_ADMIN_TOKEN: ADMIN_TOKEN },
    });
    this.brokers.set(name, broker);
    for (const [link, proxy] of this.proxies) {
      const scheme = this.#options.link?.[link as LinkName]?.scheme;
      if (sourceOf(link) === name) proxy.retarget(broker.port(scheme));
    }
    return broker;
  }

  /** File of its configuration. */
  config(name: string): string {
    return join(this.#folder, name, 'causeway.yaml');
  }

  broker(name: string): Broker {
    return this.brokers.get(name)!;
  }

  proxy(link: LinkName): TcpProxy {
    return this.proxies.get(link)!;
  }

  linksUp(names: readonly string[] = this.#options.links): Promise<unknown> {
    return until(
      'links are up',
      async () => {
        for (const link of names) {
          const up = await this.broker(fetcherOf(link)).metric(
            `causeway_link_up{region="${sourceOf(link)}"}`,
          );
          if (up !== 1) return false;
        }
        return true;
      },
      40_000,
    );
  }

  /** Until each link has so many filters at the other end. */
  subscribed(counts: Readonly<Partial<Record<LinkName, number>>>): Promise<unknown> {
    return until('links have subscribed', async () => {
      for (const [link, count] of Object.entries(counts)) {
        const name = `causeway_fetcher_subscriptions{region="${fetcherOf(link)}"}`;
        if ((await this.broker(sourceOf(link)).metric(name)) !== count) return false;
      }
      return true;
    });
  }

  /** Until a link asks for that, whatever else it still has. */
  subscribedTo(link: LinkName, filter: string): Promise<unknown> {
    const path = `subscriptions?clientId=${encodeURIComponent(`$link/${fetcherOf(link)}`)}`;
    return until(`${link} has subscribed to ${filter}`, async () => {
      const admin = this.broker(sourceOf(link)).addresses.get('http')!;
      const headers = { authorization: `Bearer ${ADMIN_TOKEN}`, connection: 'close' };
      const answer = await fetch(new URL(`/api/v1/${path}`, admin), { headers });
      const { items } = (await answer.json()) as { items: readonly { filter: string }[] };
      return items.some((one) => one.filter === filter);
    });
  }

  /** A sample of the link's end that fetches. */
  ofLink(link: LinkName, name: string): Promise<number> {
    return this.broker(fetcherOf(link)).metric(`causeway_link_${name}{region="${sourceOf(link)}"}`);
  }

  /** A sample of the end that is fetched from. */
  ofFetcher(link: LinkName, name: string): Promise<number> {
    return this.broker(sourceOf(link)).metric(
      `causeway_fetcher_${name}{region="${fetcherOf(link)}"}`,
    );
  }

  /** A connection that has sent nothing. */
  async open(region: string, clientId: string, version: ProtocolVersion = 5): Promise<Client> {
    const socket = await openSocket('127.0.0.1', this.broker(region).port());
    const client = new Client(socket, version, clientId);
    this.#clients.add(client);
    return client;
  }

  async client(region: string, options: ConnectOptions & { id?: string } = {}): Promise<Client> {
    const { id = `c${this.#clientCount++}`, version = 5, ...fields } = options;
    const client = await this.open(region, id, version);
    return connectClient(client, { ...fields, clientId: id, version });
  }

  /** Login of a user that is no link. */
  get somebody(): { readonly username: string; readonly password: string } {
    return { username: 'somebody', password: LINK_PASSWORD };
  }

  /** Login of a link. */
  login(region: string): { readonly username: string; readonly password: string } {
    return { username: `link-${region}`, password: LINK_PASSWORD };
  }

  /** Changes the configuration of a region and has it read again. */
  async reload(name: string, change: (config: Changeable) => void): Promise<void> {
    const file = this.config(name);
    const config = parse(readFileSync(file, 'utf8')) as Changeable;
    change(config);
    writeFileSync(file, stringify(config));
    const broker = this.broker(name);
    broker.entries.length = 0;
    broker.signal('SIGHUP');
    await broker.entry('reloaded');
  }

  /** Status of the answer to who asks for it: 404 when there is no such session. */
  async session(region: string, clientId: string): Promise<number> {
    const admin = this.broker(region).addresses.get('http')!;
    const headers = { authorization: `Bearer ${ADMIN_TOKEN}`, connection: 'close' };
    const url = new URL(`/api/v1/sessions/${encodeURIComponent(clientId)}`, admin);
    return (await fetch(url, { headers })).status;
  }

  /** Ends the session of a link where it is. */
  async endSession(link: LinkName): Promise<number> {
    const id = encodeURIComponent(`$link/${fetcherOf(link)}`);
    const admin = this.broker(sourceOf(link)).addresses.get('http')!;
    const headers = { authorization: `Bearer ${ADMIN_TOKEN}`, connection: 'close' };
    const url = new URL(`/api/v1/sessions/${id}`, admin);
    return (await fetch(url, { method: 'DELETE', headers })).status;
  }

  async #end(): Promise<void> {
    for (const client of this.#clients) client.destroy();
    await Promise.all([...this.brokers.values()].map((broker) => broker.kill()));
    await Promise.all([...this.proxies.values()].map((proxy) => proxy.close()));
  }

  /** What no test expects. */
  errors(): string[] {
    return [...this.brokers].flatMap(([name, { errors, noise }]) => [
      ...errors.map((entry) => `${name}: ${JSON.stringify(entry)}`),
      ...(noise === '' ? [] : [`${name}: ${noise}`]),
    ]);
  }
}

/** Takes and acknowledges messages until none has come for a while. */
export async function drain(client: Client, quietMs: number = 400): Promise<ReadPacket[]> {
  const messages: ReadPacket[] = [];
  for (;;) {
    const packet = await client.next(quietMs);
    if (packet === null) return messages;
    if (packet.type !== 'PUBLISH') continue;
    messages.push(packet);
    await client.acknowledge(packet);
  }
}
