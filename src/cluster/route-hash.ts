/**
 * Hashes of what a node announces, in 53 bits (two words: 32 and 21), for the digests that heartbeats
 * carry (docs/adr/0011). Not for secrets: nodes that trust each other look for mistakes with it.
 */

/** The two words of a digest, or of one item of it. */
export class HashWords {
  low = 0;
  high = 0;

  clear(): void {
    this.low = 0;
    this.high = 0;
  }

  toggle(other: HashWords): void {
    this.low ^= other.low;
    this.high ^= other.high;
  }

  /** As one number below 2 ** 53. */
  get value(): number {
    return (this.high & HIGH_MASK) * 2 ** 32 + (this.low >>> 0);
  }
}

const HIGH_MASK = 0x1f_ffff;

/** Begins the hash of an item of this kind. */
export function beginHash(words: HashWords, kind: number): void {
  words.low = 0x9e37_79b9 ^ kind;
  words.high = 0x7f4a_7c15 ^ Math.imul(kind + 1, 0x45d9_f3b);
}

export function addNumber(words: HashWords, value: number): void {
  addWord(words, value >>> 0);
  addWord(words, Math.floor(value / 2 ** 32) >>> 0);
}

/** Text with its length, so that two texts in a row never look like another two. */
export function addText(words: HashWords, text: string): void {
  addWord(words, text.length);
  for (let i = 0; i < text.length; i++) addWord(words, text.charCodeAt(i));
}

export function endHash(words: HashWords): void {
  words.low = mix(words.low ^ Math.imul(words.high, 0x9e37_79b1));
  words.high = mix(words.high ^ Math.imul(words.low, 0x85eb_ca77)) & HIGH_MASK;
}

function addWord(words: HashWords, word: number): void {
  words.low = Math.imul(words.low ^ word, 0x0100_0193);
  words.low ^= words.low >>> 15;
  words.high = Math.imul(words.high ^ word, 0x27d4_eb2f);
  words.high ^= words.high >>> 13;
}

function mix(word: number): number {
  let mixed = Math.imul(word ^ (word >>> 16), 0x7feb_352d);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x846c_a68b);
  return mixed ^ (mixed >>> 16);
}
