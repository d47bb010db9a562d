/**
 * A raw-socket MQTT client for the conformance tests: it sends any bytes and says what came
 * back, acknowledges only what a test tells it to, and never repairs anything.
 * Opened by the harness; must not know src/.
 */
import assert from 'node:assert/strict';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type AckType,
  ack,
  type ConnectFields,
  connect,
  disconnect,
  type PacketType,
  PINGREQ,
  type Property,
  type PropertyName,
  type ProtocolVersion,
  publish,
  type Subscription,
  subscribe,
  unsubscribe,
} from './packets.ts';
import { packetLength, property, type ReadPacket, readPacket } from './reader.ts';

/** Longest wait for something that must come; a test fails when it is over. */
export const EXPECT_MS = 15_000;
/** How long silence must last before it counts, after a PINGRESP has shown the way is free. */
export const QUIET_MS = 120;

export type Match = Partial<
  Pick<
    ReadPacket,
    'packetId' | 'reasonCode' | 'sessionPresent' | 'topic' | 'qos' | 'retain' | 'dup'
  >
> & {
  readonly payload?: string;
  readonly reasonCodes?: readonly number[];
  /** Each named property must have this value; undefined: must be absent. */
  readonly properties?: Readonly<Partial<Record<PropertyName, unknown>>>;
};

export interface PublishOptions {
  readonly qos?: number;
  readonly retain?: boolean;
  readonly dup?: boolean;
  readonly packetId?: number;
  readonly properties?: readonly Property[];
}

export interface SubscribeOptions extends Omit<Subscription, 'filter'> {
  readonly packetId?: number;
  readonly properties?: readonly Property[];
}

type Ending = 'close' | null;

export class Client {
  readonly version: ProtocolVersion;
  readonly clientId: string;
  /** The CONNACK of a client that connected. */
  connack!: ReadPacket;
  readonly #socket: net.Socket;
  #buffer: Buffer = Buffer.alloc(0);
  #packets: ReadPacket[] = [];
  #raw: boolean;
  #ending: Ending = null;
  #fault: Error | null = null;
  #wake: (() => void) | null = null;
  #packetId = 100;

