/**
 * One Redis that holds users or rules: reads its files, keeps the connection, and says in the log when
 * it is lost and back. Used by the Redis authenticator and the Redis rule source.
 */
import type { Clock, Log, Random } from '../../core/ports.ts';
import { RedisClient, type RedisReply } from '../../drivers/redis/redis-client.ts';
import { RedisError } from '../../drivers/redis/redis-error.ts';
import { parseRedisUrl, type RedisAddress } from '../../drivers/redis/redis-url.ts';
import { AccessError, orProblem } from '../access-error.ts';
import { type Prepared, prepared } from '../prepared.ts';
import { BackendLog } from './backend-log.ts';
import { ServiceFiles } from './service-files.ts';

/** As in the configuration; files absolute. */
export interface RedisServiceOptions {
  readonly url: string;
  /** Instead of a password in the URL; its first line. */
  readonly passwordFile?: string | undefined;
  readonly caFile?: string | undefined;
  readonly keyPrefix: string;
  readonly timeoutMs: number;
  readonly cacheS: number;
  readonly cacheEntriesMax: number;
}

export interface RedisBackendOptions {
  readonly service: RedisServiceOptions;
  /** Where it is in the configuration: `authentication.redis`. */
  readonly name: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export type RedisBackendAnswer =
  | { readonly kind: 'reply'; readonly reply: RedisReply }
  /** Too many commands wait; nothing was sent. */
  | { readonly kind: 'busy' }
  | { readonly kind: 'unavailable' };

interface Files {
  readonly password: string | null;
  readonly ca: readonly string[] | null;
}

/** Wait for an answer at one time; what is beyond it is refused. */
const COMMANDS_MAX = 1000;
const PARTS = 1_000_000;
const unavailable: RedisBackendAnswer = { kind: 'unavailable' };
const busy: RedisBackendAnswer = { kind: 'busy' };

export class RedisBackend {
  /** Without user and password. */
  readonly display: string;
  readonly #options: RedisBackendOptions;
  readonly #address: RedisAddress;
  readonly #log: BackendLog;
  #client: RedisClient | null = null;
  readonly #retired = new Set<RedisClient>();
  /** What the client was made from. */
  #files: string = '';

  /** Throws an AccessError when the options cannot be used. */
  constructor(options: RedisBackendOptions) {
    this.#options = options;
    const { service, name, clock, log } = options;
    this.#address = orProblem(`${name}.url`, () => parseRedisUrl(service.url));
    if (this.#address.password !== null && service.passwordFile !== undefined) {
      const message = 'there is a password in the URL already; leave one of them out';
      throw new AccessError([{ where: `${name}.passwordFile`, message }]);
    }
    if (
      this.#address.username !== null &&
      this.#address.password === null &&
      service.passwordFile === undefined
    ) {
      const message = 'names a user without a password; add it, or passwordFile';
      throw new AccessError([{ where: `${name}.url`, message }]);
    }
    this.display = this.#address.display;
    this.#log = new BackendLog({ log, clock, backend: name, at: this.display });
  }

  get isUp(): boolean {
    return this.#client?.state === 'up';
  }

  get commandsWaiting(): number {
    return this.#client?.commandsWaiting ?? 0;
  }

  /**
   * Reads the files (an AccessError says what is wrong with them) and tries once to connect. A Redis
   * that is away is no error: the connection goes on trying.
   */
  async open(): Promise<void> {
    const files = await this.#read();
    this.#files = JSON.stringify(files);
    this.#client = this.#make(files);
    await this.#client.start();
  }

  /**
   * Reads the files again, and connects anew when they are others: a connection that works is not
   * given up for one that does not.
   */
  async prepare(): Promise<Prepared> {
    const files = await this.#read();
    const signature = JSON.stringify(files);
    const before = this.#client;
    if (before === null || this.#files === signature) return prepared(() => {});
    const client = this.#make(files);
    await client.start();
    if (client.state !== 'up' && before.state === 'up') {
      client.close();
      const message = 'no connection with the new password or certificates; the old one is kept';
      throw new AccessError([{ where: this.#options.name, message }]);
    }
    const discard = (): void => client.close();
    return prepared(() => {
      // Stopped meanwhile.
      if (this.#client !== before) return discard();
      this.#files = signature;
      this.#client = client;
      this.#retire(before);
    }, discard);
  }

  close(): void {
    for (const client of this.#retired) client.close();
    this.#retired.clear();
    this.#client?.close();
    this.#client = null;
  }

  /** Closed when the last of its commands has had its time. */
  #retire(client: RedisClient): void {
    this.#retired.add(client);
    const close = (): void => {
      this.#retired.delete(client);
      client.close();
    };
    setTimeout(close, this.#options.service.timeoutMs).unref();
  }

  /** Never rejects, and never takes longer than the timeout. */
  async command(args: readonly string[]): Promise<RedisBackendAnswer> {
    const client = this.#client;
    if (client === null) return unavailable;
    try {
      return { kind: 'reply', reply: await client.command(args) };
    } catch (error) {
      if (!(error instanceof RedisError)) {
        this.#log.failed('the command could not be sent');
        return unavailable;
      }
      if (error.code === 'busy') return busy;
      // Being disconnected was said when it began.
      if (error.code !== 'disconnected') this.#log.failed(error.message);
      return unavailable;
    }
  }

  /** An answer came and was not what was expected there. */
  complain(why: string): void {
    this.#log.failed(why);
  }

  #make(files: Files): RedisClient {
    const { service, random } = this.#options;
    const password = files.password ?? this.#address.password;
    const client: RedisClient = new RedisClient({
      address: { ...this.#address, password },
      ca: files.ca,
      commandTimeoutMs: service.timeoutMs,
      commandsMax: COMMANDS_MAX,
      random: () => random.below(PARTS) / PARTS,
      onUp: () => this.#log.answered(),
      onDown: (why) => {
        if (!this.#retired.has(client)) this.#log.failed(why);
      },
    });
    return client;
  }

  async #read(): Promise<Files> {
    const { service, name, log } = this.#options;
    const files = new ServiceFiles(name, log);
    const password = await files.secret('passwordFile', service.passwordFile, readPassword);
    const ca = files.authorities('caFile', service.caFile);
    files.check();
    return { password, ca };
  }
}

function readPassword(text: string): string {
  const [first = ''] = text.split(/\r?\n/, 1);
  if (first === '') throw new Error('its first line is empty');
  return first;
}
