/**
 * Several nodes of cluster/ with fakes around them: links, Redis and cores that a test holds in its hand.
 * Who is a member is what the test says; everything else is the code that runs in production.
 */
import { Cluster } from '../../src/cluster/cluster.ts';
import type { JournalLinks } from '../../src/cluster/journal-links.ts';
import type { Heartbeat, Member, MembershipState } from '../../src/cluster/ports.ts';
import type {
  MembershipLinks,
  RetainedRounds,
  StartedMembership,
} from '../../src/cluster/ports-local.ts';
import type {
  Awaited,
  Incarnation,
  OpenAnswer,
  OpenRequest,
  SessionImage,
  SharedSessions,
} from '../../src/core/cluster-ports.ts';
import { type Message, makeMessage } from '../../src/core/message.ts';
import type { Log } from '../../src/core/ports.ts';
import type { RedisReply } from '../../src/drivers/redis/redis-port.ts';
import { ManualTime, SeededRandom } from '../core/manual-time.ts';
import { FakeLedger } from './fake-ledger.ts';
import { FakeMesh, FakeNetwork } from './fake-mesh.ts';
import { FakeRemote, subscription } from './fake-remote.ts';

export const LEASE_MS = 3000;
export const LINK_GRACE_MS = 2000;
export const TOMBSTONE_MS = 600_000;

export class FakeMembership implements StartedMembership {
  state: MembershipState = 'out';
  incarnation: Incarnation = '';
  members: readonly Member[] = [];
  hasRedis = true;
  secret = 'secret';
  /** What a fresh clock says of the lease. */
  serves = true;
  readonly links: MembershipLinks;
  readonly heartbeats: { readonly from: Incarnation; readonly heartbeat: Heartbeat }[] = [];
  readonly unreached: string[] = [];
  readonly #site: FakeSite;
  renewReply: RedisReply = 'ok';
  /** What Redis says when it is asked whether it was emptied. */
  isSameRedis: boolean | null = true;
  confirms = 0;

  constructor(site: FakeSite, links: MembershipLinks) {
    this.#site = site;
    this.links = links;
  }

  mayServe(): boolean {
    return this.state === 'ready' && this.serves;
  }

  redisTimeMs(): number {
    return this.#site.time.wallMs();
  }

  start(): void {}

  becomeReady(): void {
    if (this.state !== 'joining') return;
    this.state = 'ready';
    this.links.events.ready();
  }

  leave(done: () => void): void {
    this.state = 'left';
    this.#site.bury(this.incarnation);
    this.#site.time.nextTurn(done);
  }

  heard(from: Incarnation, heartbeat: Heartbeat): void {
    this.heartbeats.push({ from, heartbeat });
  }

  linkEnded(): void {}
  linkUp(): void {}
  linkRefused(): void {}

  unreachable(peer: Incarnation, forMs: number): void {
    this.unreached.push(`${peer} ${forMs}`);
  }

  renewFor(
    _incarnation: Incarnation,
    _generation: string,
    done: (reply: RedisReply | null) => void,
  ): void {
    this.#site.time.nextTurn(() => done(this.renewReply));
  }

  confirm(done: (isSame: boolean | null) => void): void {
    this.confirms++;
    this.#site.time.nextTurn(() => done(this.isSameRedis));
  }

  dead(done: (dead: readonly Incarnation[] | null) => void): void {
    this.#site.time.nextTurn(() => done(this.#site.dead));
  }

  forget(dead: Incarnation): void {
    this.#site.forgotten.push(dead);
  }

  redisUp(): void {}
  redisDown(): void {}
}

export class SiteNode {
  readonly nodeId: string;
  readonly mesh: FakeMesh;
  readonly remote: FakeRemote = new FakeRemote();
  readonly cluster: Cluster;
  membership!: FakeMembership;
  readyTimes = 0;
  readonly logged: string[] = [];

  constructor(
    site: FakeSite,
    nodeId: string,
    rounds: RetainedRounds | null,
    journal: JournalLinks | null,
  ) {
    const { time, network, ledger } = site;
    this.nodeId = nodeId;
    this.mesh = new FakeMesh(network);
    const log: Log = {
      debug: () => {},
      info: (_fields, message) => this.logged.push(message),
      warn: (_fields, message) => this.logged.push(message),
      error: (_fields, message) => this.logged.push(message),
    };
    this.cluster = new Cluster({
      ledger,
      sessions: {} as SharedSessions,
      mesh: this.mesh,
      membership: (links) => {
        this.membership = new FakeMembership(site, links);
        return this.membership;
      },
      clock: time,
      random: site.random,
      scheduler: time,
      log,
      options: {
        leaseMs: LEASE_MS,
        linkGraceMs: LINK_GRACE_MS,
        retainedTombstoneMs: TOMBSTONE_MS,
        retainedTombstonesMax: 1000,
        clockSkewMs: 60_000,
      },
      record: { nodeId, address: `${nodeId}:1`, release: '1' },
      rounds,
      journal,
      onReady: () => this.readyTimes++,
    });
    this.remote.bus = this.cluster.bus;
    this.cluster.attach(this.remote);
    this.cluster.start(() => {});
  }

