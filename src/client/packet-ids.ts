/**
 * Packet identifiers of one session: 1 to 65535, each used by one exchange at a time, given out in
 * rising order so that an identifier rests as long as possible. [MQTT5-2.2.1-3]
 */

export const PACKET_ID_MAX = 65_535;

const WORDS_MIN = 8;

export class PacketIds {
  readonly #max: number;
  /** A bit for each that has been given out so far. */
  #bits: Uint32Array = new Uint32Array(WORDS_MIN);
  #used = 0;
  #last = 0;

  constructor(max: number = PACKET_ID_MAX) {
    this.#max = max;
  }

  /** A free identifier, or 0 when all are in use. */
  take(): number {
    if (this.#used === this.#max) return 0;
    do {
      this.#last = this.#last === this.#max ? 1 : this.#last + 1;
    } while (this.#isUsed(this.#last));
    const word = this.#last >>> 5;
    if (word >= this.#bits.length) this.#grow();
    this.#bits[word]! |= 1 << (this.#last & 31);
    this.#used++;
    return this.#last;
  }

  release(packetId: number): void {
    if (!this.#isUsed(packetId)) return;
    this.#bits[packetId >>> 5]! &= ~(1 << (packetId & 31));
    this.#used--;
  }

  #isUsed(packetId: number): boolean {
    const word = packetId >>> 5;
    return word < this.#bits.length && (this.#bits[word]! & (1 << (packetId & 31))) !== 0;
  }

  #grow(): void {
    const larger = new Uint32Array(this.#bits.length * 2);
    larger.set(this.#bits);
    this.#bits = larger;
  }
}
