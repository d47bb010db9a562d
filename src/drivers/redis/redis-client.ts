/**
 * One connection to one Redis that heals itself: it reconnects with growing pauses, notices a server
 * that is connected but deaf, and fails commands at once while there is nobody to take them. Nothing is
 * queued for later. Thin: the protocol is `@redis/client`'s. It knows no key and no command.
 */
import type { RedisClientType } from '@redis/client';
import { describeFailure, RedisError, replyWord } from './redis-error.ts';
import type { RedisAddress } from './redis-url.ts';

export interface RedisClientOptions {
  readonly address: RedisAddress;
  /** Authorities for `rediss://`; null: those of the system. */
  readonly ca: readonly string[] | null;
  /** From the first packet to the end of the login. */
  readonly connectTimeoutMs?: number;
  readonly commandTimeoutMs?: number;
  /** Commands that wait for an answer. */
  readonly commandsMax?: number;
  readonly heartbeatMs?: number;
  /** A server that leaves a PING unanswered for this long is taken for dead. */
  readonly heartbeatTimeoutMs?: number;
  readonly backoffMinMs?: number;
  readonly backoffMaxMs?: number;
  /** In [0, 1). */
  readonly random?: () => number;
  /** Connected and logged in. */
  readonly onUp?: () => void;
  /** Told for every attempt that fails and every connection that is lost; holds no secret. */
  readonly onDown?: (why: string) => void;
}

/** Rises only. */
export interface RedisClientCounters {
  connects: number;
  /** Attempts that failed and connections that were lost. */
  failures: number;
  commands: number;
  /** Commands that failed, by whatever cause. */
  commandErrors: number;
  timeouts: number;
}

export type RedisState = 'idle' | 'connecting' | 'up' | 'waiting' | 'closed';

/** Answers of RESP 2, texts decoded as UTF-8. */
export type RedisReply = null | string | number | readonly RedisReply[];

type Library = typeof import('@redis/client');
type Connection = Pick<RedisClientType, 'sendCommand' | 'connect' | 'destroy' | 'on'>;

interface Pending {
  readonly reject: (error: RedisError) => void;
  readonly timer: NodeJS.Timeout;
}

