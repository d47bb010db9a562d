/**
 * Asks Sentinels which server is the master, one after the other, and listens to one of them for
 * `+switch-master`. What it hears there is only a hint to ask: a lost message is a delay, as the answer
 * is asked for before every attempt to connect.
 */
import type { LinkSettings } from './redis-link-options.ts';
import { type PipeEvents, RedisPipe } from './redis-pipe.ts';
import type { RedisAddress } from './redis-url.ts';
import { RespError, type RespReply } from './resp-reader.ts';

export type MasterFound = (address: RedisAddress | null, why: string) => void;

const SENTINELS_MAX = 32;
const CHANNEL = '+switch-master';

export class SentinelWatch {
  readonly #settings: LinkSettings;
  readonly #switched: (address: RedisAddress) => void;
  /** The one that answered last is first. */
  readonly #sentinels: RedisAddress[];
  readonly #pipes: Set<RedisPipe> = new Set();
  #listener: RedisPipe | null = null;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(settings: LinkSettings, switched: (address: RedisAddress) => void) {
    this.#settings = settings;
    this.#switched = switched;
    this.#sentinels = [...settings.target.addresses];
  }

  start(): void {
    this.#listen(0);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    for (const pipe of [...this.#pipes]) pipe.close('CLOSED', 'closed');
  }

  /** Calls `found` once, later. */
  locate(found: MasterFound): void {
    this.#ask([...this.#sentinels], 'no Sentinel', found);
  }

  #ask(left: RedisAddress[], why: string, found: MasterFound): void {
    const sentinel = left.shift();
    if (sentinel === undefined || this.#isClosed) {
      this.#settings.pipe.endOfTurn(() => found(null, `no Sentinel names the master: ${why}`));
      return;
    }
    const name = this.#settings.target.masterName as string;
    let isDone = false;
    const next = (what: string): void => {
      if (isDone) return;
      isDone = true;
      this.#ask(left, `${sentinel.display} ${what}`, found);
    };
    this.#open(sentinel, {
      pipeOpen: (pipe) => {
        pipe.query(['SENTINEL', 'get-master-addr-by-name', name], (reply) => {
          const address = this.#addressOf(reply);
          if (address === null) {
            next(reply instanceof RespError ? `answers ${reply.code}` : 'does not know it');
            pipe.close('CLOSED', 'done');
            return;
          }
          pipe.query(['SENTINEL', 'sentinels', name], (others) => {
            this.#learn(others);
            pipe.close('CLOSED', 'done');
          });
          if (isDone) return;
          isDone = true;
          this.#prefer(sentinel);
          found(address, '');
        });
      },
      pipeClosed: (_pipe, _code, text) => next(text),
    });
  }

  /** One connection that stays, to whichever Sentinel takes it. */
  #listen(index: number): void {
    if (this.#isClosed) return;
    const sentinel = this.#sentinels[index % this.#sentinels.length] as RedisAddress;
    this.#listener = this.#open(sentinel, {
      pipeOpen: (pipe) => {
        pipe.greeted();
        pipe.subscribe(CHANNEL);
      },
      pipeMessage: (_pipe, payload) => {
        const [name, , , host, port] = payload.split(' ');
        if (name !== this.#settings.target.masterName) return;
        const address = this.#address(host, port);
        if (address !== null) this.#switched(address);
      },
      pipeClosed: (pipe) => {
        if (this.#listener !== pipe || this.#isClosed) return;
        this.#timer = setTimeout(() => this.#listen(index + 1), this.#settings.probeMs);
      },
    });
  }

  #open(address: RedisAddress, events: Partial<PipeEvents>): RedisPipe {
    const pipe = new RedisPipe(address, this.#settings.sentinelPipe, {
      pipeOpen: () => {},
      pipeRead: () => {},
      pipeFlush: () => {},
      pipeBatch: () => {},
      pipeMessage: () => {},
      ...events,
      pipeClosed: (closed, code, why) => {
        this.#pipes.delete(closed);
        events.pipeClosed?.(closed, code, why);
        closed.abandon();
      },
    });
    this.#pipes.add(pipe);
    return pipe;
  }

  /** The others that watch the same master; names of hosts and numbers only. */
  #learn(reply: RespReply | null): void {
    if (!Array.isArray(reply)) return;
    for (const fields of reply) {
      if (!Array.isArray(fields)) continue;
      const texts = fields.map((field) => `${field}`);
      const at = (name: string): string | undefined => {
        const index = texts.indexOf(name);
        return index === -1 || index % 2 === 1 ? undefined : texts[index + 1];
      };
      const address = this.#address(at('ip'), at('port'));
      const isKnown = this.#sentinels.some((one) => one.display === address?.display);
      if (address === null || isKnown || this.#sentinels.length >= SENTINELS_MAX) continue;
      this.#sentinels.push(address);
    }
  }

  #prefer(sentinel: RedisAddress): void {
    const index = this.#sentinels.indexOf(sentinel);
    if (index > 0) this.#sentinels.unshift(...this.#sentinels.splice(index, 1));
  }

  #addressOf(reply: RespReply | null): RedisAddress | null {
    if (!Array.isArray(reply) || reply.length !== 2) return null;
    return this.#address(`${reply[0]}`, `${reply[1]}`);
  }

  #address(host: string | undefined, port: string | undefined): RedisAddress | null {
    return serverAddress(this.#settings.target.isTls, host ?? '', port ?? '');
  }
}

/** An address as Sentinels and Clusters tell it; null when it is none. */
export function serverAddress(isTls: boolean, host: string, port: string): RedisAddress | null {
  const number = Number(port);
  if (!/^[\w.:%-]{1,255}$/.test(host) || !/^\d{1,5}$/.test(port) || number < 1 || number > 65_535) {
    return null;
  }
  const shown = host.includes(':') ? `[${host}]` : host;
  return {
    host,
    port: number,
    path: null,
    isTls,
    username: null,
    password: null,
    database: 0,
    display: `${isTls ? 'rediss' : 'redis'}://${shown}:${number}`,
  };
}
