/**
 * Another member as this node knows it: a receiver for the core's router, what it has announced, what it
 * was told and has not applied yet. Made by counting-in.ts and dropped by cluster.ts; the other parts
 * keep their notes on it here.
 */
import type { Incarnation, Peer } from '../core/cluster-ports.ts';
import type { Audience } from '../core/outlet.ts';
import { Ring } from '../util/ring.ts';
import type { Member } from './ports.ts';
import { RecentNews } from './recent-news.ts';
import { RouteTable } from './route-table.ts';

interface Unconfirmed {
  readonly position: number;
  readonly frame: Buffer;
}

/** Frames that tables do not repeat are kept up to this size; beyond it everything is told again. */
const KEPT_BYTES_MAX = 16 * 1024 * 1024;

export class PeerNode implements Peer {
  readonly incarnation: Incarnation;
  readonly nodeId: string;
  readonly member: Member;
  readonly audience: Audience;

  /** What it has announced, by what was applied here. */
  table: RouteTable = new RouteTable();
  /** Between its TABLES_BEGIN and TABLES_END: what it had announced before; null: not between. */
  before: RouteTable | null = null;
  /** Sessions it has told of lately. */
  readonly news: RecentNews = new RecentNews();
  /** Retained topics it has changed lately; their versions in place of epochs. */
  readonly retainedNews: RecentNews = new RecentNews();
  /** Its tables have been here once. */
  isTabled = false;
  /** It has said that it counts this node in. */
  hasCountedUs = false;
  /** Monotonic ms when its tables were last asked for; 0: not since they came. */
  tablesAskedMs = 0;
  /** Times its digest was not that of what is held of it. */
  drifts = 0;

  /** The position its first tables ended at; 0: they are being told. */
  tablesEnd = 0;
  /** It has them, and what was sent before to the others is on its way to being applied. */
  isCountingIn = false;
  /** The latest of its heartbeats, by its own clock: what ours echo. */
  heardSentMs = 0;

  /** Frames that tables would not repeat, until it has applied them. */
  #unconfirmed: Ring<Unconfirmed> = new Ring();
  #unconfirmedBytes = 0;
  /** Retained changes it was told were not kept. */
  isForgetful = false;

  constructor(member: Member, audience: Audience) {
    this.member = member;
    this.incarnation = member.incarnation;
    this.nodeId = member.nodeId;
    this.audience = audience;
  }

  /** `frame` was sent at `position`. `mayForget`: it is one of many, and large. */
  keep(position: number, frame: Buffer, mayForget: boolean): void {
    if (mayForget && this.#unconfirmedBytes + frame.length > KEPT_BYTES_MAX) {
      this.isForgetful = true;
      return;
    }
    this.#unconfirmed.push({ position, frame });
    this.#unconfirmedBytes += frame.length;
  }

  confirmed(applied: number): void {
    const line = this.#unconfirmed;
    for (let first = line.at(0); first !== undefined; first = line.at(0)) {
      if (first.position > applied) return;
      line.shift();
      this.#unconfirmedBytes -= first.frame.length;
    }
  }

  /** Takes out what is to be sent again. */
  takeUnconfirmed(): Buffer[] {
    const frames: Buffer[] = [];
    const line = this.#unconfirmed;
    for (let one = line.shift(); one !== undefined; one = line.shift()) frames.push(one.frame);
    this.#unconfirmedBytes = 0;
    return frames;
  }
}
