/**
 * Which servers of a Redis Cluster hold which slots: asked with CLUSTER SLOTS of any member that
 * answers, whenever somebody says that the map may be old. It knows nothing of calls.
 */
import { SLOTS } from './hash-slot.ts';
import type { LinkSettings } from './redis-link-options.ts';
import { RedisPipe } from './redis-pipe.ts';
import type { RedisAddress } from './redis-url.ts';
import type { RespReply } from './resp-reader.ts';
import { serverAddress } from './sentinel-watch.ts';

/** `owners[i]` holds first … last, both included. */
export interface SlotRange {
  readonly first: number;
  readonly last: number;
  readonly owner: RedisAddress;
}

export interface ClusterMapHost {
  /** Members that are connected, to be asked first. */
  ask(args: readonly string[], answered: (reply: RespReply | null, of: RedisAddress) => void): void;
  known(): readonly RedisAddress[];
  mapRead(ranges: readonly SlotRange[]): void;
  /** Nobody could be asked. */
  mapMissing(why: string): void;
}

const RANGES_MAX = SLOTS;
const ASK: readonly string[] = ['CLUSTER', 'SLOTS'];
/** Between two readings, when one follows from another. */
const PAUSE_MS = 50;

export class ClusterMap {
  readonly #settings: LinkSettings;
  readonly #host: ClusterMapHost;
  #isAsking = false;
  #isDue = false;
  #isClosed = false;
  #readMs = Number.NEGATIVE_INFINITY;
  #failures = 0;
  #timer: NodeJS.Timeout | undefined;
  #pipe: RedisPipe | null = null;

  constructor(settings: LinkSettings, host: ClusterMapHost) {
    this.#settings = settings;
    this.#host = host;
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#pipe?.close('CLOSED', 'closed');
  }

  /** The map may be old. Cheap to say often. */
  refresh(): void {
    if (this.#isClosed) return;
    if (this.#isAsking || this.#isDue) {
      this.#isDue = true;
      return;
    }
    this.#arrange(Math.max(0, this.#readMs + PAUSE_MS - performance.now()));
  }

  #arrange(pauseMs: number): void {
    this.#isDue = true;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#read(), pauseMs);
  }

  #read(): void {
    if (this.#isClosed) return;
    this.#isDue = false;
    this.#isAsking = true;
    this.#host.ask(ASK, (reply, of) => {
      if (this.#isClosed) return;
      const ranges = this.#rangesOf(reply, of);
      if (ranges !== null) this.#done(ranges);
      else this.#readFrom([...this.#host.known()], 'nobody to ask');
    });
  }

  /** With a connection of its own, as nobody who is connected could be asked. */
  #readFrom(left: RedisAddress[], why: string): void {
    const address = left.shift();
    if (this.#isClosed) return;
    if (address === undefined) {
      this.#isAsking = false;
      this.#failures += 1;
      this.#host.mapMissing(why);
      const { backoffMinMs, backoffMaxMs, random } = this.#settings;
      const stepMs = Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(this.#failures, 30));
      this.#arrange(stepMs / 2 + random() * (stepMs / 2));
      return;
    }
    let ranges: SlotRange[] | null = null;
    this.#pipe = new RedisPipe(address, this.#settings.pipe, {
      pipeOpen: (pipe) => {
        pipe.query(ASK, (reply) => {
          ranges = this.#rangesOf(reply, address);
          pipe.close('NOCLUSTER', 'does not know the slots of a Redis Cluster');
        });
      },
      pipeClosed: (pipe, _code, text) => {
        pipe.abandon();
        this.#pipe = null;
        if (ranges !== null) this.#done(ranges);
        else this.#readFrom(left, `${address.display} ${text}`);
      },
      pipeRead: () => {},
      pipeFlush: () => {},
      pipeBatch: () => {},
      pipeMessage: () => {},
    });
  }

  #done(ranges: readonly SlotRange[]): void {
    this.#isAsking = false;
    this.#failures = 0;
    this.#readMs = performance.now();
    this.#host.mapRead(ranges);
    if (this.#isDue) this.#arrange(PAUSE_MS);
  }

  /** Null: that was no map, or an empty one. */
  #rangesOf(reply: RespReply | null, of: RedisAddress): SlotRange[] | null {
    if (!Array.isArray(reply) || reply.length === 0 || reply.length > RANGES_MAX) return null;
    const ranges: SlotRange[] = [];
    for (const entry of reply) {
      if (!Array.isArray(entry)) return null;
      const [first, last, node] = entry;
      if (!isSlot(first) || !isSlot(last) || !Array.isArray(node)) return null;
      const host = node[0] === null ? '' : `${node[0]}`;
      // A member that does not know its own name is reached as it was.
      const isUnnamed = host === '' || host === '?';
      const owner = serverAddress(of.isTls, isUnnamed ? of.host : host, `${node[1]}`);
      if (owner === null) return null;
      ranges.push({ first, last, owner });
    }
    return ranges;
  }
}

export function isSlot(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < SLOTS;
}
