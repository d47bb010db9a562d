/**
 * The harness of the conformance tests: one server per test file, each title run for the
 * protocol versions it names, all cases of a file at once, each with its own client ids and topics.
 * Test files import it; it must not know src/ (the server is another process, maybe not ours).
 */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { Client, connectClient, openSocket } from './client.ts';
import { differenceOf } from './known-differences.ts';
import type { ConnectFields, ProtocolVersion } from './packets.ts';
import { openTarget, type Target } from './target.ts';

export type { ProtocolVersion } from './packets.ts';

/** A case may take this long; the protocol's shortest times are a second or two. */
const CASE_MS = 30_000;
/** Cases under way at once: enough to wait together, few enough not to disturb each other. */
const CASES_AT_ONCE = 12;

export type ConnectOptions = Partial<Omit<ConnectFields, 'version'>>;
export type Case = (c: CaseContext) => Promise<void>;

/** What a case gets: its version, names nobody else uses, and clients that end with it. */
export class CaseContext {
  readonly version: ProtocolVersion;
  readonly target: Target;
  readonly prefix: string;
  readonly #clients: { destroy(): void }[] = [];
  #clientCount = 0;

  constructor(version: ProtocolVersion, target: Target) {
    this.version = version;
    this.target = target;
    this.prefix = `c${randomBytes(6).toString('hex')}`;
  }

  get isV5(): boolean {
    return this.version === 5;
  }

  /** A topic (or filter) of this case alone. */
  topic(suffix = 't'): string {
    return `${this.prefix}/${suffix}`;
  }

  /** A client id of this case alone, within the 23 characters every server must take. */
  id(suffix: string | number = ''): string {
    return `${this.prefix}${suffix}`;
  }

  /** An open socket that has sent nothing yet. */
  async open(options: { raw?: boolean; clientId?: string } = {}): Promise<Client> {
    const socket = await openSocket(this.target.host, this.target.port);
    const clientId = options.clientId ?? this.id(`n${this.#clientCount++}`);
    const client = new Client(socket, this.version, clientId, options.raw);
    this.#clients.push(client);
    return client;
  }

  /** A client whose CONNECT was accepted. */
  async connect(options: ConnectOptions = {}): Promise<Client> {
    const client = await this.open(
      typeof options.clientId === 'string' ? { clientId: options.clientId } : {},
    );
    return connectClient(client, this.fields(client, options));
  }

  /** The CONNECT fields of a client of this case. */
  fields(client: Client, options: ConnectOptions = {}): ConnectFields {
    return { clientId: client.clientId, ...options, version: this.version };
  }

  /**
   * A session that outlives its connection: clean session 0 before MQTT 5, clean start 0
   * with an expiry from there on.
   */
  durable(options: ConnectOptions = {}, expirySec = 300): Promise<Client> {
    const properties = [...(options.properties ?? [])];
    if (this.isV5) properties.push(['sessionExpiryInterval', expirySec]);
    return this.connect({ clean: false, ...options, ...(this.isV5 ? { properties } : {}) });
  }

  /** Ends this connection with the case, however the case ends. */
  adopt(client: { destroy(): void }): void {
    this.#clients.push(client);
  }

  end(): void {
    for (const client of this.#clients) client.destroy();
  }
}

interface Registered {
  readonly title: string;
  readonly version: ProtocolVersion;
  readonly run: Case;
}

const registered: Registered[] = [];

function register(versions: readonly ProtocolVersion[], title: string, run: Case): void {
  for (const version of versions) registered.push({ title, version, run });
}

/** Runs for MQTT 3.1.1 and MQTT 5. */
export function both(title: string, run: Case): void {
  register([4, 5], title, run);
}

/** Runs for MQTT 3.1, 3.1.1 and 5. */
export function every(title: string, run: Case): void {
  register([3, 4, 5], title, run);
}

export function v5(title: string, run: Case): void {
  register([5], title, run);
}

export function v311(title: string, run: Case): void {
  register([4], title, run);
}

export function v31(title: string, run: Case): void {
  register([3], title, run);
}

/** What this case needs cannot be reached on this target; reported with its reason. */
export class NotHere extends Error {}

const VERSION_NAMES: Record<ProtocolVersion, string> = { 3: '3.1', 4: '3.1.1', 5: '5' };

/** Runs what was registered; the last line of each test file. */
export async function run(): Promise<void> {
  const target = await openTarget();
  t.teardown(() => target.stop());
  t.jobs = CASES_AT_ONCE;
  for (const one of registered) {
    const name = `${one.title} · MQTT ${VERSION_NAMES[one.version]}`;
    t.test(name, { buffered: true, timeout: CASE_MS }, async (test) => {
      const known = differenceOf(target.peer, one.title, one.version);
      const context = new CaseContext(one.version, target);
      let failure: Error | null = null;
      try {
        await one.run(context);
      } catch (error) {
        failure = error as Error;
      } finally {
        context.end();
      }
      if (failure instanceof NotHere) test.pass('not run here', { skip: failure.message });
      else if (known !== null && failure !== null) {
        test.pass(`known difference of ${target.peer}: ${known.reason} (${firstLine(failure)})`);
      } else if (known !== null && !known.isSometimes) {
        test.fail(`listed as a known difference of ${target.peer}, but passes: ${known.reason}`);
      } else if (failure !== null) test.fail(firstLine(failure), { stack: failure.stack ?? '' });
      else test.pass('as the specification says');
    });
  }
}

function firstLine(error: Error): string {
  return error.message.split('\n')[0] ?? error.message;
}
