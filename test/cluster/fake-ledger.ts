/**
 * Sessions of a fake site in one table: what Redis would say of owners, epochs, wills and ends. Answers
 * come a turn later, or when a test lets them; calls are counted by name.
 */
import type {
  Incarnation,
  LedgerAnswer,
  LedgerRequest,
  LookAnswer,
  Orphans,
  SessionImage,
  SessionLedger,
} from '../../src/core/cluster-ports.ts';
import { type Message, makeMessage } from '../../src/core/message.ts';
import type { ManualTime } from '../core/manual-time.ts';

export interface Row {
  image: SessionImage;
  will: Message | null;
  willDueMs: number;
  claimedBy: Incarnation | null;
  /** Of the connection before. */
  oldWill: { readonly message: Message; readonly sid: string; readonly epoch: number } | null;
  /** Its time is over. */
  isExpired: boolean;
  /** Who may still have it, besides its owner. */
  before: readonly Incarnation[];
}

export class FakeLedger implements SessionLedger {
  readonly #time: ManualTime;
  readonly rows: Map<string, Row> = new Map();
  isDead: (incarnation: Incarnation) => boolean = () => false;
  mayOpen: (incarnation: Incarnation) => boolean = () => true;
  onSuperseded: (owner: Incarnation, clientId: string, epoch: number) => void = () => {};
  onGivenBack: (image: SessionImage) => void = () => {};
  readonly due_: Set<string> = new Set();
  readonly calls: string[] = [];
  /** Last name of a session's own QoS 2 messages. */
  publisherSeq = 0;
  /** Redis is away. */
  isAway = false;
  /** Answers stand still. */
  isStuck = false;
  readonly #stuck: (() => void)[] = [];

  constructor(time: ManualTime) {
    this.#time = time;
  }

