/**
 * Sessions, or retained topics, a member has told of lately. When it dies its word may have reached some of the others only:
 * whoever has heard it tells all, or one of them would go on with a session that has ended, or without
 * one that there is. Kept for as long as a live member may be without a link to another, and bounded: what
 * is not told again is told when somebody opens the session. Used by peer-tables.ts, retained-sync.ts and
 * cluster.ts; takeover.ts notes ends in one.
 */
const NEWS_MS = 20_000;
const NEWS_MAX = 10_000;

interface News {
  readonly epoch: number;
  readonly atMs: number;
}

export class RecentNews {
  /** By client id or topic, oldest first. */
  readonly #news: Map<string, News> = new Map();

  note(name: string, epoch: number, nowMs: number): void {
    const news = this.#news;
    news.delete(name);
    news.set(name, { epoch, atMs: nowMs });
    for (const [oldest, { atMs }] of news) {
      if (news.size <= NEWS_MAX && nowMs - atMs < NEWS_MS) return;
      news.delete(oldest);
    }
  }

  /** 0: nothing was told. */
  epochOf(name: string): number {
    return this.#news.get(name)?.epoch ?? 0;
  }

  get size(): number {
    return this.#news.size;
  }

  /** Client ids or topics, with the epoch that was told last. */
  *entries(): Iterable<readonly [name: string, epoch: number]> {
    for (const [name, { epoch }] of this.#news) yield [name, epoch];
  }
}
