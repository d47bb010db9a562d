/**
 * The few parts of DER that a revocation list asks for: one element after another, by offsets into the
 * bytes. Used by `revocation-list.ts` on files of the operator; nothing of a client comes here.
 */

export const INTEGER = 0x02;
export const BIT_STRING = 0x03;
export const OBJECT_ID = 0x06;
export const UTC_TIME = 0x17;
export const GENERALIZED_TIME = 0x18;
export const SEQUENCE = 0x30;
/** `[0]` around something else. */
export const CONTEXT_0 = 0xa0;

export interface DerElement {
  readonly tag: number;
  /** With tag and length. */
  readonly whole: Buffer;
  readonly content: Buffer;
}

export class DerError extends Error {
  override readonly name: string = 'DerError';
}

/** Walks the elements inside one constructed element. */
export class DerReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  /** The tag of the next element, or -1. */
  peek(): number {
    return this.#bytes[this.#at] ?? -1;
  }

  /** The next element; it must have the tag when one is given. */
  next(tag?: number): DerElement {
    const bytes = this.#bytes;
    const start = this.#at;
    const found = this.peek();
    if (found === -1) throw new DerError('ends too early');
    if (tag !== undefined && found !== tag) {
      throw new DerError(`has tag ${found} where ${tag} belongs`);
    }
    // Tags above 30 take more bytes; nothing we read has them.
    if ((found & 0x1f) === 0x1f) throw new DerError(`has tag ${found}, which is not known here`);
    let at = start + 1;
    let length = bytes[at++] ?? -1;
    if (length >= 0x80) {
      const lengthBytes = length - 0x80;
      if (lengthBytes < 1 || lengthBytes > 4) throw new DerError('has a length that is not DER');
      length = 0;
      for (let i = 0; i < lengthBytes; i += 1) length = length * 256 + (bytes[at++] ?? 0);
    }
    if (length < 0 || at + length > bytes.length) throw new DerError('is cut off');
    this.#at = at + length;
    return {
      tag: found,
      whole: bytes.subarray(start, this.#at),
      content: bytes.subarray(at, this.#at),
    };
  }

  /** The next element when it has the tag, else null and nothing is read. */
  take(tag: number): DerElement | null {
    return this.peek() === tag ? this.next(tag) : null;
  }
}

/** The elements inside the one element that `bytes` must be. */
export function openSequence(bytes: Buffer): DerReader {
  const outer = new DerReader(bytes);
  const { content } = outer.next(SEQUENCE);
  if (!outer.isAtEnd) throw new DerError('goes on after its end');
  return new DerReader(content);
}

/** Wall-clock ms of a UTCTime or GeneralizedTime, as RFC 5280 has them: to the second, in UTC. */
export function readTime(element: DerElement): number {
  const text = element.content.toString('latin1');
  const isShort = element.tag === UTC_TIME;
  if (!isShort && element.tag !== GENERALIZED_TIME)
    throw new DerError('has no time where one belongs');
  const match = /^(\d{2}|\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/.exec(text);
  if (match === null || match[1]!.length !== (isShort ? 2 : 4)) {
    throw new DerError('has a time that cannot be read');
  }
  const short = Number(match[1]);
  const year = isShort ? short + (short < 50 ? 2000 : 1900) : short;
  const [month, day, hour, minute, second] = match.slice(2).map(Number) as [
    number,
    number,
    number,
    number,
    number,
  ];
  return Date.UTC(year, month - 1, day, hour, minute, second);
}
