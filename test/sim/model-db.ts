/**
 * The data of the model of Redis: typed values by key, texts as latin1 so that a character is a byte. A
 * function of the broker is one `transact`: its twin sees the keys it declared, empty values vanish as
 * in Redis, and what was there before can be brought back (failover).
 */

export type ModelValue =
  | { readonly type: 'hash'; readonly hash: Map<string, string> }
  | { readonly type: 'list'; list: string[] }
  | { readonly type: 'set'; readonly set: Set<string> }
  | { readonly type: 'zset'; readonly scores: Map<string, number> };

/** Texts are latin1 and become Buffers on their way out. */
export type ModelReply = null | number | string | readonly ModelReply[];

export type Twin = (
  db: ModelDb,
  keys: readonly string[],
  args: readonly string[],
  nowMs: number,
) => ModelReply;

interface Change {
  readonly atMs: number;
  readonly key: string;
  readonly before: ModelValue | undefined;
}

export class ModelDb {
  readonly #values: Map<string, ModelValue> = new Map();
  readonly #changes: Change[] = [];
  readonly #historyMs: number;
  #declared: readonly string[] = [];

  /** `historyMs`: how far `restore` can go back; 0: not at all, and nothing is copied. */
  constructor(historyMs = 0) {
    this.#historyMs = historyMs;
  }

  /** Runs a twin as Redis runs a script: alone, on the keys it names. */
  transact(
    twin: Twin,
    keys: readonly string[],
    args: readonly string[],
    nowMs: number,
  ): ModelReply {
    if (this.#historyMs > 0) {
      for (const key of keys) this.#remember(key, nowMs);
      this.#forget(nowMs);
    }
    this.#declared = keys;
    const reply = twin(this, keys, args, nowMs);
    for (const key of keys) {
      const value = this.#values.get(key);
      if (value !== undefined && sizeOf(value) === 0) this.#values.delete(key);
    }
    return reply;
  }

  /** Undefined: there is no such key. */
  peekHash(key: string): ReadonlyMap<string, string> | undefined {
    const value = this.#get(key, 'hash');
    return value?.type === 'hash' ? value.hash : undefined;
  }

  hash(key: string): Map<string, string> {
    const value = this.#get(key, 'hash') ?? this.#put(key, { type: 'hash', hash: new Map() });
    return (value as { hash: Map<string, string> }).hash;
  }

  list(key: string): string[] {
    const value = this.#get(key, 'list') ?? this.#put(key, { type: 'list', list: [] });
    return (value as { list: string[] }).list;
  }

  setList(key: string, list: string[]): void {
    this.#declare(key);
    this.#values.set(key, { type: 'list', list });
  }

  set(key: string): Set<string> {
    const value = this.#get(key, 'set') ?? this.#put(key, { type: 'set', set: new Set() });
    return (value as { set: Set<string> }).set;
  }

  scores(key: string): Map<string, number> {
    const value = this.#get(key, 'zset') ?? this.#put(key, { type: 'zset', scores: new Map() });
    return (value as { scores: Map<string, number> }).scores;
  }

  remove(keys: readonly string[]): void {
    for (const key of keys) {
      this.#declare(key);
      this.#values.delete(key);
    }
  }

  /** For tests and invariants; not to be changed. */
  values(): ReadonlyMap<string, ModelValue> {
    return this.#values;
  }

  clear(): void {
    this.#values.clear();
    this.#changes.length = 0;
  }

  /** What was written after `sinceMs` is undone; the number of keys that came back. */
  restore(sinceMs: number): number {
    const restored: Set<string> = new Set();
    while (this.#changes.length > 0) {
      const { atMs, key, before } = this.#changes.at(-1)!;
      if (atMs <= sinceMs) break;
      this.#changes.pop();
      if (before === undefined) this.#values.delete(key);
      else this.#values.set(key, before);
      restored.add(key);
    }
    return restored.size;
  }

  #get(key: string, type: ModelValue['type']): ModelValue | undefined {
    this.#declare(key);
    const value = this.#values.get(key);
    if (value !== undefined && value.type !== type) {
      throw new Error(`WRONGTYPE: ${key} is a ${value.type}, not a ${type}`);
    }
    return value;
  }

  #put(key: string, value: ModelValue): ModelValue {
    this.#values.set(key, value);
    return value;
  }

  #declare(key: string): void {
    if (!this.#declared.includes(key)) throw new Error(`${key} was not declared`);
  }

  #remember(key: string, atMs: number): void {
    const value = this.#values.get(key);
    this.#changes.push({ atMs, key, before: value === undefined ? undefined : copyOf(value) });
  }

  #forget(nowMs: number): void {
    let old = 0;
    while (old < this.#changes.length && this.#changes[old]!.atMs < nowMs - this.#historyMs) old++;
    // In larger pieces: each removal moves the rest.
    if (old > 1000 || old === this.#changes.length) this.#changes.splice(0, old);
  }
}

function sizeOf(value: ModelValue): number {
  if (value.type === 'hash') return value.hash.size;
  if (value.type === 'list') return value.list.length;
  return value.type === 'set' ? value.set.size : value.scores.size;
}

function copyOf(value: ModelValue): ModelValue {
  if (value.type === 'hash') return { type: 'hash', hash: new Map(value.hash) };
  if (value.type === 'list') return { type: 'list', list: [...value.list] };
  if (value.type === 'set') return { type: 'set', set: new Set(value.set) };
  return { type: 'zset', scores: new Map(value.scores) };
}
