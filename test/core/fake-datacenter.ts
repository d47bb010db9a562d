/**
 * Several brokers that share sessions, with nothing real between them: one table of sessions in place
 * of Redis, function calls in place of links, and every answer a turn later. What the core promises to
 * and expects of a bus is tried here; membership, links and Redis have tests of their own.
 */
import type {
  Awaited,
  Bus,
  OpenAnswer,
  OpenRequest,
  Peer,
  PendingInbound,
  RemoteSide,
  RetainedVersion,
  RoamListener,
  SharedEvents,
  SharedSessions,
} from '../../src/core/cluster-ports.ts';
import { Message } from '../../src/core/message.ts';
import type { SessionRecord, Store, StoreEvents, Ticket } from '../../src/core/ports.ts';
import type { Publication } from '../../src/core/publication.ts';
import { EntryState, QueueEntry, SentEntry } from '../../src/core/queue-entry.ts';
import { isAbove, type RetainedVerdict } from '../../src/core/retained-version.ts';
import type { GroupChoices, SharedAppend } from '../../src/core/shared-append.ts';
import { FakeRoam } from './fake-roam.ts';
import { ManualTime } from './manual-time.ts';
import { World, type WorldOptions } from './world.ts';

interface Slot {
  readonly seq: number;
  readonly append: SharedAppend;
  isReleased: boolean;
}

/** A session as the table has it. */
interface Row {
  sid: string;
  epoch: number;
  owner: string | null;
  identity: string | null;
  record: SessionRecord | null;
  expiryIntervalS: number;
  queue: Slot[];
  tailSeq: number;
  readonly inbound: Map<number, PendingInbound | null>;
  publisherSeq: number;
  /** By publisher's sid: highest taken. */
  readonly had: Map<string, number>;
  will: { readonly message: Message; readonly delayS: number } | null;
}

function copyOf(publication: Publication): Message {
  return publication.copy();
}

export class FakeDatacenter {
  readonly time: ManualTime = new ManualTime();
  readonly rows: Map<string, Row> = new Map();
  readonly nodes: FakeNode[] = [];
  nextSid = 1;
  epoch = 0;
  /** Answers of the table stand still. */
  isStuck = false;
  readonly #stuck: (() => void)[] = [];

  async node(options: Omit<WorldOptions, 'time' | 'store' | 'bus'> = {}): Promise<FakeNode> {
    const node = new FakeNode(this, `node${this.nodes.length}`);
    const { time } = this;
    node.world = await World.start({ ...options, time, store: node, bus: node });
    for (const other of this.nodes) {
      node.remote.addPeer(other.peer);
      other.remote.addPeer(node.peer);
      other.tell(node);
    }
    this.nodes.push(node);
    for (const other of this.nodes) {
      if (other === node) continue;
      other.roam.listener?.tell(node.incarnation);
      node.roam.listener?.tell(other.incarnation);
    }
    time.settle();
    return node;
  }

  later(task: () => void): void {
    if (this.isStuck) this.#stuck.push(task);
    else this.time.nextTurn(task);
  }

  goOn(): void {
    this.isStuck = false;
    for (const task of this.#stuck.splice(0)) this.time.nextTurn(task);
    this.time.settle();
  }
}

export class FakeNode implements Bus, SharedSessions, Store {
  readonly #site: FakeDatacenter;
  readonly incarnation: string;
  readonly sessions: SharedSessions = this;
  readonly peer: Peer;
  readonly roam: FakeRoam;
  world!: World;
  serves = true;
  isDead = false;
  #events!: SharedEvents;
  #store!: StoreEvents;
  #ticket = 0;
  readonly #bound: Map<number, { clientId: string; sid: string; epoch: number }> = new Map();
  readonly keepsQueues = true;
  readonly writable = true;
  /** Clients to whose queues nothing comes from here: the node dies before it leaves. */
  readonly loses: Set<string> = new Set();
  /** What was chosen for QoS 2 messages when they were stored. */
  readonly chosen: GroupChoices[] = [];
  /** What other nodes were sent. */
  readonly forwarded: { readonly to: string; readonly topic: string; readonly qos: number }[] = [];

