/**
 * How nodes of a datacenter write what they say to each other, and note, of sessions that move (docs/adr/0023):
 * a head of JSON, and behind it bytes that are another region's. Between nodes of one release, and from one
 * holder of the links to the next. Pure.
 */
import type { MovingNote, RoamCodec, RoamFrame } from '../../core/roam-frame.ts';
import { decodeFrame, encodeFrame, type Kept } from './frame.ts';

const HEAD_BYTES = 4;
const EMPTY = Buffer.alloc(0);

export const roamCodec: RoamCodec = {
  frame(head, body = EMPTY) {
    const json = Buffer.from(JSON.stringify(head));
    const length = Buffer.alloc(HEAD_BYTES);
    length.writeUInt32BE(json.length);
    return Buffer.concat([length, json, body]);
  },

  readFrame(bytes) {
    const end = HEAD_BYTES + bytes.readUInt32BE(0);
    const head = JSON.parse(bytes.toString('utf8', HEAD_BYTES, end)) as RoamFrame;
    return { head, body: bytes.subarray(end) };
  },

  note: (note) => Buffer.from(JSON.stringify(note)),
  readNote: (bytes) => JSON.parse(bytes.toString('utf8')) as MovingNote,
  entries: (client, entries) => encodeFrame({ client }, entries),
  readEntries: (bytes, nextSequence) => decodeFrame<Kept>(bytes, nextSequence).entries,
  word: (client, to, epoch, by, anew) =>
    encodeFrame({ client, to, epoch, ...(by === null ? {} : { by }), ...anew }),
};
