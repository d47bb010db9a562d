/**
 * A WebSocket client of a few lines over a raw socket, so that frames can be cut and typed as
 * a test wants. Used by the WebSocket conformance tests only.
 */
import { createHash, randomBytes } from 'node:crypto';
import type net from 'node:net';
import { openSocket } from './client.ts';

const ACCEPT_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

export interface Frame {
  readonly opcode: number;
  readonly data: Buffer;
}

export class WebSocketClient {
  readonly socket: net.Socket;
  /** The subprotocol the server chose, empty for none. */
  protocol = '';
  status = 0;
  isClosed = false;
  readonly frames: Frame[] = [];
  #buffer: Buffer = Buffer.alloc(0);
  #headDone = false;
  #wake: (() => void) | null = null;
  readonly #key = randomBytes(16).toString('base64');

  constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#buffer = Buffer.concat([this.#buffer, chunk]);
      this.#read();
      this.#wake?.();
    });
    const end = (): void => {
      this.isClosed = true;
      this.#wake?.();
    };
    socket.on('error', end);
    socket.on('end', end);
    socket.on('close', end);
  }

  static async open(url: URL, protocols: string): Promise<WebSocketClient> {
    const client = new WebSocketClient(await openSocket(url.hostname, Number(url.port)));
    const offer = protocols === '' ? '' : `Sec-WebSocket-Protocol: ${protocols}\r\n`;
    client.socket.write(
      `GET ${url.pathname} HTTP/1.1\r\nHost: ${url.host}\r\nUpgrade: websocket\r\n` +
        `Connection: Upgrade\r\nSec-WebSocket-Key: ${client.#key}\r\n` +
        `Sec-WebSocket-Version: 13\r\n${offer}\r\n`,
    );
    await client.until(() => client.status !== 0);
    return client;
  }

  #read(): void {
    if (!this.#headDone) {
      const end = this.#buffer.indexOf('\r\n\r\n');
      if (end < 0) return;
      this.#readHead(this.#buffer.subarray(0, end).toString('latin1'));
      this.#buffer = this.#buffer.subarray(end + 4);
    }
    for (;;) {
      const second = this.#buffer[1];
      if (second === undefined) return;
      let length = second & 0x7f;
      let at = 2;
      if (length === 126) {
        if (this.#buffer.length < 4) return;
        length = this.#buffer.readUInt16BE(2);
        at = 4;
      } else if (length === 127) {
        if (this.#buffer.length < 10) return;
        length = Number(this.#buffer.readBigUInt64BE(2));
        at = 10;
      }
      if (this.#buffer.length < at + length) return;
      const data = Buffer.from(this.#buffer.subarray(at, at + length));
      this.frames.push({ opcode: (this.#buffer[0] ?? 0) & 0x0f, data });
      this.#buffer = this.#buffer.subarray(at + length);
    }
  }

  #readHead(head: string): void {
    this.#headDone = true;
    const lines = head.split('\r\n');
    const header = (name: string): string =>
      lines
        .find((line) => line.toLowerCase().startsWith(`${name}:`))
        ?.slice(name.length + 1)
        .trim() ?? '';
    this.status = Number(lines[0]?.split(' ')[1] ?? 0);
    this.protocol = header('sec-websocket-protocol');
    const accept = createHash('sha1')
      .update(this.#key + ACCEPT_GUID)
      .digest('base64');
    if (this.status === 101 && header('sec-websocket-accept') !== accept) this.status = -1;
  }

  async until(done: () => boolean, timeoutMs = 5000): Promise<boolean> {
    const deadline = performance.now() + timeoutMs;
    while (!done() && !this.isClosed) {
      const leftMs = deadline - performance.now();
      if (leftMs <= 0) break;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      const timer = setTimeout(resolve, leftMs);
      await promise;
      clearTimeout(timer);
    }
    return done();
  }

  /** Sends one masked frame; opcode 2 is binary, 1 text, 0 a continuation. */
  send(data: Buffer, opcode = 2, fin = true): void {
    const mask = randomBytes(4);
    const head =
      data.length < 126
        ? Buffer.from([(fin ? 0x80 : 0) | opcode, 0x80 | data.length])
        : Buffer.from([(fin ? 0x80 : 0) | opcode, 0xfe, data.length >> 8, data.length & 0xff]);
    const masked = Buffer.from(data.map((byte, n) => byte ^ (mask[n % 4] ?? 0)));
    this.socket.write(Buffer.concat([head, mask, masked]));
  }

  /** All bytes of the binary frames so far. */
  get bytes(): Buffer {
    return Buffer.concat(
      this.frames.filter(({ opcode }) => opcode === 2 || opcode === 0).map(({ data }) => data),
    );
  }
}
