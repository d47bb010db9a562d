/**
 * FLUSHALL in a chaos run, and what goes with it: which message of whom was in a queue at that moment is
 * read in the same script, so that nothing else is excused. Used by run-cluster-chaos.ts and
 * region-losses.ts.
 */
import { createClient, RESP_TYPES } from '@redis/client';
import { MessageMemory } from '../../src/store/embedded/message-codec.ts';
import { decodeEntry } from '../../src/store/redis/entry-codec.ts';
import type { Ledger } from './ledger.ts';
import { readPayload } from './stage.ts';

const EMPTY = `local found = {}
for _, key in ipairs(redis.call('KEYS', '*}:q')) do
  found[#found + 1] = key
  found[#found + 1] = redis.call('LRANGE', key, 1, -1)
end
redis.call('FLUSHALL')
return found`;

export interface LostEntry {
  readonly clientId: string;
  /** Of a shared subscription. */
  readonly group: string | undefined;
  readonly topic: string;
  readonly retain: boolean;
  readonly payload: Buffer;
}

/** Answers what was in queues. */
export async function emptyRedis(url: string): Promise<LostEntry[]> {
  const client = createClient({ url, RESP: 2, disableClientInfo: true });
  client.on('error', () => {});
  await client.connect();
  let answer: unknown[];
  try {
    const raw = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
    answer = (await raw.sendCommand(['EVAL', EMPTY, '0'])) as unknown[];
  } finally {
    client.destroy();
  }
  const memory = new MessageMemory();
  const lost: LostEntry[] = [];
  for (let index = 0; index < answer.length; index += 2) {
    const key = (answer[index] as Buffer).toString();
    const clientId = key.slice(key.indexOf('{') + 1, -3);
    for (const value of answer[index + 1] as Buffer[]) {
      if (value.length === 0) continue;
      const { message, sharedFilter } = decodeEntry(value, 1, memory).entry;
      const { topic, retain } = message;
      const payload = Buffer.from(message.payload);
      lost.push({ clientId, group: sharedFilter?.split('/')[1], topic, retain, payload });
    }
  }
  return lost;
}

/** In the books of a datacenter: all of that may be missing, and nothing else. */
export function excuse(ledger: Ledger, lost: readonly LostEntry[]): void {
  ledger.storeLost();
  for (const { clientId, group, payload } of lost) {
    const { stream, seq } = readPayload(payload);
    if (!Number.isInteger(stream)) continue;
    ledger.mayMiss(group === undefined ? clientId : `group ${group}`, stream, seq);
  }
}
