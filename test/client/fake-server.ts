// A server that says exactly what a test tells it to, for what a real broker does only now and then:
// lost connections, refusals, aliases, silence, nonsense. Reads packets with the wire room.
import net from 'node:net';
import tls from 'node:tls';
import { AckView, decodeAck, encodeAck } from '../../src/wire/ack.ts';
import { type ConnackPacket, encodeConnack } from '../../src/wire/connack.ts';
import { type ConnectPacket, decodeConnect } from '../../src/wire/connect.ts';
import { decodeDisconnect } from '../../src/wire/disconnect.ts';
import { bodyStart, packetEnd } from '../../src/wire/framing.ts';
import { PacketType, packetTypeName } from '../../src/wire/packet-type.ts';
import type { ProtocolVersion } from '../../src/wire/protocol-version.ts';
import { decodePublish, PublishView, topicText } from '../../src/wire/publish.ts';
import { encodeSuback } from '../../src/wire/suback.ts';
import { decodeSubscribe, type SubscribePacket } from '../../src/wire/subscribe.ts';

/** What one packet of the client said, as far as tests ask. */
export interface Seen {
  readonly type: string;
  readonly packetId?: number;
  readonly topic?: string;
  readonly payload?: string;
  readonly qos?: number;
  readonly dup?: boolean;
  readonly reasonCode?: number;
  readonly connect?: ConnectPacket;
  readonly subscribe?: SubscribePacket;
  readonly bytes: Buffer;
}

const WAIT_MS = 15_000;

/** One accepted connection. */
export class Peer {
  readonly socket: net.Socket;
  version: ProtocolVersion = 5;
  #bytes: Buffer = Buffer.alloc(0);
  readonly #packets: Seen[] = [];
  #wake: () => void = () => {};
  isClosed = false;

  constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
      this.#split();
      this.#wake();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.isClosed = true;
      this.#wake();
    });
  }

  #split(): void {
    for (;;) {
      const end = packetEnd(this.#bytes, 0, this.#bytes.length, 1 << 28);
      if (end === -1 || end > this.#bytes.length) return;
      const packet = Buffer.from(this.#bytes.subarray(0, end));
      this.#bytes = this.#bytes.subarray(end);
      this.#packets.push(this.#read(packet));
    }
  }

  #read(bytes: Buffer): Seen {
    const type = bytes[0]! >> 4;
    const name = packetTypeName(type);
    const start = bodyStart(bytes, 0);
    switch (type) {
      case PacketType.CONNECT: {
        const connect = decodeConnect(bytes, start, bytes.length);
        this.version = connect.protocolVersion;
        return { type: name, connect, bytes };
      }
      case PacketType.PUBLISH: {
        const view = new PublishView();
        decodePublish(view, this.version, bytes[0]!, bytes, start, bytes.length, 100);
        const { packetId, qos, dup } = view;
        const payload = bytes.toString('utf8', view.payloadStart, view.payloadEnd);
        return { type: name, packetId, qos, dup, topic: topicText(view), payload, bytes };
      }
      case PacketType.PUBACK:
      case PacketType.PUBREC:
      case PacketType.PUBREL:
      case PacketType.PUBCOMP: {
        const { packetId, reasonCode } = readAck(type, this.version, bytes, start);
        return { type: name, packetId, reasonCode, bytes };
      }
      case PacketType.SUBSCRIBE: {
        const subscribe = decodeSubscribe(this.version, bytes, start, bytes.length);
        return { type: name, packetId: subscribe.packetId, subscribe, bytes };
      }
      case PacketType.DISCONNECT: {
        const { reasonCode } = decodeDisconnect(this.version, bytes, start, bytes.length);
        return { type: name, reasonCode, bytes };
      }
      default:
        return { type: name, bytes };
    }
  }

  /** The next packet, which must be of this type. */
  async expect(type: string): Promise<Seen> {
    const got = await this.next();
    if (got?.type !== type) {
      throw new Error(`expected ${type}, got ${got === null ? 'the end' : got.type}`);
    }
    return got;
  }

  /** The next packet; null when the connection ended first. */
  async next(): Promise<Seen | null> {
    const deadline = performance.now() + WAIT_MS;
    while (this.#packets.length === 0 && !this.isClosed) {
      const leftMs = deadline - performance.now();
      if (leftMs <= 0) throw new Error('no packet came');
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return this.#packets.shift() ?? null;
  }

  /** Packets that are here now. */
  get waiting(): number {
    return this.#packets.length;
  }

  send(bytes: Buffer): void {
    this.socket.write(bytes);
  }

  /** Takes CONNECT and answers it. */
  async accept(connack: Partial<ConnackPacket> = {}): Promise<ConnectPacket> {
    const { connect } = await this.expect('CONNECT');
    this.send(encodeConnack(this.version, { sessionPresent: false, reasonCode: 0, ...connack }));
    return connect!;
  }

  ack(type: number, packetId: number, reasonCode = 0): void {
    this.send(encodeAck(this.version, type, packetId, reasonCode));
  }

  async grant(reasonCodes: readonly number[] = [1]): Promise<Seen> {
    const seen = await this.expect('SUBSCRIBE');
    this.send(encodeSuback(this.version, seen.packetId!, reasonCodes));
    return seen;
  }

  cut(): void {
    this.socket.destroy();
  }
}

function readAck(type: number, version: ProtocolVersion, bytes: Buffer, start: number): AckView {
  const view = new AckView();
  decodeAck(view, type, version, bytes, start, bytes.length);
  return view;
}

/** A PUBLISH of version 5 as raw bytes: properties are given as bytes. */
export function publishBytes(
  topic: string,
  payload: string | Buffer,
  options: {
    readonly qos?: number;
    readonly packetId?: number;
    readonly dup?: boolean;
    readonly properties?: Buffer;
  } = {},
): Buffer {
  const { qos = 0, packetId = 1, dup = false, properties = Buffer.alloc(0) } = options;
  const name = Buffer.from(topic);
  const content = Buffer.from(payload as string);
  const id = qos === 0 ? [] : [packetId >> 8, packetId & 255];
  const body = Buffer.concat([
    Buffer.from([name.length >> 8, name.length & 255]),
    name,
    Buffer.from([...id, properties.length]),
    properties,
    content,
  ]);
  const length: number[] = [];
  let rest = body.length;
  do {
    length.push(rest > 127 ? (rest & 127) | 128 : rest);
    rest >>= 7;
  } while (rest > 0);
  return Buffer.concat([Buffer.from([0x30 | (dup ? 8 : 0) | (qos << 1), ...length]), body]);
}

export class FakeServer {
  readonly #server: net.Server;
  readonly #scheme: string;
  readonly #peers: Peer[] = [];
  readonly #all: Peer[] = [];
  #wake: () => void = () => {};

  constructor(secure: tls.TlsOptions | null) {
    const arrived = (socket: net.Socket): void => this.#arrived(socket);
    this.#server = secure === null ? net.createServer(arrived) : tls.createServer(secure, arrived);
    this.#server.on('tlsClientError', () => {});
    this.#scheme = secure === null ? 'mqtt' : 'mqtts';
  }

  static async start(secure: tls.TlsOptions | null = null, port = 0): Promise<FakeServer> {
    const fake = new FakeServer(secure);
    await new Promise<void>((resolve) => fake.#server.listen(port, '127.0.0.1', resolve));
    return fake;
  }

  get url(): string {
    return `${this.#scheme}://127.0.0.1:${(this.#server.address() as net.AddressInfo).port}`;
  }

  #arrived(socket: net.Socket): void {
    const peer = new Peer(socket);
    this.#peers.push(peer);
    this.#all.push(peer);
    this.#wake();
  }

  /** The next connection. */
  async peer(): Promise<Peer> {
    const deadline = performance.now() + WAIT_MS;
    while (this.#peers.length === 0) {
      const leftMs = deadline - performance.now();
      if (leftMs <= 0) throw new Error('no connection came');
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return this.#peers.shift()!;
  }

  get connections(): number {
    return this.#all.length;
  }

  async stop(): Promise<void> {
    for (const peer of this.#all) peer.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
