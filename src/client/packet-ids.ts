/**
 * Packet identifiers of one session: 1 to 65535, each used by one exchange at a time, given out in
 * rising order so that an identifier rests as long as possible. [MQTT5-2.2.1-3]
 */

export const PACKET_ID_MAX = 65_535;

export class PacketIds {
  readonly #max: number;
  readonly #used: Set<number> = new Set();
  #last = 0;

  constructor(max: number = PACKET_ID_MAX) {
    this.#max = max;
  }

  /** A free identifier, or 0 when all are in use. */
  take(): number {
    if (this.#used.size === this.#max) return 0;
    do {
      this.#last = this.#last === this.#max ? 1 : this.#last + 1;
    } while (this.#used.has(this.#last));
    this.#used.add(this.#last);
    return this.#last;
  }

  release(packetId: number): void {
    this.#used.delete(packetId);
  }
}
