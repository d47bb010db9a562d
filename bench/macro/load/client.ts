// One connection of the load generator: connects, subscribes, reads frames out of the shared read
// buffer and answers all packets of one read with one write. It is as plain as it can be, because
// its cost decides which broker it can still keep busy. Publishing is in publisher.ts.

import type { Socket, TcpNetConnectOpts } from 'node:net';
import { connect } from 'node:net';
import { connectFrame, disconnectFrame, subscribeFrame } from './frames.ts';
import type { Meter } from './meter.ts';
import type { ClientSpec, Target } from './protocol.ts';

const READ_BYTES = 64 * 1024;
/** Above this the socket says so by `drain`; publishers stop there as well. */
export const UNSENT_BYTES_MAX: number = 32 * 1024;
const SENT_AT_MASK = 1023;
const FILTERS_PER_SUBSCRIBE = 100;

/** All sockets of a process read into these bytes: parsing is synchronous and keeps no view. */
const readBuffer = Buffer.allocUnsafeSlow(READ_BYTES);
/** Answers to one read: no frame that asks for one is shorter than its answer. */
const answers = Buffer.allocUnsafeSlow(READ_BYTES * 2);

export class Client {
  readonly spec: ClientSpec;
  /** QoS > 0 messages sent and not finally acked. */
  inflight = 0;
  acked = 0;
  /** Smaller of the wished window and what the server's Receive Maximum allows. */
  receiveMaximum = 65_535;
  sessionPresent = false;
  /** Called when an ack or a drained socket lets a publisher go on. */
  onRoom: (() => void) | undefined;
  readonly #meter: Meter;
  readonly #version5: boolean;
  readonly #sentAtUs: Int32Array = new Int32Array(SENT_AT_MASK + 1);
  readonly #socket: Socket;
  #carry: Buffer = Buffer.allocUnsafeSlow(256);
  #carryLength = 0;
  #answerLength = 0;
  #nowUs = 0;
  #subscribesPending = 0;
  #nextPacketId = 0;
  #closing = false;
  #closed = false;
  #settle: ((failure: string | undefined) => void) | undefined;
  #gone: (() => void) | undefined;

