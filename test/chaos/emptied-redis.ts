/**
 * FLUSHALL in a chaos run, and what goes with it: which message of whom was in a queue at that moment is
 * written down in the same script, so that nothing else is excused. Used by run-cluster-chaos.ts.
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

/** Answers how many messages were in queues. */
export async function emptyRedis(url: string, ledger: Ledger): Promise<number> {
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
  ledger.storeLost();
  const memory = new MessageMemory();
  let count = 0;
  for (let index = 0; index < answer.length; index += 2) {
    const key = (answer[index] as Buffer).toString();
    const clientId = key.slice(key.indexOf('{') + 1, -3);
    for (const value of answer[index + 1] as Buffer[]) {
      if (value.length === 0) continue;
      const { entry } = decodeEntry(value, 1, memory);
      const group = entry.sharedFilter?.split('/')[1];
      const { stream, seq } = readPayload(Buffer.from(entry.message.payload));
      if (!Number.isInteger(stream)) continue;
      ledger.mayMiss(group === undefined ? clientId : `group ${group}`, stream, seq);
      count++;
    }
  }
  return count;
}