  #later(task: () => void): void {
    if (this.isStuck) this.#stuck.push(task);
    else this.#time.nextTurn(task);
  }

  goOn(): void {
    this.isStuck = false;
    for (const task of this.#stuck.splice(0)) this.#time.nextTurn(task);
  }

  /** Everything is gone. */
  flush(): void {
    this.rows.clear();
    this.due_.clear();
  }

  count(name: string): number {
    return this.calls.filter((call) => call.split(' ')[0] === name).length;
  }

  put(image: SessionImage, will: string | null = null): Row {
    const row: Row = {
      image,
      will: will === null ? null : makeMessage(1, will, Buffer.from('gone')),
      willDueMs: 0,
      claimedBy: null,
      oldWill: null,
      isExpired: false,
      before: [],
    };
    this.rows.set(image.clientId, row);
    return row;
  }

  open(
    owner: Incarnation,
    hlcMs: number,
    newSid: string,
    request: LedgerRequest,
    done: (answer: LedgerAnswer) => void,
  ): void {
    const { clientId, cleanStart, expiryIntervalS } = request;
    this.calls.push(`open ${clientId}`);
    if (this.isAway) {
      this.#later(() => done({ kind: 'unavailable' }));
      return;
    }
    const before = this.rows.get(clientId);
    if (before !== undefined && before.image.identity !== request.identity) {
      this.#later(() => done({ kind: 'foreign' }));
      return;
    }
    if (before === undefined && request.isKnown === true) {
      this.#later(() => done({ kind: 'absent' }));
      return;
    }
    const present = before !== undefined && !cleanStart;
    const epoch = Math.max((before?.image.epoch ?? 0) + 1, hlcMs);
    const previousOwner = before?.image.owner ?? null;
    const image: SessionImage = {
      clientId,
      sid: present ? before.image.sid : newSid,
      epoch,
      counter: present ? before.image.counter : 0,
      owner,
      identity: request.identity,
      tenant: request.tenant,
      expiryIntervalS,
      subscriptions: present ? before.image.subscriptions : [],
    };
    const oldWill =
      before?.will === undefined || before.will === null || previousOwner === null
        ? null
        : { message: before.will, sid: before.image.sid, epoch: before.image.epoch };
    const row = this.put(image, null);
    const previousOwners = [...(before?.before ?? [])];
    if (previousOwner !== null) previousOwners.unshift(previousOwner);
    row.before = previousOwners;
    row.will = request.will?.message ?? null;
    row.oldWill = oldWill;
    const record = {
      epoch,
      sid: image.sid,
      present,
      subscriptions: image.subscriptions,
      counter: image.counter,
      turns: [],
      headSeq: 1,
      tailSeq: 0,
      queuedBytes: 0,
      releasedSeqs: [],
      settledSeqs: [],
      inboundIds: [],
      pending: [],
      publisherSeq: this.publisherSeq,
      oldWill: oldWill === null ? null : { ...oldWill, isDue: true },
    };
    this.#later(() => done({ kind: 'opened', previousOwners, record }));
  }

  leftHeard(): void {}

  adopted(clientId: string, _sid: string, epoch: number): void {
    this.calls.push(`adopted ${clientId} ${epoch}`);
    const row = this.rows.get(clientId);
    if (row?.image.epoch === epoch) row.before = [];
  }

  oldWillSettled(clientId: string, sid: string, epoch: number): void {
    this.calls.push(`oldWillSettled ${clientId}`);
    const row = this.rows.get(clientId);
    if (row?.oldWill?.sid === sid && row.oldWill.epoch === epoch) row.oldWill = null;
  }

  close(
    clientId: string,
    sid: string,
    epoch: number,
    expiryIntervalS: number,
    willDelayS: number,
    done: (outcome: 'closed' | 'ended' | 'fenced' | 'gone') => void,
  ): void {
    this.calls.push(`close ${clientId} ${epoch} ${willDelayS}`);
    const row = this.rows.get(clientId);
    if (row === undefined || row.image.sid !== sid || row.image.epoch !== epoch) {
      this.#later(() => done('fenced'));
      return;
    }
    if (willDelayS < 0) row.will = null;
    row.image = { ...row.image, owner: null };
    if (expiryIntervalS === 0 && row.will === null) {
      this.rows.delete(clientId);
      this.#later(() => done('ended'));
      return;
    }
    if (row.will !== null) this.due_.add(clientId);
    this.#later(() => done('closed'));
  }

  giveBack(
    _owner: Incarnation,
    clientId: string,
    sid: string,
    epoch: number,
    expiryIntervalS: number,
  ): void {
    this.calls.push(`giveBack ${clientId} ${epoch}`);
    this.close(clientId, sid, epoch, expiryIntervalS, -1, () => {});
  }

  orphan(dead: Incarnation, countMax: number, done: (orphans: Orphans | null) => void): void {
    this.calls.push(`orphan ${dead}`);
    if (this.isAway) {
      this.#later(() => done(null));
      return;
    }
    const clientIds: string[] = [];
    let isMore = false;
    for (const row of this.rows.values()) {
      if (row.claimedBy === dead) row.claimedBy = null;
      if (row.image.owner !== dead) continue;
      if (clientIds.length === countMax) {
        isMore = true;
        break;
      }
      row.image = { ...row.image, owner: null };
      clientIds.push(row.image.clientId);
      if (row.will !== null || row.isExpired) this.due_.add(row.image.clientId);
    }
    this.#later(() => done({ clientIds, isMore }));
  }

  due(countMax: number, done: (clientIds: readonly string[] | null) => void): void {
    this.calls.push('due');
    const found = this.isAway ? null : [...this.due_].slice(0, countMax);
    this.#later(() => done(found));
  }

  look(clientId: string, by: Incarnation, done: (answer: LookAnswer) => void): void {
    this.calls.push(`look ${clientId}`);
    const answer = this.#look(clientId, by);
    this.#later(() => done(answer));
  }

  #look(clientId: string, by: Incarnation): LookAnswer {
    if (this.isAway) return { kind: 'unavailable' };
    const row = this.rows.get(clientId);
    if (row === undefined) {
      this.due_.delete(clientId);
      return { kind: 'gone' };
    }
    const { sid, epoch, identity, tenant, owner } = row.image;
    if (owner !== null) return { kind: 'wait', untilMs: 0 };
    if (row.will !== null && row.willDueMs <= this.#time.nowMs) {
      if (row.claimedBy !== null && row.claimedBy !== by) return { kind: 'wait', untilMs: 1 };
      row.claimedBy = by;
      const will = { clientId, identity, tenant, sid, epoch, message: row.will };
      return { kind: 'will', will, epoch };
    }
    if (row.isExpired) {
      this.rows.delete(clientId);
      this.due_.delete(clientId);
      return { kind: 'ended', sid, epoch };
    }
    return { kind: 'wait', untilMs: row.willDueMs };
  }

  willDone(clientId: string, sid: string, epoch: number, done: (isDone: boolean) => void): void {
    this.calls.push(`willDone ${clientId}`);
    if (this.isAway) {
      this.#later(() => done(false));
      return;
    }
    const row = this.rows.get(clientId);
    if (row?.image.sid === sid && row.image.epoch === epoch) {
      row.will = null;
      row.claimedBy = null;
      if (!row.isExpired) this.due_.delete(clientId);
    }
    this.#later(() => done(true));
  }

  unclaim(_clientId: string, _dead: Incarnation, done: (isDone: boolean) => void): void {
    this.#later(() => done(true));
  }

  load(each: (image: SessionImage) => void, done: (isComplete: boolean) => void): void {
    this.calls.push('load');
    const { isAway } = this;
    const images = [...this.rows.values()].map(({ image }) => image);
    this.#later(() => {
      if (!isAway) for (const image of images) each(image);
      done(!isAway);
    });
  }

  /** By client id: tails of queues. */
  readonly tails: Map<string, number> = new Map();

  tailOf(clientId: string, done: (image: SessionImage | null, tailSeq: number) => void): void {
    this.calls.push(`tail ${clientId}`);
    const image = this.isAway ? null : (this.rows.get(clientId)?.image ?? null);
    this.#later(() => done(image, this.tails.get(clientId) ?? 0));
  }

  assert(image: SessionImage, headSeq: number, done: (isWritten: boolean | null) => void): void {
    this.calls.push(`assert ${image.clientId} ${headSeq} ${image.owner ?? '-'}`);
    if (this.isAway) {
      this.#later(() => done(null));
      return;
    }
    const known = this.rows.get(image.clientId);
    const isWritten = known === undefined || known.image.epoch < image.epoch;
    if (isWritten) this.put(image);
    this.#later(() => done(isWritten));
  }
}
