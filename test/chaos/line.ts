/**
 * One connection of a chaos client, whatever it runs over: real sockets (link.ts) or a simulated
 * network (test/sim). `PacketCutter` cuts what comes into packets, each held against what a server
 * may send.
 */
import { packetLength, type ReadPacket, readPacket } from '../conformance/reader.ts';

export interface LineEvents {
  readonly opened: () => void;
  readonly packet: (packet: ReadPacket) => void;
  /** Once, however it ended. */
  readonly closed: () => void;
  /** The broker sent what no server may send. */
  readonly fault: (text: string) => void;
}

export interface Line {
  /** Bytes the kernel has not taken. */
  readonly unsentBytes: number;
  send(...packets: readonly Buffer[]): void;
  /** Sends a last packet and ends in order. */
  end(packet: Buffer): void;
  /** Cuts the connection. */
  close(): void;
}

/** Connects to some broker. */
export type Dial = (version: 4 | 5, events: LineEvents) => Line;

export class PacketCutter {
  readonly #version: 4 | 5;
  #rest: Buffer = Buffer.alloc(0);

  constructor(version: 4 | 5) {
    this.#version = version;
  }

  /** Hands whole packets to `packet` while it wants more; throws on bytes no server may send. */
  feed(chunk: Buffer, packet: (packet: ReadPacket) => boolean): void {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    for (;;) {
      const length = packetLength(this.#rest);
      if (length === 0) return;
      const whole = readPacket(this.#rest.subarray(0, length), this.#version);
      this.#rest = this.#rest.subarray(length);
      if (!packet(whole)) return;
    }
  }
}
