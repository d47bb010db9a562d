/**
 * Where the holder of a region's links keeps what the next one must know: names of messages, and what was
 * subscribed where. On this node alone in its store, with the commit of the message itself; in a datacenter
 * in Redis, once the message is safe, fenced by the epoch of the holder (docs/adr/0022).
 */
import type { LinkInlet } from '../core/link-inlet.ts';
import type { Log, Scheduler, Ticket } from '../core/ports.ts';
import { type AppendIdentity, linkIdentity, OWN_IDENTITY } from '../core/shared-append.ts';
import type { RedisArgument, RedisFunction, RedisPort } from '../drivers/redis/redis-port.ts';
import { Ring } from '../util/ring.ts';
import type { NoteKeeper } from './identity-window.ts';

export interface LinkNotes extends NoteKeeper {
  /** A note and the message it belongs to are durable together; else the note comes after the message. */
  readonly isAtomic: boolean;
  /** They may be written to; false: not yet, or somebody else has them. */
  readonly isTaken: boolean;
  /** Nobody else can have them yet, whether this node may write to them now or not. */
  readonly isKept: boolean;
  /** Calls `each` for all that an earlier holder has left; `done(false)`: they were not got. */
  take(each: (key: string, value: Buffer) => void, done: (isTaken: boolean) => void): void;
  letGo(): void;
  /** For appends of a message that a later holder may have to repeat; rising. */
  nextName(): AppendIdentity;
  /** Once; `failed`: they are somebody else's by now. */
  whenDurable(ticket: Ticket, settled: (failed: boolean) => void): void;
}

/** Of a node alone. */
export class LocalNotes implements LinkNotes {
  readonly isAtomic = true;
  isTaken = false;
  readonly #notes: NoteKeeper;
  readonly #inlet: LinkInlet;
  readonly #found: Map<string, Buffer>;

  /** `found`: at the start of the store. */
  constructor(notes: NoteKeeper, inlet: LinkInlet, found: Map<string, Buffer>) {
    this.#notes = notes;
    this.#inlet = inlet;
    this.#found = found;
  }

  take(each: (key: string, value: Buffer) => void, done: (isTaken: boolean) => void): void {
    for (const [key, value] of this.#found) each(key, value);
    this.#found.clear();
    this.isTaken = true;
    done(true);
  }

  get isKept(): boolean {
    return this.isTaken;
  }

  letGo(): void {}

  putNote(key: string, value: Buffer | null): Ticket {
    return this.#notes.putNote(key, value);
  }

  /** A repetition is known by the commit. */
  nextName(): AppendIdentity {
    return OWN_IDENTITY;
  }

  whenDurable(ticket: Ticket, settled: (failed: boolean) => void): void {
    this.#inlet.whenDurable(ticket, settled);
  }
}

/** Field with the epoch of the holder; no note begins so. */
const HOLDER = '!';
const SCANNED_PER_CALL = 1000;
const NOTES_PER_CALL = 512;
const NOTE_BYTES_PER_CALL = 256 * 1024;
/** A call that failed is made again. */
const AGAIN_MS = 250;

/** Key: notes. Arguments: epoch. 0: a later holder has them. */
export const linksTake: RedisFunction = {
  name: 'links_take_1',
  lua: `
local was = redis.call('HGET', KEYS[1], '${HOLDER}')
if was and tonumber(was) > tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], '${HOLDER}', ARGV[1])
return 1
`,
};

/** Key: notes. Arguments: cursor, count. Answers the next cursor, then field and value of each. */
export const linksScan: RedisFunction = {
  name: 'links_scan_1',
  lua: `
local found = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local answer = {found[1]}
for _, one in ipairs(found[2]) do answer[#answer + 1] = one end
return answer
`,
};

/** Key: notes. Arguments: epoch, then field, s or d, and value of each. 0: they are somebody else's. */
export const linksPut: RedisFunction = {
  name: 'links_put_1',
  lua: `
if redis.call('HGET', KEYS[1], '${HOLDER}') ~= ARGV[1] then return 0 end
for i = 2, #ARGV, 3 do
  if ARGV[i + 1] == 's' then redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
  else redis.call('HDEL', KEYS[1], ARGV[i]) end
end
return 1
`,
};

export interface SharedNotesParts {
  readonly redis: RedisPort;
  readonly keyPrefix: string;
  /** Of the role; 0: this node does not have it. */
  readonly epoch: () => number;
  /** The same, also while this node may not serve. */
  readonly keptEpoch: () => number;
  readonly scheduler: Scheduler;
  readonly log: Log;
  /** Fewer in the simulation. */
  readonly notesPerCall?: number | undefined;
}

interface Waiter {
  readonly ticket: Ticket;
  readonly settled: (failed: boolean) => void;
}

/** Of a datacenter. */
export class SharedNotes implements LinkNotes {
  readonly isAtomic = false;
  readonly #parts: SharedNotesParts;
  readonly #keys: readonly string[];
  /** Under which they were taken; 0: they are not. */
  #epoch = 0;
  /** Rises with each taking and letting go: answers to what was asked before mean nothing. */
  #era = 0;
  #open: Map<string, Buffer | null> = new Map();
  #ticket: Ticket = 1;
  /** Never again the same, as this node may take the notes again under the epoch it had. */
  #nextName = 1;
  #settled: Ticket = 0;
  #isScheduled = false;
  #isWriting = false;
  readonly #waiters: Ring<Waiter> = new Ring();

