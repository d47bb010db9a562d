/** What one client, user, tenant, listener or the node has of something countable (data plane). */

export interface CounterTerms {
  /** May change with a reload; what is above it then stays, and only growth is refused. */
  readonly max: number;
}

export class Counter {
  /** Null: all anonymous clients together. */
  readonly key: string | null;
  readonly terms: CounterTerms;
  used = 0;
  /** Sessions and connections that count here. */
  refs = 0;

  constructor(key: string | null, terms: CounterTerms) {
    this.key = key;
    this.terms = terms;
  }

  hasRoom(amount: number): boolean {
    return this.used + amount <= this.terms.max;
  }
}
