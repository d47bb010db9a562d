/**
 * HalfSipHash-1-3 over UTF-16 units, with a key: whoever chooses the text, a client say, cannot choose
 * where it ends up in a table. For tables that are kept in typed arrays, where a Map would cost more.
 */
export class KeyedHash {
  readonly #k0: number;
  readonly #k1: number;

  /** Two unpredictable 32-bit numbers. */
  constructor(k0: number, k1: number) {
    this.#k0 = k0 | 0;
    this.#k1 = k1 | 0;
  }

  /** Of a number (32 bits) and the units from `start` to `end`; 32 bits, signed: small integers to the engine. */
  of(head: number, text: string, start: number, end: number): number {
    let v0 = this.#k0;
    let v1 = this.#k1;
    let v2 = this.#k0 ^ 0x6c796765;
    let v3 = this.#k1 ^ 0x74656462;
    let word = head | 0;
    let at = start;
    // Words of two units; the last one has what is left, and the length.
    for (let words = 2 + ((end - start) >> 1); ; words--) {
      v3 ^= word;
      v0 = (v0 + v1) | 0;
      v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
      v0 = (v0 << 16) | (v0 >>> 16);
      v2 = (v2 + v3) | 0;
      v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
      v0 = (v0 + v3) | 0;
      v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
      v2 = (v2 + v1) | 0;
      v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
      v2 = (v2 << 16) | (v2 >>> 16);
      v0 ^= word;
      if (words === 1) break;
      if (words > 2) {
        word = text.charCodeAt(at) | (text.charCodeAt(at + 1) << 16);
        at += 2;
      } else {
        word = ((end - start) << 16) | (at < end ? text.charCodeAt(at) : 0);
      }
    }
    v2 ^= 0xff;
    for (let round = 0; round < 3; round++) {
      v0 = (v0 + v1) | 0;
      v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
      v0 = (v0 << 16) | (v0 >>> 16);
      v2 = (v2 + v3) | 0;
      v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
      v0 = (v0 + v3) | 0;
      v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
      v2 = (v2 + v1) | 0;
      v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
      v2 = (v2 << 16) | (v2 >>> 16);
    }
    return v1 ^ v3;
  }
}