  /** With raw, bytes are collected and not parsed. */
  constructor(socket: net.Socket, version: ProtocolVersion, clientId: string, raw = false) {
    this.#socket = socket;
    this.version = version;
    this.clientId = clientId;
    this.#raw = raw;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    // A reset ends a connection as much as an orderly close does.
    socket.on('error', () => this.#end());
    socket.on('end', () => this.#end());
    socket.on('close', () => this.#end());
  }

  #onData(chunk: Buffer): void {
    this.#buffer = Buffer.concat([this.#buffer, chunk]);
    try {
      while (!this.#raw) {
        const length = packetLength(this.#buffer);
        if (length === 0) break;
        const bytes = Buffer.from(this.#buffer.subarray(0, length));
        this.#buffer = this.#buffer.subarray(length);
        this.#packets.push(readPacket(bytes, this.version));
      }
    } catch (error) {
      this.#fault ??= error as Error;
    }
    this.#wake?.();
  }

  #end(): void {
    this.#ending = 'close';
    this.#wake?.();
  }

  async #until(done: () => boolean, timeoutMs: number): Promise<boolean> {
    const deadline = performance.now() + timeoutMs;
    while (!done()) {
      if (this.#fault !== null) throw this.#fault;
      const leftMs = deadline - performance.now();
      if (leftMs <= 0) return false;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      const timer = setTimeout(resolve, leftMs);
      await promise;
      clearTimeout(timer);
    }
    if (this.#fault !== null) throw this.#fault;
    return true;
  }

  get isClosed(): boolean {
    return this.#ending !== null;
  }

  /** Everything received and not parsed yet; all of it in raw mode. */
  get rawBytes(): Buffer {
    return this.#buffer;
  }

  send(...bytes: readonly Buffer[]): void {
    if (!this.#socket.destroyed) this.#socket.write(Buffer.concat(bytes));
  }

  /** A packet identifier this client has not used yet. */
  nextPacketId(): number {
    return this.#packetId++;
  }

  /** The next packet, whatever it is; null when the server closed first. */
  async next(timeoutMs: number = EXPECT_MS): Promise<ReadPacket | null> {
    await this.#until(() => this.#packets.length > 0 || this.#ending !== null, timeoutMs);
    return this.#packets.shift() ?? null;
  }

  /** The next packet must be of this type and have these fields. */
  async expect(
    type: PacketType,
    match: Match = {},
    timeoutMs: number = EXPECT_MS,
  ): Promise<ReadPacket> {
    const got = await this.next(timeoutMs);
    if (got === null) {
      assert.fail(`expected ${type}, but ${this.isClosed ? 'the connection closed' : 'no packet'}`);
    }
    assert.equal(got.type, type, `expected ${type}, got ${describe(got)}`);
    check(got, match);
    return got;
  }

  /** The first packet of this type, leaving others that came before it in the queue. */
  async waitFor(
    type: PacketType,
    match: Match = {},
    timeoutMs: number = EXPECT_MS,
  ): Promise<ReadPacket> {
    const find = (): number =>
      this.#packets.findIndex(
        (one) =>
          one.type === type && (match.packetId === undefined || one.packetId === match.packetId),
      );
    await this.#until(() => find() >= 0 || this.#ending !== null, timeoutMs);
    const [got] = find() >= 0 ? this.#packets.splice(find(), 1) : [];
    if (got === undefined) {
      assert.fail(
        `waited for ${type}, but ${this.isClosed ? 'the connection closed' : 'it did not come'}` +
          `; queue: ${this.#packets.map(describe).join('; ')}`,
      );
    }
    check(got, match);
    return got;
  }

  /** The next packet must be a PUBLISH; it is acknowledged as its QoS asks unless told not to. */
  async message(
    match: Match = {},
    { acknowledge = true, timeoutMs = EXPECT_MS }: MessageOptions = {},
  ): Promise<ReadPacket> {
    const got = await this.expect('PUBLISH', match, timeoutMs);
    if (acknowledge) await this.acknowledge(got);
    return got;
  }

  /** Does the receiver's part of QoS 1 or 2 for a received PUBLISH. */
  async acknowledge(got: ReadPacket): Promise<void> {
    if (got.qos === 1) this.send(ack('PUBACK', got.packetId));
    if (got.qos !== 2) return;
    this.send(ack('PUBREC', got.packetId));
    await this.waitFor('PUBREL', { packetId: got.packetId });
    this.send(ack('PUBCOMP', got.packetId));
  }

  /** No packet but the PINGRESP to our PINGREQ, and the connection stays open. */
  async expectNothing(quietMs: number = QUIET_MS): Promise<void> {
    this.send(PINGREQ);
    await this.expect('PINGRESP');
    await this.expectSilence(quietMs);
  }

  /** Not one byte for this long, without asking. */
  async expectSilence(quietMs: number): Promise<void> {
    await this.#until(() => this.#packets.length > 0 || this.#ending !== null, quietMs);
    const got = this.#packets[0];
    if (got !== undefined) assert.fail(`expected silence, got ${describe(got)}`);
    assert.ok(!this.isClosed, 'expected an open connection, but the server closed it');
  }

  async ping(): Promise<void> {
    this.send(PINGREQ);
    await this.waitFor('PINGRESP');
  }

  /** The server closes without another packet. */
  async expectClose(timeoutMs: number = EXPECT_MS): Promise<void> {
    await this.#until(() => this.#packets.length > 0 || this.#ending !== null, timeoutMs);
    const got = this.#packets[0];
    if (got !== undefined) assert.fail(`expected a close, got ${describe(got)}`);
    assert.ok(this.isClosed, 'expected a close, but the connection is still open');
    this.#socket.destroy();
  }

  /** The server closes; packets of the named types may come first. */
  async closedAfter(
    types: readonly PacketType[],
    timeoutMs: number = EXPECT_MS,
  ): Promise<ReadPacket[]> {
    await this.#until(() => this.#ending !== null, timeoutMs);
    assert.ok(this.isClosed, 'expected a close, but the connection is still open');
    for (const got of this.#packets) {
      assert.ok(types.includes(got.type), `unexpected ${describe(got)} before the close`);
    }
    return this.#packets.splice(0);
  }

  /** MQTT 5: DISCONNECT with one of these reason codes, then close. Before: close only. */
  async expectError(...reasonCodes: readonly number[]): Promise<void> {
    if (this.version === 5) {
      const got = await this.expect('DISCONNECT');
      assert.ok(
        reasonCodes.includes(got.reasonCode),
        `expected DISCONNECT ${hexList(reasonCodes)}, got ${hexList([got.reasonCode])}`,
      );
    }
    await this.expectClose();
  }

  /** MQTT 5: CONNACK with one of these reason codes, then close. Before: close only. */
  async expectRefusal(...reasonCodes: readonly number[]): Promise<void> {
    if (this.version === 5) {
      const got = await this.expect('CONNACK', { sessionPresent: false });
      assert.ok(
        reasonCodes.includes(got.reasonCode),
        `expected CONNACK ${hexList(reasonCodes)}, got ${hexList([got.reasonCode])}`,
      );
    }
    await this.expectClose();
  }

  async subscribe(
    filters: string | readonly (string | Subscription)[],
    options: SubscribeOptions = {},
  ): Promise<ReadPacket> {
    const { packetId = this.nextPacketId(), properties, ...rest } = options;
    const list = typeof filters === 'string' ? [filters] : filters;
    this.send(
      subscribe({
        version: this.version,
        packetId,
        subscriptions: list.map((one) =>
          typeof one === 'string' ? { ...rest, filter: one } : { ...rest, ...one },
        ),
        ...(properties === undefined ? {} : { properties }),
      }),
    );
    const suback = await this.waitFor('SUBACK', { packetId });
    return suback;
  }

  /** Subscribes and insists that every filter was granted. */
  async subscribed(
    filters: string | readonly (string | Subscription)[],
    options: SubscribeOptions = {},
  ): Promise<void> {
    const suback = await this.subscribe(filters, options);
    assert.ok(
      suback.reasonCodes.every((code) => code <= 2),
      `not subscribed: ${hexList(suback.reasonCodes)}`,
    );
  }

  async unsubscribe(...filters: readonly string[]): Promise<ReadPacket> {
    const packetId = this.nextPacketId();
    this.send(unsubscribe({ version: this.version, packetId, filters }));
    return this.waitFor('UNSUBACK', { packetId });
  }

  /** Sends a PUBLISH without waiting for anything; gives the packet identifier it used. */
  sendPublish(
    topic: string | Buffer,
    payload: string | Buffer = '',
    options: PublishOptions = {},
  ): number {
    const packetId = options.packetId ?? this.nextPacketId();
    this.send(publish({ version: this.version, topic, payload, ...options, packetId }));
    return packetId;
  }

  /** Publishes and does the sender's part of the QoS; at QoS 0 a PING shows it was read. */
  async publish(
    topic: string | Buffer,
    payload: string | Buffer = '',
    options: PublishOptions = {},
  ): Promise<void> {
    const packetId = this.sendPublish(topic, payload, options);
    if (options.qos === 1) await this.ackOf('PUBACK', packetId);
    else if (options.qos === 2) {
      await this.ackOf('PUBREC', packetId);
      this.send(ack('PUBREL', packetId));
      await this.ackOf('PUBCOMP', packetId);
    } else await this.ping();
  }

  /** Waits for an acknowledgement of success. */
  async ackOf(type: AckType, packetId: number): Promise<ReadPacket> {
    const got = await this.waitFor(type, { packetId });
    assert.ok(got.reasonCode < 0x80, `${describe(got)} instead of success`);
    return got;
  }

  /** Orderly end: DISCONNECT, then our close; returns when the socket is gone. */
  async disconnect(reasonCode?: number, list?: readonly Property[]): Promise<void> {
    this.send(disconnect(reasonCode, list));
    this.#socket.end();
    await this.#until(() => this.#socket.destroyed || this.#ending !== null, EXPECT_MS);
    this.#socket.destroy();
  }

  /** Cuts the connection without DISCONNECT; the server needs a moment to notice. */
  async drop(): Promise<void> {
    this.#socket.destroy();
    await sleep(60);
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

export interface MessageOptions {
  readonly acknowledge?: boolean;
  readonly timeoutMs?: number;
}

export async function openSocket(host: string, port: number): Promise<net.Socket> {
  const socket = net.connect({ host, port });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.once('connect', resolve);
  socket.once('error', reject);
  await promise;
  socket.off('error', reject);
  return socket;
}

/** Sends CONNECT and insists on acceptance. */
export async function connectClient(client: Client, fields: ConnectFields): Promise<Client> {
  client.send(connect(fields));
  client.connack = await client.expect('CONNACK', { reasonCode: 0 });
  return client;
}

export function hexList(codes: readonly number[]): string {
  return codes.map((code) => `0x${code.toString(16).padStart(2, '0')}`).join(' or ');
}

export function describe(got: ReadPacket): string {
  const codes = got.reasonCodes.length > 0 ? got.reasonCodes : [got.reasonCode];
  const about =
    got.type === 'PUBLISH'
      ? `${got.topic} qos ${got.qos} ${got.retain ? 'retained ' : ''}${got.dup ? 'dup ' : ''}` +
        `"${got.payload.subarray(0, 40).toString()}"`
      : hexList(codes);
  return `${got.type}${got.packetId > 0 ? ` #${got.packetId}` : ''} ${about}`;
}

function check(got: ReadPacket, match: Match): void {
  const where = describe(got);
  for (const [key, wanted] of Object.entries(match)) {
    if (key === 'payload') assert.equal(got.payload.toString(), wanted, `payload of ${where}`);
    else if (key === 'properties') {
      for (const [name, value] of Object.entries(wanted as object)) {
        assert.deepEqual(property(got, name as PropertyName), value, `${name} of ${where}`);
      }
    } else {
      assert.deepEqual(got[key as keyof ReadPacket], wanted, `${key} of ${where}`);
    }
  }
}