  constructor(site: FakeDatacenter, incarnation: string) {
    this.#site = site;
    this.incarnation = incarnation;
    const audience = { slow: false, progress: 0, waiters: null, closed: false };
    this.peer = { incarnation, nodeId: incarnation, audience };
    this.roam = new FakeRoam(site, this);
  }

  /** What becomes of appends is said to them. */
  get events(): SharedEvents {
    return this.#events;
  }

  get remote(): RemoteSide {
    return this.world.broker.remote!;
  }

  /** The process is gone; the others find out at once. */
  kill(): void {
    this.isDead = true;
    this.#site.nodes.splice(this.#site.nodes.indexOf(this), 1);
    for (const node of this.#site.nodes) {
      node.remote.removePeer(this.peer);
      node.remote.ownerDied(this.incarnation);
      node.roam.listener?.gone(this.incarnation);
    }
  }

  /** Tables for a node that has just come. */
  tell(joiner: FakeNode): void {
    for (const [filter, interest] of this.remote.interests()) {
      joiner.remote.setInterest(this.peer, filter, interest);
    }
    for (const [group, filter, members] of this.remote.groups()) {
      joiner.remote.setGroup(this.peer, group, filter, members);
    }
    for (const image of this.remote.knownSessions()) joiner.remote.applySession(image);
  }

  #broadcast(tell: (remote: RemoteSide) => void): void {
    for (const node of this.#site.nodes) {
      if (node !== this) this.#site.later(() => node.isDead || tell(node.remote));
    }
  }

