/**
 * Tells a token from a password that is none, and reads the two members of its header that choose the
 * key. The rest of the token is for whoever verifies it.
 */

export interface TokenHeader {
  readonly algorithm: string;
  /** Null: it names no key. */
  readonly keyId: string | null;
}

const DOT = 0x2e;

/**
 * Null: it is no token. A token is three parts between two dots, the first one JSON in base64url with
 * an algorithm. Looks at no more than `headerCharsMax` of the first part.
 */
export function readTokenHeader(text: string, headerCharsMax: number): TokenHeader | null {
  const end = text.indexOf('.');
  if (end < 1 || end > headerCharsMax || countDots(text) !== 2) return null;
  const encoded = text.slice(0, end);
  if (!/^[A-Za-z0-9_-]+$/.test(encoded)) return null;
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(encoded, 'base64url').toString('utf8'));
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  const algorithm = own(value, 'alg');
  if (typeof algorithm !== 'string') return null;
  const keyId = own(value, 'kid');
  return { algorithm, keyId: typeof keyId === 'string' ? keyId : null };
}

function own(value: object, name: 'alg' | 'kid'): unknown {
  return Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
}

function countDots(text: string): number {
  let dots = 0;
  for (let i = 0; i < text.length && dots < 3; i += 1) if (text.charCodeAt(i) === DOT) dots += 1;
  return dots;
}
