/**
 * The link's own frames (docs/adr/0012): who dials says HELLO and proves with PROOF that it knows the
 * secret; who accepts proves the same in WELCOME, or says REFUSED; PING and ACK keep the connection
 * alive and say what was applied. The proofs cover both HELLO and WELCOME, byte for byte: versions,
 * incarnations, link session and position cannot be changed on the way. Pure functions.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Incarnation } from '../../core/cluster-ports.ts';
import { copyBytes } from '../../util/bytes.ts';
import { FrameReader } from './frame-reader.ts';
import { FRAME_HEADER_BYTES, FrameWriter, writeHeader, writeU53 } from './frame-writer.ts';
import { LinkDamage } from './link-damage.ts';

export const PROTOCOL_MAJOR = 1;
/** 1: ROAM. */
export const PROTOCOL_MINOR = 1;

/** Types from here on have no number in the stream. FrameType has the others. */
export const LINK_TYPE_MIN = 0x80;
export const LinkType = {
  HELLO: 0x80,
  PROOF: 0x81,
  PING: 0x82,
  WELCOME: 0x90,
  ACK: 0x91,
  REFUSED: 0x92,
} as const;

/** Why an acceptor does not go on; said before anybody has proved anything, so it is only a hint. */
export const Refusal = {
  VERSION: 0,
  /** It is of another cluster, or has not heard yet that Redis is a new one. */
  GENERATION: 1,
  /** It is another life than the one that was meant. */
  NOT_ME: 2,
  /** It does not know the dialler as a member. */
  STRANGER: 3,
  SECRET: 4,
} as const;
export type Refusal = (typeof Refusal)[keyof typeof Refusal];

/** For logs, by Refusal. */
export const REFUSAL_TEXTS: readonly string[] = [
  'its protocol version is another',
  'it belongs to another generation of the cluster',
  'it is not the member that was meant',
  'it does not know this node as a member',
  'the secrets differ',
];

const MAGIC = 0x4357_504c; // CWPL
/** Bytes; texts of them are hex. */
export const NONCE_BYTES = 16;
export const LINK_SESSION_BYTES = 8;
const MAC_BYTES = 32;

export interface Hello {
  readonly major: number;
  readonly minor: number;
  readonly generation: string;
  readonly from: Incarnation;
  readonly to: Incarnation;
  readonly release: string;
  /** 16 hex digits; another one when the dialler cannot resume. */
  readonly session: string;
  /** Rises with every connection of this dialler to this acceptor: a late one is told by it. */
  readonly attempt: number;
  readonly nonce: string;
}

export interface Welcome {
  readonly major: number;
  readonly minor: number;
  readonly nonce: string;
  /** Highest number of the link session that was applied; 0: none, or the session is not known. */
  readonly applied: number;
  readonly mac: Buffer;
  /** The part of the body that the proofs cover. */
  readonly proven: Buffer;
}

export function encodeHello(hello: Hello): Buffer {
  const writer = new FrameWriter();
  writer.u32(MAGIC);
  writer.u16(hello.major);
  writer.u16(hello.minor);
  writer.text(hello.generation);
  writer.text(hello.from);
  writer.text(hello.to);
  writer.text(hello.release);
  writer.text(hello.session);
  writer.u53(hello.attempt);
  writer.text(hello.nonce);
  return writer.finish(LinkType.HELLO);
}

/** Of another major version only that is read. */
export function decodeHello(buffer: Buffer, start: number, end: number): Hello {
  const reader = new FrameReader(buffer, start, end);
  if (reader.u32() !== MAGIC) throw new LinkDamage('this is no node of ours');
  const major = reader.u16();
  const minor = reader.u16();
  if (major !== PROTOCOL_MAJOR) {
    const none = '';
    return {
      major,
      minor,
      generation: none,
      from: none,
      to: none,
      release: none,
      session: none,
      attempt: 0,
      nonce: none,
    };
  }
  return {
    major,
    minor,
    generation: reader.text(),
    from: reader.text(),
    to: reader.text(),
    release: reader.text(),
    session: reader.text(),
    attempt: reader.u53(),
    nonce: reader.text(),
  };
}

/** `hello`: the body of the HELLO that it answers. `proven`: what the dialler's proof has to cover. */
export function encodeWelcome(
  secret: string,
  hello: Buffer,
  minor: number,
  nonce: string,
  applied: number,
): { readonly frame: Buffer; readonly proven: Buffer } {
  const writer = new FrameWriter();
  writer.u16(PROTOCOL_MAJOR);
  writer.u16(minor);
  writer.text(nonce);
  writer.u53(applied);
  const at = writer.skip(MAC_BYTES);
  const frame = writer.finish(LinkType.WELCOME);
  const proven = frame.subarray(FRAME_HEADER_BYTES, at);
  proofOf(secret, 'acceptor', hello, proven).copy(frame, at);
  return { frame, proven };
}

export function decodeWelcome(buffer: Buffer, start: number, end: number): Welcome {
  const reader = new FrameReader(buffer, start, end);
  const major = reader.u16();
  const minor = reader.u16();
  const nonce = reader.text();
  const applied = reader.u53();
  const at = reader.take(MAC_BYTES);
  const proven = copyBytes(buffer, start, at);
  return { major, minor, nonce, applied, proven, mac: copyBytes(buffer, at, at + MAC_BYTES) };
}

/** `hello`: the body of the HELLO; `welcome`: what is before the proof in the body of the WELCOME. */
export function proofOf(
  secret: string,
  role: 'dialler' | 'acceptor',
  hello: Buffer,
  welcome: Buffer,
): Buffer {
  // The length keeps the two apart.
  return createHmac('sha256', secret)
    .update(`causeway peer link ${role} ${hello.length}\n`)
    .update(hello)
    .update(welcome)
    .digest();
}

export function isSameProof(one: Buffer, other: Buffer): boolean {
  return one.length === other.length && timingSafeEqual(one, other);
}

export function encodeProof(mac: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + MAC_BYTES);
  mac.copy(frame, FRAME_HEADER_BYTES);
  return writeHeader(frame, LinkType.PROOF);
}

export function decodeProof(buffer: Buffer, start: number, end: number): Buffer {
  const at = new FrameReader(buffer, start, end).take(MAC_BYTES);
  return copyBytes(buffer, at, at + MAC_BYTES);
}

export function encodeAck(applied: number): Buffer {
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + 8);
  writeU53(frame, FRAME_HEADER_BYTES, applied);
  return writeHeader(frame, LinkType.ACK);
}

export function decodeAck(buffer: Buffer, start: number, end: number): number {
  return new FrameReader(buffer, start, end).u53();
}

export function encodeRefused(refusal: Refusal): Buffer {
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + 1);
  frame[FRAME_HEADER_BYTES] = refusal;
  return writeHeader(frame, LinkType.REFUSED);
}

/** For a log. */
export function decodeRefused(buffer: Buffer, start: number, end: number): string {
  const refusal = new FrameReader(buffer, start, end).u8();
  return REFUSAL_TEXTS[refusal] ?? 'it refuses for a reason this release does not know';
}
