/** An access room with made-up users and sources, for tests of the gate with and without a broker. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Access, type AccessOptions } from '../../src/access/access.ts';
import type { GrantedRule } from '../../src/access/acl/granted-rule.ts';
import type {
  AnyRuleSource,
  Decider,
  DecisionSource,
  GrantAnswer,
  GrantSource,
  RuleSourceCounters,
  RuleSubject,
  SourceVerdict,
} from '../../src/access/acl/source.ts';
import type {
  AuthenticationAnswer,
  Authenticator,
  AuthenticatorCounters,
  Credentials,
  Identified,
} from '../../src/access/authenticator.ts';
import { AuthenticationChain } from '../../src/access/authn/chain.ts';
import { type Prepared, prepared } from '../../src/access/prepared.ts';
import type { ConnectDecision, ConnectRequest, Scheduler } from '../../src/core/ports.ts';
import type { ConnectPacket } from '../../src/wire/connect.ts';
import { encodeConnect } from '../../src/wire/connect.ts';
import type { FakeClient } from '../core/fake-client.ts';
import { ManualTime, SeededRandom } from '../core/manual-time.ts';
import { World, type WorldOptions } from '../core/world.ts';
import { KeptLog, listener } from './backend-kit.ts';

export function identified(user: string | null, more: Partial<Identified> = {}): Identified {
  return {
    user,
    tenant: null,
    claims: null,
    expiresAtMs: 0,
    rules: null,
    superuser: false,
    ...more,
  };
}

/** Users and passwords in memory; answers at once, or when the test says so. */
export class FakeUsers implements Authenticator {
  kind = 'password';
  readonly counters: AuthenticatorCounters = {
    accepted: 0,
    refused: 0,
    ignored: 0,
    errors: 0,
    cacheHits: 0,
  };
  readonly users: Map<string, { password: string; who: Identified }> = new Map();
  isSlow = false;
  asked = 0;
  failWith: unknown = null;
  onPrepare: () => Promise<void> = async () => {};
  commits = 0;
  discards = 0;
  readonly #waiting: (() => void)[] = [];

  add(user: string, password = 'right', more: Partial<Identified> = {}): void {
    this.users.set(user, { password, who: identified(user, more) });
  }

  isSuperuser(user: string): boolean {
    return this.users.get(user)?.who.superuser === true;
  }

  async start(): Promise<void> {}
  async prepare(): Promise<Prepared> {
    await this.onPrepare();
    return prepared(
      () => {
        this.commits++;
      },
      () => {
        this.discards++;
      },
    );
  }
  async stop(): Promise<void> {}

  authenticate(credentials: Credentials): AuthenticationAnswer | Promise<AuthenticationAnswer> {
    this.asked++;
    if (this.failWith !== null) throw this.failWith;
    if (!this.isSlow) return this.#answer(credentials);
    return new Promise((resolve) => {
      this.#waiting.push(() => resolve(this.#answer(credentials)));
    });
  }

  /** All that wait have their answer. */
  async answer(): Promise<void> {
    for (const act of this.#waiting.splice(0)) act();
    await turns();
  }

  #answer({ username, password }: Credentials): AuthenticationAnswer {
    if (username === null) return { kind: 'ignored' };
    const known = this.users.get(username);
    if (known === undefined || password === null || password.toString() !== known.password) {
      return { kind: 'refused', reason: 'bad_credentials', detail: 'no' };
    }
    return { kind: 'accepted', who: known.who };
  }
}

const noCounts = (): RuleSourceCounters => ({
  allowed: 0,
  denied: 0,
  ignored: 0,
  errors: 0,
  cacheHits: 0,
});

/** Asked per topic; the answer comes in a later turn, and is remembered only when told so. */
export class FakeDecisions implements DecisionSource {
  readonly gives = 'decisions';
  readonly kind = 'http';
  readonly description = 'http test';
  readonly counters: RuleSourceCounters = noCounts();
  caches = false;
  asked: string[] = [];
  subjects: RuleSubject[] = [];
  decide: (action: string, topic: string) => SourceVerdict = () => 'ignore';
  readonly #known: Map<string, SourceVerdict> = new Map();