export class RedisClient {
  readonly counters: Readonly<RedisClientCounters>;
  readonly #counters: RedisClientCounters = {
    connects: 0,
    failures: 0,
    commands: 0,
    commandErrors: 0,
    timeouts: 0,
  };
  readonly #options: Required<Omit<RedisClientOptions, 'onUp' | 'onDown'>>;
  readonly #onUp: () => void;
  readonly #onDown: (why: string) => void;
  #library: Library | null = null;
  #state: RedisState = 'idle';
  #connection: Connection | null = null;
  readonly #pending: Set<Pending> = new Set();
  /** The one deadline of the connection: of its login, of the next PING, of the answer to it. */
  #deadline: NodeJS.Timeout | undefined;
  #retry: NodeJS.Timeout | undefined;
  #attempts = 0;
  #upAtMs = 0;
  #firstAttemptDone: () => void = () => {};

  constructor(options: RedisClientOptions) {
    this.counters = this.#counters;
    this.#onUp = options.onUp ?? (() => {});
    this.#onDown = options.onDown ?? (() => {});
    this.#options = {
      address: options.address,
      ca: options.ca,
      connectTimeoutMs: options.connectTimeoutMs ?? 3000,
      commandTimeoutMs: options.commandTimeoutMs ?? 2000,
      commandsMax: options.commandsMax ?? 10_000,
      heartbeatMs: options.heartbeatMs ?? 1000,
      heartbeatTimeoutMs: options.heartbeatTimeoutMs ?? 2000,
      backoffMinMs: options.backoffMinMs ?? 100,
      backoffMaxMs: options.backoffMaxMs ?? 5000,
      random: options.random ?? Math.random,
    };
  }

  get state(): RedisState {
    return this.#state;
  }

  get commandsWaiting(): number {
    return this.#pending.size;
  }

  /** Resolves after the first attempt, whatever became of it; the client goes on trying by itself. */
  async start(): Promise<void> {
    if (this.#state !== 'idle') throw new Error('the Redis client was started already');
    this.#state = 'connecting';
    // Loaded when it is needed: it costs as much as a tenth of the start of a node.
    this.#library = await import('@redis/client');
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#firstAttemptDone = resolve;
    this.#connect();
    await promise;
  }

  /** Sends one command; arguments travel with their lengths, so none of them can become another. */
  command(args: readonly string[]): Promise<RedisReply> {
    this.#counters.commands += 1;
    const connection = this.#connection;
    if (this.#state === 'closed') return this.#refuse('closed', 'the Redis client is closed');
    if (this.#state !== 'up' || connection === null) {
      return this.#refuse('disconnected', 'not connected to Redis');
    }
    if (this.#pending.size >= this.#options.commandsMax) {
      return this.#refuse('busy', 'too many commands wait for Redis');
    }
    return new Promise((resolve, reject) => {
      const fail = (error: RedisError): void => {
        if (!this.#settle(pending)) return;
        this.#counters.commandErrors += 1;
        reject(error);
      };
      const timer = setTimeout(() => {
        this.#counters.timeouts += 1;
        fail(new RedisError('timeout', 'Redis did not answer in time'));
      }, this.#options.commandTimeoutMs);
      const pending: Pending = { reject: fail, timer };
      this.#pending.add(pending);
      connection.sendCommand<RedisReply>(args as string[]).then(
        (reply) => {
          if (this.#settle(pending)) resolve(reply);
        },
        (error: unknown) => fail(this.#errorOf(error)),
      );
    });
  }

  /** Ends the connection; what waits for an answer fails. */
  close(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    clearTimeout(this.#retry);
    this.#drop(new RedisError('closed', 'the Redis client is closed'));
    this.#firstAttemptDone();
  }

  #refuse(code: 'closed' | 'disconnected' | 'busy', message: string): Promise<never> {
    this.#counters.commandErrors += 1;
    return Promise.reject(new RedisError(code, message));
  }

  #settle(pending: Pending): boolean {
    clearTimeout(pending.timer);
    return this.#pending.delete(pending);
  }

  #errorOf(error: unknown): RedisError {
    if (this.#library !== null && error instanceof this.#library.ErrorReply) {
      const word = replyWord(error.message);
      return new RedisError('reply', `Redis answered ${word === '' ? 'an error' : word}`, word);
    }
    return new RedisError(
      'interrupted',
      `the connection to Redis broke: ${describeFailure(error)}`,
    );
  }

  #connect(): void {
    const { address, ca, connectTimeoutMs } = this.#options;
    this.#state = 'connecting';
    const { username, password, database } = address;
    const socket =
      address.path !== null
        ? { path: address.path, tls: false as const }
        : address.isTls
          ? {
              host: address.host,
              port: address.port,
              tls: true as const,
              minVersion: 'TLSv1.2' as const,
              // Said explicitly, so that no environment variable can switch it off.
              rejectUnauthorized: true,
              ...(ca === null ? {} : { ca: [...ca] }),
            }
          : { host: address.host, port: address.port };
    const connection = (this.#library as Library).createClient({
      RESP: 2,
      socket: { ...socket, connectTimeout: connectTimeoutMs, reconnectStrategy: false },
      ...(username === null ? {} : { username }),
      ...(password === null ? {} : { password }),
      ...(database === 0 ? {} : { database }),
      disableOfflineQueue: true,
      // The commands both would send need rights that an ACL user for logins does not have.
      disableClientInfo: true,
      maintNotifications: 'disabled',
    }) as unknown as Connection;
    this.#connection = connection;
    // The library's own limit ends with the TCP handshake; a server that accepts and then says nothing
    // is met here.
    this.#deadline = setTimeout(
      () => this.#lost(connection, 'no answer to the login in time'),
      connectTimeoutMs,
    );
    const failed = (error: unknown): void => this.#lost(connection, describeFailure(error));
    connection.on('error', failed);
    // Without a password nothing is asked at login, and a server that is deaf would pass for one that
    // is well: it counts as connected when it has answered.
    const greet = async (): Promise<void> => {
      await connection.connect();
      await connection.sendCommand(['PING']);
    };
    greet().then(
      () => this.#up(connection),
      (error: unknown) => {
        if (this.#isPermissionOnly(error)) this.#up(connection);
        else failed(error);
      },
    );
  }

  /** This user may not ask, which is an answer too. */
  #isPermissionOnly(error: unknown): boolean {
    const isReply = this.#library !== null && error instanceof this.#library.ErrorReply;
    return isReply && replyWord(error.message) === 'NOPERM';
  }

  #up(connection: Connection): void {
    if (this.#connection !== connection || this.#state !== 'connecting') return;
    clearTimeout(this.#deadline);
    this.#state = 'up';
    this.#upAtMs = performance.now();
    this.#counters.connects += 1;
    this.#beatLater(connection);
    this.#onUp();
    this.#firstAttemptDone();
  }

  #beatLater(connection: Connection): void {
    this.#deadline = setTimeout(() => this.#beat(connection), this.#options.heartbeatMs);
  }

  #beat(connection: Connection): void {
    this.#deadline = setTimeout(
      () => this.#lost(connection, 'no answer to PING in time'),
      this.#options.heartbeatTimeoutMs,
    );
    const alive = (): void => {
      if (this.#connection !== connection || this.#state !== 'up') return;
      clearTimeout(this.#deadline);
      this.#beatLater(connection);
    };
    connection.sendCommand(['PING']).then(alive, (error: unknown) => {
      if (this.#isPermissionOnly(error)) alive();
      else this.#lost(connection, describeFailure(error));
    });
  }

  #lost(connection: Connection, why: string): void {
    if (this.#connection !== connection || this.#state === 'closed') return;
    this.#counters.failures += 1;
    const { backoffMinMs, backoffMaxMs, random } = this.#options;
    // A connection that is accepted and lost at once does not begin a new count.
    if (this.#state === 'up' && performance.now() - this.#upAtMs >= backoffMaxMs)
      this.#attempts = 0;
    this.#state = 'waiting';
    this.#drop(new RedisError('interrupted', 'the connection to Redis broke'));
    const stepMs = Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(this.#attempts, 30));
    this.#attempts += 1;
    this.#retry = setTimeout(() => this.#connect(), stepMs / 2 + random() * (stepMs / 2));
    this.#onDown(why);
    this.#firstAttemptDone();
  }

  #drop(error: RedisError): void {
    clearTimeout(this.#deadline);
    const connection = this.#connection;
    this.#connection = null;
    for (const pending of [...this.#pending]) pending.reject(error);
    connection?.destroy();
  }
}