  constructor(spec: ClientSpec, target: Target, meter: Meter) {
    this.spec = spec;
    this.#meter = meter;
    this.#version5 = target.mqttVersion === 5;
    const options: TcpNetConnectOpts & { writableHighWaterMark: number } = {
      host: target.host,
      port: target.port,
      ...(spec.localAddress === undefined ? {} : { localAddress: spec.localAddress }),
      noDelay: true,
      writableHighWaterMark: UNSENT_BYTES_MAX,
      onread: { buffer: readBuffer, callback: (size) => this.#read(size) },
    };
    const socket = connect(options);
    this.#socket = socket;
    socket.on('connect', () => {
      socket.write(
        connectFrame(
          target.mqttVersion,
          spec.clientId,
          spec.cleanStart,
          target.keepAliveS,
          spec.login,
        ),
      );
    });
    socket.on('drain', () => this.onRoom?.());
    socket.on('error', (error: NodeJS.ErrnoException) => this.#ended(error.code ?? error.message));
    socket.on('close', () => this.#ended('closed by the broker'));
  }

  /** Resolves when CONNACK and every SUBACK came; the value says what went wrong. */
  ready(): Promise<string | undefined> {
    return this.#closed
      ? Promise.resolve('closed')
      : new Promise((resolve) => {
          this.#settle = resolve;
        });
  }

  /** Subscribes and resolves at the last SUBACK. */
  subscribe(filters: readonly string[], qos: number): Promise<string | undefined> {
    const settled = this.ready();
    this.#subscribe(filters, qos);
    return settled;
  }

  /** Bytes the kernel has not taken yet. */
  get unsentBytes(): number {
    return this.#socket.writableLength;
  }

  get usable(): boolean {
    return !this.#closed;
  }

  write(bytes: Buffer): void {
    this.#socket.write(bytes);
  }

  /** Notes when a packet id left, for the ack's latency. */
  noteSent(packetId: number, nowUs: number): void {
    this.#sentAtUs[packetId & SENT_AT_MASK] = nowUs;
  }

  /** DISCONNECT, then waits until the broker closed the connection, two seconds at most. */
  close(): Promise<void> {
    this.#closing = true;
    if (this.#closed) {
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#socket.destroy();
      }, 2000);
      this.#gone = () => {
        clearTimeout(timer);
        resolve();
      };
      this.#socket.end(disconnectFrame);
    });
  }

  #ended(reason: string): void {
    if (this.#closed) {
      return;
    }
    this.#closed = true;
    this.#socket.destroy();
    if (!this.#closing) {
      this.#meter.noteClosed(reason);
    }
    this.#finish(reason);
    this.#gone?.();
    this.onRoom?.();
  }

  #finish(failure: string | undefined): void {
    const settle = this.#settle;
    this.#settle = undefined;
    settle?.(failure);
  }

  #subscribe(filters: readonly string[], qos: number): void {
    const version = this.#version5 ? 5 : 4;
    for (let from = 0; from < filters.length; from += FILTERS_PER_SUBSCRIBE) {
      const some = filters.slice(from, from + FILTERS_PER_SUBSCRIBE);
      this.#nextPacketId++;
      this.#subscribesPending++;
      this.#socket.write(subscribeFrame(version, this.#nextPacketId, some, qos));
    }
  }

  #read(size: number): boolean {
    this.#nowUs = this.#meter.nowUs();
    let offset = this.#carryLength > 0 ? this.#finishCarry(size) : 0;
    offset = this.#parse(readBuffer, offset, size);
    if (offset < size) {
      this.#keep(offset, size);
    }
    if (this.#answerLength > 0) {
      if (!this.#closed) {
        this.#socket.write(Buffer.from(answers.subarray(0, this.#answerLength)));
      }
      this.#answerLength = 0;
    }
    return true;
  }

  /** Keeps the beginning of a frame whose rest has not come yet. */
  #keep(offset: number, end: number): void {
    const length = end - offset;
    this.#reserve(length);
    readBuffer.copy(this.#carry, 0, offset, end);
    this.#carryLength = length;
  }

  #reserve(bytes: number): void {
    if (this.#carry.length < bytes) {
      const larger = Buffer.allocUnsafeSlow(bytes * 2);
      this.#carry.copy(larger, 0, 0, this.#carryLength);
      this.#carry = larger;
    }
  }

  /** Completes the kept frame from the new bytes; answers where the next frame begins. */
  #finishCarry(end: number): number {
    let offset = 0;
    for (;;) {
      const whole = frameLength(this.#carry, this.#carryLength);
      if (whole !== 0) {
        const take = Math.min(whole - this.#carryLength, end - offset);
        this.#reserve(whole);
        readBuffer.copy(this.#carry, this.#carryLength, offset, offset + take);
        this.#carryLength += take;
        offset += take;
        if (this.#carryLength === whole) {
          this.#carryLength = 0;
          this.#parse(this.#carry, 0, whole);
        }
        return offset;
      }
      if (offset === end) {
        return offset;
      }
      this.#carry[this.#carryLength++] = readBuffer[offset++]!;
    }
  }

  /** Reads whole frames; answers where the first incomplete one begins. */
  #parse(bytes: Buffer, from: number, end: number): number {
    const meter = this.#meter;
    const latency = meter.latency;
    const nowUs = this.#nowUs;
    const version5 = this.#version5;
    let received = 0;
    let start = from;
    while (end - start >= 2) {
      let at = start + 1;
      let length = bytes[at++]!;
      if (length > 127) {
        length &= 127;
        let shift = 7;
        let more = true;
        while (more && at < end) {
          const byte = bytes[at++]!;
          length |= (byte & 127) << shift;
          shift += 7;
          more = byte > 127;
        }
        if (more) {
          break;
        }
      }
      const next = at + length;
      if (next > end) {
        break;
      }
      const header = bytes[start]!;
      if ((header & 0xf0) === 0x30) {
        at += 2 + ((bytes[at]! << 8) | bytes[at + 1]!);
        const qos = header & 6;
        if (qos !== 0) {
          this.#answer(qos === 2 ? 0x40 : 0x50, bytes[at]!, bytes[at + 1]!);
          at += 2;
        }
        if (version5) {
          at = afterProperties(bytes, at);
        }
        const sentUs =
          (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
        latency.add(nowUs - sentUs);
        received++;
      } else {
        this.#control(header, bytes, at, next);
      }
      start = next;
    }
    if (received > 0) {
      meter.received += received;
      meter.lastReceivedUs = nowUs;
    }
    return start;
  }

  #answer(header: number, idHigh: number, idLow: number): void {
    const at = this.#answerLength;
    answers[at] = header;
    answers[at + 1] = 2;
    answers[at + 2] = idHigh;
    answers[at + 3] = idLow;
    this.#answerLength = at + 4;
  }

  #control(header: number, bytes: Buffer, at: number, end: number): void {
    switch (header >> 4) {
      case 2:
        this.#connected(bytes, at, end);
        break;
      case 4:
      case 7:
        this.#acknowledged((bytes[at]! << 8) | bytes[at + 1]!);
        break;
      case 5:
        if (this.#version5 && end - at > 2 && bytes[at + 2]! >= 0x80) {
          this.#acknowledged((bytes[at]! << 8) | bytes[at + 1]!);
        } else {
          this.#answer(0x62, bytes[at]!, bytes[at + 1]!);
        }
        break;
      case 6:
        this.#answer(0x70, bytes[at]!, bytes[at + 1]!);
        break;
      case 9:
        this.#subscribed(bytes, at, end);
        break;
      case 14:
        this.#ended(`DISCONNECT 0x${(end > at ? bytes[at]! : 0).toString(16)}`);
        break;
      default:
        break;
    }
  }

  #connected(bytes: Buffer, at: number, end: number): void {
    const code = bytes[at + 1]!;
    if (code !== 0) {
      this.#ended(`CONNACK ${code}`);
      return;
    }
    this.sessionPresent = (bytes[at]! & 1) === 1;
    if (this.#version5) {
      this.receiveMaximum = receiveMaximum(bytes, at + 2, end);
    }
    if (this.spec.filters.length > 0) {
      this.#subscribe(this.spec.filters, this.spec.qos);
    } else {
      this.#finish(undefined);
    }
  }

  #subscribed(bytes: Buffer, at: number, end: number): void {
    const codes = this.#version5 ? afterProperties(bytes, at + 2) : at + 2;
    for (let code = codes; code < end; code++) {
      if (bytes[code]! > 2) {
        this.#ended(`SUBACK 0x${bytes[code]!.toString(16)}`);
        return;
      }
    }
    this.#subscribesPending--;
    if (this.#subscribesPending === 0) {
      this.#finish(undefined);
    }
  }

  #acknowledged(packetId: number): void {
    const meter = this.#meter;
    this.inflight--;
    this.acked++;
    meter.acked++;
    meter.ackLatency.add(this.#nowUs - this.#sentAtUs[packetId & SENT_AT_MASK]!);
    this.onRoom?.();
  }
}

