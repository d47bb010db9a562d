/**
 * Commands to Redis (RESP 2) written one after the other into one Buffer, which leaves in one write.
 * No string is made on the way. Buffers that have been written come back and are used again. It knows
 * no socket and no command.
 */

const CR = 0x0d;
const LF = 0x0a;
const ARRAY = 0x2a;
const BULK = 0x24;
const ZERO = 0x30;

const BYTES = 64 * 1024;
/** A buffer that a burst has made larger than this is not kept. */
const KEPT_BYTES_MAX = 1024 * 1024;
/** Up to here a loop over ASCII is quicker than the call into C++. */
const LOOP_CHARS_MAX = 40;
/** A sign, the digits of any length or count, CR LF. */
const HEADER_BYTES = 16;

export class RespWriter {
  #buffer: Buffer = Buffer.allocUnsafeSlow(BYTES);
  #at = 0;
  #spare: Buffer | null = null;

  /** Bytes written since the last `take`. */
  get length(): number {
    return this.#at;
  }

  /** Begins a command of this many arguments, its name included. */
  command(args: number): void {
    this.#reserve(HEADER_BYTES);
    this.#header(ARRAY, args);
  }

  text(text: string): void {
    const { length } = text;
    this.#reserve(2 * HEADER_BYTES + 3 * length);
    const start = this.#at;
    this.#header(BULK, length);
    const buffer = this.#buffer;
    let at = this.#at;
    let index = 0;
    if (length <= LOOP_CHARS_MAX) {
      for (; index < length; index += 1) {
        const code = text.charCodeAt(index);
        if (code > 0x7f) break;
        buffer[at + index] = code;
      }
    }
    if (index < length) {
      const bytes = buffer.write(text, at);
      if (bytes !== length) {
        // Not ASCII: the length that was assumed is wrong, and its digits may be more.
        this.#at = start;
        this.#header(BULK, bytes);
        at = this.#at;
        buffer.write(text, at);
      }
      at += bytes;
    } else {
      at += length;
    }
    buffer[at] = CR;
    buffer[at + 1] = LF;
    this.#at = at + 2;
  }

  bytes(bytes: Buffer): void {
    const { length } = bytes;
    this.#reserve(2 * HEADER_BYTES + length);
    this.#header(BULK, length);
    bytes.copy(this.#buffer, this.#at);
    this.#at += length;
    this.#buffer[this.#at] = CR;
    this.#buffer[this.#at + 1] = LF;
    this.#at += 2;
  }

  /** Its decimal text, as Redis wants numbers. */
  number(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) {
      this.text(String(value));
      return;
    }
    this.#reserve(3 * HEADER_BYTES);
    const digits = digitsOf(value);
    this.#header(BULK, digits);
    this.#digits(value, digits);
    this.#buffer[this.#at] = CR;
    this.#buffer[this.#at + 1] = LF;
    this.#at += 2;
  }

  /** Arguments that are in their final form already. */
  encoded(bytes: Buffer): void {
    this.#reserve(bytes.length);
    bytes.copy(this.#buffer, this.#at);
    this.#at += bytes.length;
  }

  /** What was written; the writer goes on in another buffer. To be given back with `release`. */
  take(): Buffer {
    const taken = this.#buffer.subarray(0, this.#at);
    this.#at = 0;
    this.#buffer = this.#spare ?? Buffer.allocUnsafeSlow(BYTES);
    this.#spare = null;
    return taken;
  }

  /** Nobody reads `taken` any more. */
  release(taken: Buffer): void {
    const size = taken.buffer.byteLength;
    if (this.#spare !== null || size > KEPT_BYTES_MAX) return;
    this.#spare = Buffer.from(taken.buffer, 0, size);
  }

  #reserve(bytes: number): void {
    const needed = this.#at + bytes;
    if (needed <= this.#buffer.length) return;
    let size = this.#buffer.length * 2;
    while (size < needed) size *= 2;
    const larger = Buffer.allocUnsafeSlow(size);
    this.#buffer.copy(larger, 0, 0, this.#at);
    this.#buffer = larger;
  }

  #header(type: number, count: number): void {
    this.#buffer[this.#at++] = type;
    this.#digits(count, digitsOf(count));
    this.#buffer[this.#at] = CR;
    this.#buffer[this.#at + 1] = LF;
    this.#at += 2;
  }

  #digits(value: number, digits: number): void {
    const end = this.#at + digits;
    let rest = value;
    let at = end;
    // Beyond 31 bits division is in floating point, which is exact for integers but slower.
    while (rest > 0x7fffffff) {
      const next = Math.floor(rest / 10);
      this.#buffer[--at] = ZERO + (rest - next * 10);
      rest = next;
    }
    let small = rest | 0;
    while (at > this.#at) {
      const next = (small / 10) | 0;
      this.#buffer[--at] = ZERO + (small - next * 10);
      small = next;
    }
    this.#at = end;
  }
}

function digitsOf(value: number): number {
  if (value < 10) return 1;
  if (value < 100) return 2;
  if (value < 1000) return 3;
  let digits = 4;
  for (let bound = 10_000; value >= bound; bound *= 10) digits += 1;
  return digits;
}