  async start(): Promise<void> {}
  async prepare(): Promise<Prepared> {
    return prepared(() => this.#known.clear());
  }
  async stop(): Promise<void> {}

  open(subject: RuleSubject): Decider {
    this.subjects.push(subject);
    return {
      peek: (action, topic) => this.#known.get(`${action} ${topic}`),
      ask: async (action, topic) => {
        this.asked.push(`${action} ${topic}`);
        await turns(2);
        const verdict = this.decide(action, topic);
        if (this.caches) this.#known.set(`${action} ${topic}`, verdict);
        return verdict;
      },
    };
  }
}

/** Rules per user, changed by the test. */
export class FakeGrants implements GrantSource {
  readonly gives = 'grants';
  readonly kind = 'redis';
  readonly description = 'redis test';
  readonly counters: RuleSourceCounters = noCounts();
  readonly rules: Map<string, readonly GrantedRule[]> = new Map();
  isAway = false;
  isSlow = false;
  readonly watchers: Set<{
    user: string | null;
    changed: (rules: readonly GrantedRule[]) => void;
  }> = new Set();

  async start(): Promise<void> {}
  async prepare(): Promise<Prepared> {
    return prepared(() => {});
  }
  async stop(): Promise<void> {}

  rulesFor({ user }: RuleSubject): GrantAnswer | Promise<GrantAnswer> {
    const answer: GrantAnswer = this.isAway
      ? { kind: 'unavailable' }
      : { kind: 'granted', rules: this.rules.get(user ?? '') ?? [] };
    return this.isSlow ? turns(2).then(() => answer) : answer;
  }

  watch(
    { user }: RuleSubject,
    _known: readonly GrantedRule[],
    changed: (rules: readonly GrantedRule[]) => void,
  ): () => void {
    const watcher = { user, changed };
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  }

