/** A directory of sessions that says what it was told, and answers when it is asked to. For tests of the core. */
import type { Awaited } from '../../src/core/awaited.ts';
import type { Session } from '../../src/core/session.ts';
import type { ListedSession, SessionDirectory } from '../../src/core/session-directory.ts';
import { ManualTime } from './manual-time.ts';

export class FakeDirectory implements SessionDirectory {
  moves = true;
  isSure = true;
  /** What a client is told of its subscriptions waits. */
  holdsBack = false;
  epoch = 1;
  readonly told: string[] = [];
  readonly listed: Map<string, ListedSession> = new Map();
  readonly lookups: string[] = [];
  readonly time: ManualTime;
  readonly #asked: (() => void)[] = [];
  readonly #awaited: Awaited[] = [];

  constructor(time: ManualTime = new ManualTime()) {
    this.time = time;
  }

  claimed({ clientId }: Session): void {
    this.told.push(`claimed ${clientId}`);
  }

  released({ clientId }: Session): void {
    this.told.push(`released ${clientId}`);
  }

  changed({ clientId, subscriptions }: Session): void {
    this.told.push(`changed ${clientId} ${[...(subscriptions?.keys() ?? [])]}`);
  }

  awaitListed(_session: Session, awaited: Awaited): void {
    if (!this.holdsBack) return;
    awaited.unsafeCount++;
    this.#awaited.push(awaited);
  }

  /** All that is waited for is written. */
  written(): void {
    for (const awaited of this.#awaited.splice(0)) {
      awaited.unsafeCount--;
      awaited.waiter?.messageSafe();
    }
  }

  left({ clientId }: Session): void {
    this.told.push(`left ${clientId}`);
  }

  ended({ clientId }: Session): void {
    this.told.push(`ended ${clientId}`);
  }

  forget(clientId: string): void {
    this.told.push(`forgot ${clientId}`);
  }

  nextEpoch(): number {
    return ++this.epoch;
  }

  observe(epoch: number): void {
    this.epoch = Math.max(this.epoch, epoch);
  }

  isListed(): boolean {
    return true;
  }

  find(clientId: string, done: (found: ListedSession | null, isSure: boolean) => void): void {
    this.lookups.push(clientId);
    // Nothing to be told of the others.
    if (!this.listed.has(clientId)) this.time.nextTurn(() => done(null, this.isSure));
    else this.#asked.push(() => done(this.listed.get(clientId) ?? null, this.isSure));
  }

  answer(): void {
    for (const asked of this.#asked.splice(0)) asked();
  }

  list(clientId: string, identity: string | null, disconnectedAtMs: number): void {
    this.listed.set(clientId, {
      home: 'far',
      listing: { epoch: 9e15, timeUs: 5, expiryIntervalS: 100 },
      record: {
        ...{ sessionNumber: 0, clientId, identity, tenant: '', protocolVersion: 5, will: null },
        expiryIntervalS: 100,
        disconnectedAtMs,
        subscriptions: [
          {
            ...{ filter: 'wanted/#', qos: 1, noLocal: false, retainAsPublished: false },
            ...{ retainHandling: 0, subscriptionId: 3 },
          },
        ],
      },
    });
  }

  isHome(clientId: string, done: (isHome: boolean) => void): void {
    done(!this.listed.has(clientId));
  }

  taken(): string[] {
    return this.told.splice(0);
  }
}