  #answer(task: () => void): void {
    this.#site.later(() => this.isDead || task());
  }

  // ------------------------------------------------------------------ Bus

  mayServe(): boolean {
    return this.serves;
  }

  forward(publication: Publication, peers: readonly Peer[]): void {
    for (const peer of peers) {
      const node = this.#site.nodes.find(({ incarnation }) => incarnation === peer.incarnation)!;
      const { topic } = publication;
      this.forwarded.push({ to: peer.incarnation, topic, qos: publication.view.qos });
      const message = copyOf(publication);
      this.#site.later(() => {
        node.remote.deliver(message);
        // The frame is gone after the call.
        message.slab.fill(0xee, message.bodyStart, message.bodyEnd);
      });
    }
  }

  forwardToGroup(publication: Publication, peer: Peer, group: string, filter: string): void {
    const node = this.#site.nodes.find(({ incarnation }) => incarnation === peer.incarnation)!;
    const message = copyOf(publication);
    this.#site.later(() => node.remote.deliverToGroup(message, group, filter));
  }

  announceInterest(filter: string, interest: 0 | 1 | 2): void {
    this.#broadcast((remote) => remote.setInterest(this.peer, filter, interest));
  }

  announceGroup(group: string, filter: string, members: number): void {
    this.#broadcast((remote) => remote.setGroup(this.peer, group, filter, members));
  }

  announceSession(image: Parameters<Bus['announceSession']>[0]): void {
    this.#broadcast((remote) => remote.applySession(image));
  }

  announceChange(change: Parameters<Bus['announceChange']>[0]): void {
    this.#broadcast((remote) => {
      if (!remote.applyChange(change)) throw new Error('a change is missing');
    });
  }

  announceEnd(clientId: string, sid: string, epoch: number): void {
    this.#broadcast((remote) => remote.applyEnd(clientId, sid, epoch));
  }

  awaitApplied(awaited: Awaited): void {
    awaited.unsafeCount++;
    this.#answer(() => {
      awaited.unsafeCount--;
      if (awaited.unsafeCount === 0) awaited.waiter?.messageSafe();
    });
  }

  open(request: OpenRequest, done: (answer: OpenAnswer) => void): void {
    this.#answer(() => {
      const { rows } = this.#site;
      const { clientId } = request;
      let row = rows.get(clientId);
      if (row !== undefined && row.identity !== null && row.identity !== request.identity) {
        done({ kind: 'foreign' });
        return;
      }
      const owner = row?.owner ?? null;
      const left = row?.will ?? null;
      const name = { sid: row?.sid ?? '', epoch: row?.epoch ?? 0 };
      const present = row !== undefined && !request.cleanStart && row.expiryIntervalS > 0;
      // Above that of a session that has ended, too.
      this.#site.epoch = Math.max(this.#site.epoch, row?.epoch ?? 0) + 1;
      const { epoch } = this.#site;
      if (!present) {
        row = {
          sid: `sid${this.#site.nextSid++}`,
          epoch,
          owner: null,
          identity: request.identity,
          record: null,
          expiryIntervalS: 0,
          queue: [],
          tailSeq: 0,
          inbound: new Map(),
          publisherSeq: 0,
          had: new Map(),
          will: null,
        };
        rows.set(clientId, row);
      }
      row = row!;
      row.epoch = epoch;
      row.owner = this.incarnation;
      row.expiryIntervalS = request.expiryIntervalS;
      row.will = request.will;
      const taken = row;
      const answer = (): void => {
        const pending = [...taken.inbound.values()].filter((one) => one !== null);
        const isDue = left !== null && (!present || left.delayS === 0);
        done({
          kind: 'opened',
          record: {
            epoch,
            sid: taken.sid,
            present,
            subscriptions: taken.record?.subscriptions ?? [],
            counter: taken.record?.counter ?? 0,
            turns: taken.record?.roaming?.turns ?? [],
            headSeq: taken.queue[0]?.seq ?? taken.tailSeq + 1,
            tailSeq: taken.tailSeq,
            queuedBytes: 0,
            releasedSeqs: [],
            settledSeqs: [],
            inboundIds: [...taken.inbound.keys()],
            pending,
            publisherSeq: taken.publisherSeq,
            oldWill: left === null ? null : { message: left.message, isDue, ...name },
          },
        });
      };
      const other = this.#site.nodes.find(({ incarnation }) => incarnation === owner);
      if (other === undefined || other === this) answer();
      else other.remote.letGo(clientId, epoch, () => this.#answer(answer));
    });
  }

  oldWillSettled(): void {}

  close(
    clientId: string,
    sid: string,
    epoch: number,
    expiryIntervalS: number,
    willDelayS: number,
  ): void {
    this.#answer(() => {
      const row = this.#row(clientId, sid, epoch);
      if (row === null) return;
      if (expiryIntervalS === 0) this.#site.rows.delete(clientId);
      row.owner = null;
      if (willDelayS === -1) row.will = null;
    });
  }

  announceRetained(
    topic: string,
    message: Message | null,
    replaces: RetainedVersion | null,
    _awaited: Awaited | null,
    accepted: RetainedVersion | null,
  ): RetainedVersion {
    const timeUs = Math.max(this.#site.time.wallMs() * 1000, (replaces?.timeUs ?? 0) + 1);
    const version = accepted ?? { timeUs, writer: Number(this.incarnation.slice(4)) };
    this.#broadcast((remote) => {
      remote.applyRetained(topic, message === null ? null : cloned(message), version);
    });
    return version;
  }

  isRetainedOver(topic: string, version: RetainedVersion): boolean {
    const known = this.remote.retainedOf(topic)?.version ?? this.kept.get(topic) ?? null;
    return known !== null && isAbove(known, version);
  }

  readonly buried: Map<string, RetainedVersion> = new Map();

  takeRetained(topic: string, message: Message | null, version: RetainedVersion): RetainedVerdict {
    this.#broadcast((remote) => {
      remote.applyRetained(topic, message === null ? null : cloned(message), version);
    });
    this.remote.applyRetained(topic, message, version);
    return 'taken';
  }

  buriedRetained(topic: string): RetainedVersion | null {
    return this.buried.get(topic) ?? null;
  }

  buryRetained(topic: string, version: RetainedVersion): void {
    this.buried.set(topic, version);
  }

  hint(owner: string, clientId: string, sid: string, tailSeq: number): void {
    const node = this.#site.nodes.find(({ incarnation }) => incarnation === owner);
    this.#site.later(() => node?.remote.hint(clientId, sid, tailSeq));
  }

  listenRoam(listener: RoamListener): void {
    this.roam.listener = listener;
  }

  // ------------------------------------------------------------------ SharedSessions

  listen(events: SharedEvents): void {
    this.#events = events;
  }

  bind(sessionNumber: number, clientId: string, sid: string, epoch: number): void {
    this.#bound.set(sessionNumber, { clientId, sid, epoch });
  }

  unbind(sessionNumber: number): void {
    this.#bound.delete(sessionNumber);
  }

  /** As a message of another region comes into the queue of a client. */
  takeOver(clientId: string, append: SharedAppend): void {
    for (const [number, bound] of this.#bound) {
      if (bound.clientId !== clientId) continue;
      append.message.unsafeCount++;
      this.enqueue(number, append);
      return;
    }
    throw new Error(`${clientId} is not known here`);
  }

  tookUpTo(sessionNumber: number, publisherSid: string, done: (seq: number | null) => void): void {
    const { clientId } = this.#bound.get(sessionNumber)!;
    this.#site.later(() => done(this.#site.rows.get(clientId)?.had.get(publisherSid) ?? 0));
  }

  whenAppended(_sessionNumber: number, then: () => void): void {
    this.#site.later(then);
  }

  /** Nothing more is taken for queues. */
  isFull = false;

  enqueue(sessionNumber: number, append: SharedAppend): void {
    const { clientId, sid } = this.#bound.get(sessionNumber)!;
    if (this.loses.has(clientId)) return;
    this.#site.later(() => {
      const row = this.#site.rows.get(clientId);
      if (row === undefined || row.sid !== sid) {
        this.#answer(() => this.#events.enqueueFailed(sessionNumber, append, 'gone'));
        return;
      }
      const { publisherSid, publisherSeq } = append.identity;
      const isHad = publisherSid !== null && publisherSeq <= (row.had.get(publisherSid) ?? 0);
      if (publisherSid !== null && !isHad) row.had.set(publisherSid, publisherSeq);
      if (!isHad) row.queue.push({ seq: ++row.tailSeq, append, isReleased: false });
      const seq = isHad ? 0 : row.tailSeq;
      const { owner } = row;
      this.#answer(() => this.#events.queued(sessionNumber, append, seq, owner, 0));
    });
  }

  beginInbound(
    sessionNumber: number,
    packetId: number,
    message: Message,
    choices: GroupChoices,
    publisherSeq: number,
    awaited: Awaited,
  ): void {
    const { epoch: publisherEpoch } = this.#bound.get(sessionNumber)!;
    const named = { publisherSeq, publisherEpoch };
    this.chosen.push(choices);
    this.#writeFor(awaited, sessionNumber, (row) => {
      row.publisherSeq = publisherSeq;
      row.inbound.set(packetId, { packetId, message: cloned(message), choices, ...named });
    });
  }

  endInbound(sessionNumber: number, packetId: number, awaited: Awaited | null): void {
    this.#writeFor(awaited, sessionNumber, (row) => row.inbound.delete(packetId));
  }

  left(): void {}

  inboundDone(sessionNumber: number, packetId: number): void {
    this.#write(
      sessionNumber,
      (row) => row.inbound.has(packetId) && row.inbound.set(packetId, null),
    );
  }

  // ------------------------------------------------------------------ Store

  start(events: StoreEvents): Promise<void> {
    this.#store = events;
    return Promise.resolve();
  }

  saveSession(record: SessionRecord): Ticket {
    return this.#write(record.sessionNumber, (row) => {
      row.record = record;
      row.expiryIntervalS = record.expiryIntervalS;
    });
  }

  deleteSession(sessionNumber: number): Ticket {
    const { clientId } = this.#bound.get(sessionNumber)!;
    return this.#write(sessionNumber, () => this.#site.rows.delete(clientId));
  }

  append(): Ticket {
    throw new Error('a shared queue is appended to by enqueue');
  }

  settle(sessionNumber: number, entry: QueueEntry): void {
    this.settleStored(sessionNumber, entry.seq);
  }

  settleStored(sessionNumber: number, seq: number): void {
    this.#write(sessionNumber, (row) => {
      row.queue = row.queue.filter((queued) => queued.seq !== seq);
    });
  }

  release(sessionNumber: number, entry: QueueEntry): Ticket {
    return this.#write(sessionNumber, (row) => {
      const slot = row.queue.find(({ seq }) => seq === entry.seq);
      if (slot !== undefined) slot.isReleased = true;
    });
  }

  read(
    sessionNumber: number,
    fromSeq: number,
    messagesMax: number,
    _bytesMax: number,
    done: (entries: QueueEntry[], error: Error | null) => void,
  ): void {
    const { clientId, sid } = this.#bound.get(sessionNumber)!;
    this.#site.later(() => {
      const row = this.#site.rows.get(clientId);
      const slots = row === undefined || row.sid !== sid ? [] : row.queue;
      const found = slots.filter(({ seq }) => seq >= fromSeq).slice(0, messagesMax);
      const entries = found.map(({ seq, append, isReleased }) => {
        const { message, qos, retain, subscriptionIds, sharedFilter, sentAs } = append;
        const copy = cloned(message);
        const entry =
          sentAs === null
            ? new QueueEntry(seq, copy, qos, retain, subscriptionIds, true)
            : new SentEntry(seq, copy, qos, retain, subscriptionIds, sentAs);
        entry.sharedFilter = sharedFilter;
        if (isReleased) entry.state = EntryState.RELEASED;
        return entry;
      });
      this.#answer(() => done(entries, null));
    });
  }

  addInboundId(sessionNumber: number, packetId: number): Ticket {
    return this.#write(sessionNumber, (row) => row.inbound.set(packetId, null));
  }

  removeInboundId(sessionNumber: number, packetId: number): Ticket {
    return this.#write(sessionNumber, (row) => row.inbound.delete(packetId));
  }

  putRetained(): Ticket {
    return 0;
  }

  removeRetained(topic: string, version: RetainedVersion | null): Ticket {
    if (version !== null) this.kept.set(topic, version);
    return 0;
  }

  mirrorRetained(topic: string, message: Message | null, version: RetainedVersion | null): Ticket {
    return message === null ? this.removeRetained(topic, version) : 0;
  }

  /** Tombstones the store has. */
  readonly kept: Map<string, RetainedVersion> = new Map();

  forgetTombstone(topic: string): void {
    this.kept.delete(topic);
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }

  #row(clientId: string, sid: string, epoch: number): Row | null {
    const row = this.#site.rows.get(clientId);
    return row !== undefined && row.sid === sid && row.epoch === epoch ? row : null;
  }

  /** A write that somebody waits for, beside the line of tickets. */
  #writeFor(awaited: Awaited | null, sessionNumber: number, change: (row: Row) => unknown): void {
    const { clientId, sid, epoch } = this.#bound.get(sessionNumber)!;
    if (awaited !== null) awaited.unsafeCount++;
    this.#site.later(() => {
      const row = this.#row(clientId, sid, epoch);
      if (row !== null) change(row);
      this.#answer(() => {
        if (row === null) this.#events.fenced(sessionNumber);
        if (awaited === null) return;
        if (row === null) awaited.failed = true;
        awaited.unsafeCount--;
        if (awaited.unsafeCount === 0) awaited.waiter?.messageSafe();
      });
    });
  }

  /** A write of an owner: refused once another has the session. */
  #write(sessionNumber: number, change: (row: Row) => unknown): Ticket {
    const ticket = ++this.#ticket;
    const { clientId, sid, epoch } = this.#bound.get(sessionNumber)!;
    this.#site.later(() => {
      const row = this.#row(clientId, sid, epoch);
      if (row !== null) change(row);
      this.#answer(() => {
        if (row === null) this.#events.fenced(sessionNumber);
        this.#store.committed(ticket, row === null ? new Error('fenced') : null);
      });
    });
    return ticket;
  }
}

function cloned(message: Message): Message {
  const { sequence, topic, bodyStart, payloadStart, bodyEnd } = message;
  const slab = Buffer.from(message.slab);
  const { properties, qos, retain, expiresAtMs } = message;
  const made = [bodyStart, payloadStart, bodyEnd, properties, qos, retain, expiresAtMs] as const;
  const copy = new Message(sequence, topic, slab, ...made);
  copy.version = message.version;
  return copy;
}