  change(user: string, rules: readonly GrantedRule[]): void {
    this.rules.set(user, rules);
    for (const watcher of this.watchers) if (watcher.user === user) watcher.changed(rules);
  }
}

export function grant(
  topic: string,
  actions: GrantedRule['actions'] = ['publish', 'subscribe'],
  allow = true,
): GrantedRule {
  return { allow, actions, topic, qos: null, retain: null, source: 'test' };
}

export interface AccessKitOptions {
  /** Text of a rule file; absent: none is configured. */
  readonly rules?: string;
  readonly sources?: readonly AnyRuleSource[];
  readonly anonymous?: boolean;
  readonly noChain?: boolean;
  readonly changes?: Partial<AccessOptions>;
  readonly time?: ManualTime;
}

export interface AccessKit {
  readonly access: Access;
  readonly users: FakeUsers;
  readonly time: ManualTime;
  readonly log: KeptLog;
  readonly rulesFile: string;
  rechecks: number;
  /** Told as well when rights change. */
  onRightsChanged: () => void;
}

export interface Cleanup {
  teardown(act: () => unknown): void;
}

export async function accessKit(t: Cleanup, options: AccessKitOptions = {}): Promise<AccessKit> {
  const folder = await mkdtemp(path.join(tmpdir(), 'causeway-access-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const rulesFile = path.join(folder, 'acl.yaml');
  if (options.rules !== undefined) await writeFile(rulesFile, options.rules);
  const time = options.time ?? new ManualTime();
  const log = new KeptLog();
  const users = new FakeUsers();
  const chain = options.noChain
    ? null
    : new AuthenticationChain({
        links: [users],
        anonymous: options.anonymous ?? false,
        deadlineMs: 5000,
        clock: time,
        log,
      });
  const access = new Access({
    chain,
    scram: null,
    rulesFile: options.rules === undefined ? null : rulesFile,
    sources: options.sources ?? [],
    credentialsGrant: false,
    tenant: { from: 'none', separator: '/', claim: 'tenant', field: 'organization' },
    bans: {
      flapping: { connectsMax: 5, windowS: 60, banS: 60, banMaxS: 3600 },
      login: { failuresMax: 9, windowS: 60, blockS: 30, blockMaxS: 3600 },
    },
    bansFile: null,
    clock: time,
    random: new SeededRandom(3),
    scheduler: alsoReal(time),
    log,
    onRightsChanged: () => {
      kit.rechecks++;
      kit.onRightsChanged();
    },
    ...options.changes,
  });
  const kit: AccessKit = {
    access,
    users,
    time,
    log,
    rulesFile,
    rechecks: 0,
    onRightsChanged: () => {},
  };
  await access.start();
  t.teardown(() => access.stop());
  return kit;
}

/** What waits for a turn has it at the next of the test, or of the process. */
function alsoReal(time: ManualTime): Scheduler {
  return {
    endOfTurn: (task) => time.endOfTurn(task),
    every: (intervalMs, tick) => time.every(intervalMs, tick),
    nextTurn: (task) => {
      let isDone = false;
      const once = (): void => {
        if (!isDone) task();
        isDone = true;
      };
      time.nextTurn(once);
      setImmediate(once);
    },
  };
}

/** A broker around it, that rechecks when rights change. */
export async function worldOf(kit: AccessKit, options: WorldOptions = {}): Promise<World> {
  const world = await World.start({ time: kit.time, gate: kit.access.gate, ...options });
  kit.onRightsChanged = () => world.broker.admin.recheck();
  return world;
}

export interface LoginOptions {
  readonly clientId?: string;
  readonly username?: string | null;
  readonly password?: string | null;
}

export function connectPacket(options: LoginOptions = {}): ConnectPacket {
  const { clientId = 'dev1', username = 'alice', password = 'right' } = options;
  return {
    protocolVersion: 5,
    cleanStart: true,
    keepAliveS: 0,
    clientId,
    username,
    password: password === null ? null : Buffer.from(password),
    will: null,
    sessionExpiryIntervalS: 0,
    receiveMaximum: 65_535,
    maximumPacketSize: 0,
    topicAliasMaximum: 0,
    requestResponseInformation: false,
    requestProblemInformation: true,
    userProperties: [],
    authenticationMethod: null,
    authenticationData: null,
  };
}

/** CONNECT as bytes, with what a test wants otherwise. */
export function loginBytes(
  options: LoginOptions & { packet?: Partial<ConnectPacket> } = {},
): Buffer {
  return encodeConnect({ ...connectPacket(options), ...options.packet });
}

export interface FakeRequest extends ConnectRequest {
  readonly ended: string[];
}

export function request(login: LoginOptions = {}, more: Partial<ConnectRequest> = {}): FakeRequest {
  const packet = connectPacket(login);
  const ended: string[] = [];
  return {
    packet,
    clientId: packet.clientId,
    protocolVersion: 5,
    listener,
    remoteAddress: '192.0.2.7',
    remotePort: 5000,
    certificate: null,
    pskIdentity: null,
    end: (reason) => ended.push(reason),
    ended,
    ...more,
  };
}

/** The decision, whether it comes at once or later. */
export function decisionOf(kit: AccessKit, of: ConnectRequest): Promise<ConnectDecision> {
  return new Promise((resolve) => {
    const now = kit.access.gate.connect(of, resolve);
    if (typeof now === 'object') resolve(now);
  });
}

export async function refusalOf(kit: AccessKit, of: ConnectRequest): Promise<string | null> {
  const { refusal, client, identity } = await decisionOf(kit, of);
  if (refusal !== null && (client !== null || identity !== null)) throw new Error('half let in');
  return refusal;
}

/** Lets promises that are settled be heard. */
export async function turns(count = 5): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

/** Reason code of the CONNACK that has come; null: none has. */
export function connackOf(client: FakeClient): number | null {
  for (const packet of client.receive()) {
    if (packet.type === 'connack') return packet.packet.reasonCode;
    throw new Error(`before the CONNACK: ${packet.type}`);
  }
  return null;
}