  constructor(parts: SharedNotesParts) {
    this.#parts = parts;
    this.#keys = [`${parts.keyPrefix}l:{links}:notes`];
  }

  /** Also the role may be had under another epoch by now: Redis came back empty, and has no notes. */
  get isTaken(): boolean {
    return this.#epoch !== 0 && this.#epoch === this.#parts.epoch();
  }

  get isKept(): boolean {
    return this.#epoch !== 0 && this.#epoch === this.#parts.keptEpoch();
  }

  take(each: (key: string, value: Buffer) => void, done: (isTaken: boolean) => void): void {
    this.letGo();
    const era = this.#era;
    const epoch = this.#parts.epoch();
    if (epoch === 0) {
      done(false);
      return;
    }
    const { redis } = this.#parts;
    redis.call(linksTake, this.#keys, [epoch], (failure, reply) => {
      if (era !== this.#era) return;
      if (failure !== null || reply !== 1) done(false);
      else this.#scan(era, '0', each, (isWhole) => this.#taken(epoch, isWhole, done));
    });
  }

  #taken(epoch: number, isWhole: boolean, done: (isTaken: boolean) => void): void {
    if (isWhole) this.#epoch = epoch;
    done(isWhole);
  }

  #scan(
    era: number,
    cursor: string,
    each: (key: string, value: Buffer) => void,
    done: (isWhole: boolean) => void,
  ): void {
    const args = [cursor, SCANNED_PER_CALL];
    this.#parts.redis.call(linksScan, this.#keys, args, (failure, reply) => {
      if (era !== this.#era) return;
      if (failure !== null || !Array.isArray(reply)) {
        done(false);
        return;
      }
      for (let i = 1; i + 1 < reply.length; i += 2) {
        const key = String(reply[i]);
        if (key !== HOLDER) each(key, reply[i + 1] as Buffer);
      }
      const next = String(reply[0]);
      if (next === '0') done(true);
      else this.#scan(era, next, each, done);
    });
  }

  letGo(): void {
    this.#era++;
    this.#epoch = 0;
    this.#open.clear();
    this.#isWriting = false;
    this.#settled = this.#ticket++;
    for (let first = this.#waiters.shift(); first !== undefined; first = this.#waiters.shift()) {
      first.settled(true);
    }
  }

  putNote(key: string, value: Buffer | null): Ticket {
    if (this.#epoch === 0) return 0;
    this.#open.set(key, value);
    this.#schedule();
    return this.#ticket;
  }

  nextName(): AppendIdentity {
    return linkIdentity(this.#epoch, this.#nextName++);
  }

  whenDurable(ticket: Ticket, settled: (failed: boolean) => void): void {
    if (ticket <= this.#settled) settled(this.#epoch === 0);
    else this.#waiters.push({ ticket, settled });
  }

  #schedule(): void {
    if (this.#isScheduled || this.#isWriting) return;
    this.#isScheduled = true;
    this.#parts.scheduler.endOfTurn(() => {
      this.#isScheduled = false;
      this.#write();
    });
  }

  #write(): void {
    if (this.#isWriting || this.#open.size === 0) return;
    const notes = this.#open;
    this.#open = new Map();
    const ticket = this.#ticket++;
    this.#isWriting = true;
    const left = [...notes];
    this.#put(this.#era, left, 0, () => {
      this.#isWriting = false;
      this.#settled = ticket;
      for (let first = this.#waiters.at(0); first !== undefined; first = this.#waiters.at(0)) {
        if (first.ticket > ticket) break;
        this.#waiters.shift();
        first.settled(false);
      }
      this.#write();
    });
  }

  #put(
    era: number,
    notes: readonly (readonly [string, Buffer | null])[],
    from: number,
    done: () => void,
  ): void {
    if (from >= notes.length) {
      done();
      return;
    }
    const args: RedisArgument[] = [this.#epoch];
    const last = Math.min(notes.length, from + (this.#parts.notesPerCall ?? NOTES_PER_CALL));
    let to = from;
    for (let bytes = 0; to < last && bytes < NOTE_BYTES_PER_CALL; to++) {
      const [key, value] = notes[to]!;
      // What is written is what it is now: the page may be written to meanwhile.
      args.push(key, value === null ? 'd' : 's', value === null ? '' : Buffer.from(value));
      bytes += value?.length ?? 0;
    }
    this.#parts.redis.call(linksPut, this.#keys, args, (failure, reply) => {
      if (era !== this.#era) return;
      if (failure !== null) {
        const stop = this.#parts.scheduler.every(AGAIN_MS, () => {
          stop();
          if (era === this.#era) this.#put(era, notes, from, done);
        });
      } else if (reply === 1) {
        this.#put(era, notes, to, done);
      } else {
        this.#parts.log.warn({}, 'another node has the links of this region by now');
        this.letGo();
      }
    });
  }
}
