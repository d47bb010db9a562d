/** WebSocket by hand, for what no library sends: requests and frames as bytes. */
import type { Socket } from 'node:net';
import { until } from './recorder.ts';
import { connectSocket } from './test-client.ts';

export const Opcode = { CONTINUATION: 0, TEXT: 1, BINARY: 2, CLOSE: 8, PING: 9, PONG: 10 } as const;

const MASK = Buffer.from([0x37, 0xfa, 0x21, 0x3d]);

export interface FrameOptions {
  readonly isFinal?: boolean;
  readonly isMasked?: boolean;
}

/** One frame as a client sends it. */
export function frame(opcode: number, payload: Buffer, options: FrameOptions = {}): Buffer {
  const { isFinal = true, isMasked = true } = options;
  const first = (isFinal ? 0x80 : 0) | opcode;
  const maskBit = isMasked ? 0x80 : 0;
  const { length } = payload;
  let head: Buffer;
  if (length < 126) {
    head = Buffer.from([first, maskBit | length]);
  } else if (length < 65_536) {
    head = Buffer.from([first, maskBit | 126, length >> 8, length & 0xff]);
  } else {
    head = Buffer.alloc(10);
    head[0] = first;
    head[1] = maskBit | 127;
    head.writeUIntBE(length, 4, 6);
  }
  if (!isMasked) return Buffer.concat([head, payload]);
  const masked = Buffer.from(payload);
  for (let i = 0; i < masked.length; i += 1) masked[i]! ^= MASK[i % 4]!;
  return Buffer.concat([head, MASK, masked]);
}

export interface Frame {
  readonly opcode: number;
  readonly payload: Buffer;
}

/** A socket that keeps what it reads, and does not end because the broker has. */
export class WireClient {
  readonly socket: Socket;
  bytes: Buffer = Buffer.alloc(0);
  hasEnded = false;
  isClosed = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.bytes = Buffer.concat([this.bytes, chunk]);
    });
    socket.on('end', () => {
      this.hasEnded = true;
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.isClosed = true;
    });
  }

  static async connect(address: string): Promise<WireClient> {
    return new WireClient(await connectSocket({ address, isHalfOpen: true }));
  }

  /** Status line and headers that have come, or ''. */
  get head(): string {
    const end = this.bytes.indexOf('\r\n\r\n');
    return end === -1 ? '' : this.bytes.subarray(0, end).toString('latin1');
  }

  get status(): number {
    return Number(/^HTTP\/1\.1 (\d+) /.exec(this.head)?.[1] ?? 0);
  }

  async answered(): Promise<number> {
    await until(() => this.head !== '' || this.isClosed, 'an HTTP answer');
    return this.status;
  }

  /** What came after the HTTP answer, whole frames only. */
  frames(): Frame[] {
    const found: Frame[] = [];
    let at = this.bytes.indexOf('\r\n\r\n') + 4;
    while (at + 2 <= this.bytes.length) {
      const opcode = this.bytes[at]! & 0x0f;
      let length = this.bytes[at + 1]!;
      let start = at + 2;
      if (length === 126) {
        if (start + 2 > this.bytes.length) break;
        length = this.bytes.readUInt16BE(start);
        start += 2;
      } else if (length === 127) {
        if (start + 8 > this.bytes.length) break;
        length = this.bytes.readUIntBE(start + 2, 6);
        start += 8;
      }
      if (start + length > this.bytes.length) break;
      found.push({ opcode, payload: this.bytes.subarray(start, start + length) });
      at = start + length;
    }
    return found;
  }

  /** The code of the closing frame. */
  async closeCode(): Promise<number> {
    const closing = (): Frame | undefined => this.frames().find(({ opcode }) => opcode === 8);
    await until(() => closing() !== undefined, 'a closing frame');
    return closing()!.payload.readUInt16BE(0);
  }
}

export interface UpgradeOptions {
  readonly path?: string;
  readonly method?: string;
  /** Replaces or, with null, removes headers. */
  readonly headers?: Readonly<Record<string, string | null>>;
  readonly after?: string | Buffer;
}

/** The bytes of an opening handshake. */
export function upgrade(options: UpgradeOptions = {}): Buffer {
  const headers: Record<string, string | null> = {
    Host: '127.0.0.1',
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
    'Sec-WebSocket-Protocol': 'mqtt',
    ...options.headers,
  };
  const lines = Object.entries(headers)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name}: ${value}\r\n`);
  const request = `${options.method ?? 'GET'} ${options.path ?? '/mqtt'} HTTP/1.1\r\n`;
  const after = Buffer.from(options.after ?? '');
  return Buffer.concat([Buffer.from(`${request}${lines.join('')}\r\n`, 'latin1'), after]);
}
