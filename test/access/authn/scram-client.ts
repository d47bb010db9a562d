/**
 * The client's side of SCRAM-SHA-256 (RFC 5802), small, for tests: `authenticate` fits the option of
 * our own MQTT client. Checks the server's signature, and that its nonce begins with the client's.
 */
import { createHash, createHmac, pbkdf2Sync, randomBytes, timingSafeEqual } from 'node:crypto';

const hmac = (key: Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();
const saslName = (name: string): string => name.replaceAll('=', '=3D').replaceAll(',', '=2C');

export class ScramClient {
  readonly #password: string;
  readonly #header: string;
  readonly #nonce: string;
  readonly #bare: string;
  #expected: Buffer | null = null;
  /** The server has proven that it knows the user. */
  isServerProven = false;

  constructor(user: string, password: string, nonce?: string, header = 'n,,') {
    this.#password = password;
    this.#header = header;
    this.#nonce = nonce ?? randomBytes(18).toString('base64');
    this.#bare = `n=${saslName(user)},r=${this.#nonce}`;
  }

  /** What to send next; null at the end. Throws when the server is not what it should be. */
  readonly authenticate = (data: Buffer | null): Buffer | null => {
    if (data === null || data.length === 0) return this.first();
    const text = data.toString();
    if (text.startsWith('r=')) return this.final(text);
    this.verify(text);
    return null;
  };

  first(): Buffer {
    return Buffer.from(this.#header + this.#bare);
  }

  final(serverFirst: string): Buffer {
    const [, nonce = '', salt = '', iterations = ''] =
      /^r=([^,]+),s=([^,]+),i=(\d+)$/.exec(serverFirst) ?? [];
    if (!nonce.startsWith(this.#nonce) || nonce === this.#nonce) throw new Error('nonce');
    const key = Buffer.from(salt, 'base64');
    const salted = pbkdf2Sync(this.#password, key, Number(iterations), 32, 'sha256');
    const clientKey = hmac(salted, 'Client Key');
    const storedKey = createHash('sha256').update(clientKey).digest();
    const binding = Buffer.from(this.#header).toString('base64');
    const withoutProof = `c=${binding},r=${nonce}`;
    const signed = `${this.#bare},${serverFirst},${withoutProof}`;
    const signature = hmac(storedKey, signed);
    const proof = Buffer.from(clientKey.map((byte, i) => byte ^ signature[i]!));
    this.#expected = hmac(hmac(salted, 'Server Key'), signed);
    return Buffer.from(`${withoutProof},p=${proof.toString('base64')}`);
  }

  verify(serverFinal: string): void {
    const given = Buffer.from(serverFinal.slice(2), 'base64');
    const isRight = this.#expected !== null && given.length === this.#expected.length;
    if (!serverFinal.startsWith('v=') || !isRight || !timingSafeEqual(given, this.#expected!)) {
      throw new Error('the server is another');
    }
    this.isServerProven = true;
  }
}
