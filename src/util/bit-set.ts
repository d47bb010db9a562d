/** Small numbers that are in a set, one bit each: a million take 125 kB. */

const SIZE_MIN = 1024;

export class BitSet {
  #bytes: Uint8Array = new Uint8Array(SIZE_MIN);

  add(number: number): void {
    const at = number >>> 3;
    if (at >= this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#bytes.length * 2, at + 1));
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    this.#bytes[at]! |= 1 << (number & 7);
  }

  has(number: number): boolean {
    const byte = this.#bytes[number >>> 3];
    return byte !== undefined && (byte & (1 << (number & 7))) !== 0;
  }
}
