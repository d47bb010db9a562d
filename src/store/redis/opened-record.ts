/**
 * What `session_open` answers, as the core wants it. A part that cannot be decoded is set aside and
 * counted; the rest of the session goes on.
 */
import type { OpenedRecord, PendingInbound } from '../../core/cluster-ports.ts';
import { RecordDamage } from '../embedded/damage.ts';
import type { OpenReply } from './functions/session-open.ts';
import { decodeMessage, decodePending } from './message-value.ts';
import { NewerRecord } from './record-version.ts';
import { decodeSubscriptions } from './subscriptions-codec.ts';

/** Told of every value that could not be decoded. */
export type Quarantine = (clientId: string, what: string, error: Error) => void;

/** Null: it was damaged, or of a newer release, and is set aside. */
export function soundOrNull<T>(
  decode: () => T,
  quarantine: Quarantine,
  clientId: string,
  what: string,
): T | null {
  try {
    return decode();
  } catch (error) {
    if (!(error instanceof RecordDamage) && !(error instanceof NewerRecord)) throw error;
    quarantine(clientId, what, error);
    return null;
  }
}

export function openedRecord(
  clientId: string,
  reply: Extract<OpenReply, { kind: 'opened' }>,
  quarantine: Quarantine,
): OpenedRecord {
  const saved = soundOrNull(
    () => decodeSubscriptions(reply.rec),
    quarantine,
    clientId,
    'subscriptions',
  );
  // Without its subscriptions it is no session a client may rely on: it has to subscribe anew.
  const present = reply.present && saved !== null;
  const pending: PendingInbound[] = [];
  const inboundIds: number[] = [];
  for (const { packetId, pending: waiting } of reply.inbound) {
    if (present) inboundIds.push(packetId);
    if (waiting === null) continue;
    const found = soundOrNull(
      () => decodePending(waiting.value),
      quarantine,
      clientId,
      'inbound message',
    );
    if (found !== null) {
      const { publisherSeq, publisherEpoch } = waiting;
      pending.push({ packetId, ...found, publisherSeq, publisherEpoch });
    }
  }
  // Queues drop what is not above the last of this publisher: the order it was sent in.
  pending.sort((a, b) => a.publisherEpoch - b.publisherEpoch || a.publisherSeq - b.publisherSeq);
  const { oldWill } = reply;
  const will =
    oldWill === null
      ? null
      : soundOrNull(() => decodeMessage(oldWill.value), quarantine, clientId, 'will');
  return {
    epoch: reply.epoch,
    sid: reply.sid,
    present,
    subscriptions: saved?.subscriptions ?? [],
    counter: reply.counter,
    turns: saved?.turns ?? [],
    headSeq: reply.head + 1,
    tailSeq: reply.tail,
    queuedBytes: reply.bytes,
    releasedSeqs: reply.marks.released,
    settledSeqs: reply.marks.settled,
    inboundIds,
    pending,
    publisherSeq: reply.publisherSeq,
    oldWill:
      oldWill === null || will === null
        ? null
        : { message: will, isDue: true, sid: oldWill.sid, epoch: oldWill.epoch },
  };
}
