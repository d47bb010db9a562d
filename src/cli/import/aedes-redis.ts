/**
 * A connection that reads the Redis an aedes used: values are bytes, commands travel in pipelines, and
 * the first failure ends it, because a migration that has lost its connection begins again. It sends
 * commands that read, and no other.
 */
import { Buffer } from 'node:buffer';
import { MigrationError } from '../../app/migration/migration.ts';
import { describeFailure } from '../../drivers/redis/redis-error.ts';
import type { RedisAddress } from '../../drivers/redis/redis-url.ts';

export type BytesReply = null | number | string | Buffer | readonly BytesReply[];

type Send = (args: readonly string[]) => Promise<BytesReply>;

const CONNECT_MS = 5000;
const SCAN_COUNT = 1000;

export class AedesRedis {
  readonly #send: Send;
  readonly #destroy: () => void;
  readonly #display: string;

  private constructor(send: Send, destroy: () => void, display: string) {
    this.#send = send;
    this.#destroy = destroy;
    this.#display = display;
  }

  /** Throws a MigrationError when there is none, or it may not be used. */
  static async open(address: RedisAddress, ca: readonly string[] | null): Promise<AedesRedis> {
    const { createClient, RESP_TYPES } = await import('@redis/client');
    const { username, password, database, display } = address;
    const tls = { tls: true as const, minVersion: 'TLSv1.2' as const, rejectUnauthorized: true };
    const place =
      address.path !== null
        ? { path: address.path, tls: false as const }
        : {
            host: address.host,
            port: address.port,
            ...(address.isTls ? { ...tls, ...(ca === null ? {} : { ca: [...ca] }) } : {}),
          };
    const client = createClient({
      RESP: 2,
      socket: { ...place, connectTimeout: CONNECT_MS, reconnectStrategy: false },
      ...(username === null ? {} : { username }),
      ...(password === null ? {} : { password }),
      ...(database === 0 ? {} : { database }),
      disableClientInfo: true,
      maintNotifications: 'disabled',
    });
    // Told by the command that fails.
    client.on('error', () => {});
    const bytes = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
    const redis = new AedesRedis(
      (args) => bytes.sendCommand(args as string[]) as unknown as Promise<BytesReply>,
      () => client.destroy(),
      display,
    );
    try {
      await client.connect();
      await redis.read(['PING']);
    } catch (error) {
      redis.close();
      throw redis.#failed(error);
    }
    return redis;
  }

  async read(args: readonly string[]): Promise<BytesReply> {
    try {
      return await this.#send(args);
    } catch (error) {
      throw this.#failed(error);
    }
  }

  /** Sent together; the replies in their order. */
  async readAll(commands: readonly (readonly string[])[]): Promise<BytesReply[]> {
    return Promise.all(commands.map((args) => this.read(args)));
  }

  async readNumber(...args: readonly string[]): Promise<number> {
    return numberOf(await this.read(args));
  }

  /** Every key that begins with a prefix, some more than once. */
  async *keys(prefix: string): AsyncIterable<string> {
    const pattern = `${prefix.replaceAll(/[\\*?[\]]/g, '\\$&')}*`;
    let cursor = '0';
    do {
      const [next, keys] = (await this.read([
        ...['SCAN', cursor, 'MATCH', pattern, 'COUNT', String(SCAN_COUNT)],
      ])) as [Buffer, Buffer[]];
      cursor = next.toString('latin1');
      for (const key of keys) yield key.toString('utf8');
    } while (cursor !== '0');
  }

  /** Fields and values of a hash, some more than once. */
  async *fields(key: string): AsyncIterable<readonly [field: Buffer, value: Buffer]> {
    let cursor = '0';
    do {
      const [next, rows] = (await this.read([
        ...['HSCAN', key, cursor, 'COUNT', String(SCAN_COUNT)],
      ])) as [Buffer, Buffer[]];
      cursor = next.toString('latin1');
      for (let i = 0; i + 1 < rows.length; i += 2) yield [rows[i]!, rows[i + 1]!];
    } while (cursor !== '0');
  }

  close(): void {
    this.#destroy();
  }

  #failed(error: unknown): MigrationError {
    if (error instanceof MigrationError) return error;
    return new MigrationError(`${this.#display} cannot be read: ${describeFailure(error)}`);
  }
}

export function numberOf(reply: BytesReply | undefined): number {
  return typeof reply === 'number' ? reply : Number(reply ?? 0);
}