  get incarnation(): Incarnation {
    return this.membership.incarnation;
  }

  get isReady(): boolean {
    return this.membership.state === 'ready';
  }

  /** What it holds of another node's interests, sorted. */
  routesOf(other: SiteNode): string[] {
    return [...(this.remote.routes.get(other.incarnation) ?? new Map())].map(String).sort();
  }
}

/** The first eight digits are what retained versions are written by. */
export function incarnationOf(number: number): Incarnation {
  return String(number).padStart(8, '0').padEnd(32, 'f');
}

export class FakeSite {
  readonly time: ManualTime = new ManualTime();
  readonly random: SeededRandom = new SeededRandom(7);
  readonly network: FakeNetwork = new FakeNetwork(this.time);
  readonly ledger: FakeLedger = new FakeLedger(this.time);
  readonly nodes: SiteNode[] = [];
  /** Whose deaths Redis remembers. */
  dead: readonly Incarnation[] | null = [];
  readonly forgotten: Incarnation[] = [];
  #nextIncarnation = 1;
  generation = 'g1';

  /** A node that has not joined. */
  make(rounds: RetainedRounds | null = null, journal: JournalLinks | null = null): SiteNode {
    const node = new SiteNode(this, `node${this.nodes.length}`, rounds, journal);
    this.nodes.push(node);
    return node;
  }

  /** It registers; the others hear of it. */
  register(node: SiteNode): void {
    const { membership } = node;
    membership.incarnation = incarnationOf(this.#nextIncarnation++);
    membership.state = 'joining';
    membership.serves = true;
    membership.links.events.joined(membership.incarnation, this.generation, 'secret');
    this.#tell();
  }

  /** A node that is ready. */
  node(rounds: RetainedRounds | null = null): SiteNode {
    const node = this.make(rounds);
    this.register(node);
    this.time.settle();
    if (!node.isReady) throw new Error('the node does not become ready');
    return node;
  }

  #tell(): void {
    const live = this.nodes.filter(({ membership }) => {
      return membership.state !== 'out' && membership.state !== 'left';
    });
    const all = live.map(({ membership, nodeId }) => ({
      incarnation: membership.incarnation,
      nodeId,
      address: `${nodeId}:1`,
      release: '1',
      protocol: 1,
    }));
    for (const { membership } of live) {
      const others = all.filter(({ incarnation }) => incarnation !== membership.incarnation);
      if (
        String(others.map((one) => one.incarnation)) ===
          String(membership.members.map((one) => one.incarnation)) &&
        others.length > 0
      )
        continue;
      const gone = membership.members.filter((member) => {
        return !others.some(({ incarnation }) => incarnation === member.incarnation);
      });
      membership.members = others;
      membership.links.events.members(others);
      for (const member of gone) membership.links.events.died(member);
    }
  }

  /** The process is gone; nobody knows yet. */
  kill(node: SiteNode): void {
    node.mesh.isStopped = true;
    node.membership.serves = false;
  }

  /** Redis says that it is dead. */
  bury(incarnation: Incarnation): void {
    for (const { membership } of this.nodes) {
      if (membership.incarnation === incarnation) membership.state = 'out';
    }
    this.#tell();
  }

  /** It finds out that it was buried, and joins anew. */
  rejoin(node: SiteNode): void {
    const { incarnation, links } = node.membership;
    node.membership.state = 'out';
    links.events.lost();
    node.membership.members = [];
    this.bury(incarnation);
    this.register(node);
  }

  image(
    node: SiteNode | null,
    clientId: string,
    epoch: number,
    ...filters: string[]
  ): SessionImage {
    return {
      clientId,
      sid: `sid-${clientId}`,
      epoch,
      counter: filters.length,
      owner: node?.incarnation ?? null,
      identity: null,
      tenant: '',
      expiryIntervalS: 3600,
      subscriptions: filters.map(subscription),
    };
  }

  /** Opens and says what was answered, once it was. */
  open(node: SiteNode, clientId: string, options: Partial<OpenRequest> = {}): Opened {
    const opened = new Opened();
    const request: OpenRequest = {
      clientId,
      identity: null,
      tenant: '',
      isTenantProven: false,
      version: 5,
      cleanStart: false,
      expiryIntervalS: 3600,
      will: null,
      ...options,
    };
    node.cluster.bus.open(request, (answer) => opened.answers.push(answer));
    return opened;
  }
}

export class Opened {
  readonly answers: OpenAnswer[] = [];

  get kind(): string {
    if (this.answers.length > 1) throw new Error('answered twice');
    return this.answers[0]?.kind ?? 'waits';
  }

  get record(): Extract<OpenAnswer, { kind: 'opened' }>['record'] {
    const [answer] = this.answers;
    if (answer?.kind !== 'opened') throw new Error(`not opened: ${this.kind}`);
    return answer.record;
  }
}

/** An answer that waits, and how often it was told that it need not. */
export class Answer implements Awaited {
  unsafeCount = 0;
  failed = false;
  told = 0;
  readonly waiter = { messageSafe: (): void => void this.told++ };
}

export function message(topic: string, payload: string): Message {
  return makeMessage(1, topic, Buffer.from(payload), { retain: true });
}