/** Whole length of the frame that begins at 0, or 0 when its length is not there yet. */
function frameLength(bytes: Buffer, available: number): number {
  let length = 0;
  for (let at = 1; at < available && at < 5; at++) {
    const byte = bytes[at]!;
    length |= (byte & 127) << (7 * (at - 1));
    if (byte < 128) {
      return at + 1 + length;
    }
  }
  return 0;
}

function afterProperties(bytes: Buffer, from: number): number {
  let at = from;
  let length = 0;
  let shift = 0;
  let byte = 0;
  do {
    byte = bytes[at++]!;
    length |= (byte & 127) << shift;
    shift += 7;
  } while (byte > 127);
  return at + length;
}

/** Bytes of a CONNACK property's value by its identifier; -2 is a string, -3 a pair of them. */
const connackProperties: ReadonlyMap<number, number> = new Map([
  [0x11, 4],
  [0x12, -2],
  [0x13, 2],
  [0x15, -2],
  [0x16, -2],
  [0x1a, -2],
  [0x1c, -2],
  [0x1f, -2],
  [0x21, 2],
  [0x22, 2],
  [0x24, 1],
  [0x25, 1],
  [0x26, -3],
  [0x27, 4],
  [0x28, 1],
  [0x29, 1],
  [0x2a, 1],
]);

/** The server's Receive Maximum out of a CONNACK's properties. */
function receiveMaximum(bytes: Buffer, from: number, end: number): number {
  let at = from;
  while (at < end && bytes[at]! > 127) {
    at++;
  }
  at++;
  while (at < end) {
    const property = bytes[at++]!;
    const size = connackProperties.get(property);
    if (size === undefined) {
      return 65_535;
    }
    if (property === 0x21) {
      return bytes.readUInt16BE(at);
    }
    if (size > 0) {
      at += size;
    } else {
      at += 2 + bytes.readUInt16BE(at);
      at += size === -3 ? 2 + bytes.readUInt16BE(at) : 0;
    }
  }
  return 65_535;
}
