/**
 * The two messages a SCRAM client sends (RFC 5802 §7), read strictly: attributes in their order, no
 * mandatory extension, no channel binding. Pure functions; null: not such a message.
 */
import { isUtf8 } from 'node:buffer';

/** Longer ones are no honest client's. */
const MESSAGE_BYTES_MAX = 4096;
const NONCE_CHARACTERS_MAX = 512;
const PROOF_BYTES = 32;

export interface ClientFirst {
  /** `n,,` or `y,,`, with the authorization identity if given: comes back in the final message. */
  readonly gs2Header: string;
  /** Authorization identity; '' when none was asked for. */
  readonly actAs: string;
  readonly user: string;
  readonly nonce: string;
  /** All after the gs2 header, as sent: it is signed. */
  readonly bare: string;
  /** The client insists on channel binding, which MQTT does not offer. */
  readonly wantsBinding: boolean;
}

export interface ClientFinal {
  readonly channelBinding: Buffer;
  readonly nonce: string;
  readonly proof: Buffer;
  /** All before the proof, as sent: it is signed. */
  readonly withoutProof: string;
}

export function readClientFirst(data: Buffer): ClientFirst | null {
  const text = decode(data);
  if (text === null) return null;
  // gs2-cbind-flag "," [ authzid ] "," then the bare message.
  const flagEnd = text.indexOf(',');
  const headerEnd = flagEnd === -1 ? -1 : text.indexOf(',', flagEnd + 1);
  if (headerEnd === -1) return null;
  const flag = text.slice(0, flagEnd);
  const wantsBinding = /^p=[A-Za-z0-9.-]+$/.test(flag);
  if (flag !== 'n' && flag !== 'y' && !wantsBinding) return null;
  const authorization = text.slice(flagEnd + 1, headerEnd);
  let actAs: string | null = '';
  if (authorization !== '') {
    actAs = authorization.startsWith('a=') ? decodeName(authorization.slice(2)) : null;
  }
  const bare = text.slice(headerEnd + 1);
  const [name = '', nonceText = '', ...extensions] = bare.split(',');
  // A mandatory extension (`m=`) would stand before the name, and we know none.
  const user = name.startsWith('n=') ? decodeName(name.slice(2)) : null;
  const nonce = readNonce(nonceText);
  if (actAs === null || user === null || nonce === null || !extensions.every(isExtension)) {
    return null;
  }
  return { gs2Header: text.slice(0, headerEnd + 1), actAs, user, nonce, bare, wantsBinding };
}

export function readClientFinal(data: Buffer): ClientFinal | null {
  const text = decode(data);
  if (text === null) return null;
  const attributes = text.split(',');
  const proofText = attributes.pop() ?? '';
  const [binding = '', nonceText = '', ...extensions] = attributes;
  const channelBinding = binding.startsWith('c=') ? readBase64(binding.slice(2)) : null;
  const nonce = readNonce(nonceText);
  const proof = proofText.startsWith('p=') ? readBase64(proofText.slice(2)) : null;
  if (channelBinding === null || nonce === null || proof?.length !== PROOF_BYTES) return null;
  if (!extensions.every(isExtension)) return null;
  const withoutProof = text.slice(0, text.length - proofText.length - 1);
  return { channelBinding, nonce, proof, withoutProof };
}

function decode(data: Buffer): string | null {
  if (data.length > MESSAGE_BYTES_MAX || !isUtf8(data)) return null;
  const text = data.toString('utf8');
  return text.includes('\0') ? null : text;
}

/** `=2C` is a comma and `=3D` an equals sign; no other `=` may stand in a name. */
function decodeName(text: string): string | null {
  if (text === '' || /=(?!2C|3D)/.test(text)) return null;
  return text.replaceAll('=2C', ',').replaceAll('=3D', '=');
}

/** Printable ASCII but the comma. */
function readNonce(text: string): string | null {
  if (!text.startsWith('r=')) return null;
  const nonce = text.slice(2);
  const isFit = nonce.length <= NONCE_CHARACTERS_MAX && /^[\x21-\x2b\x2d-\x7e]+$/.test(nonce);
  return isFit ? nonce : null;
}

function readBase64(text: string): Buffer | null {
  const bytes = Buffer.from(text, 'base64');
  return text !== '' && bytes.toString('base64') === text ? bytes : null;
}

/** Optional extensions are passed over: a letter with no meaning yet, and a value. */
function isExtension(text: string): boolean {
  return /^[A-Za-z]=./s.test(text) && !/^[acimnprsv]=/.test(text);
}
