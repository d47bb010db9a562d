/** What tests of bans share: time that stands still, a folder of their own, a table of bans. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Bans, type BansOptions } from '../../src/access/bans.ts';
import { ManualTime, SeededRandom } from '../core/manual-time.ts';
import { KeptLog } from './backend-kit.ts';

export interface BansKit {
  readonly bans: Bans;
  readonly time: ManualTime;
  readonly log: KeptLog;
}

export function bansKit(
  options: Partial<BansOptions> = {},
  time: ManualTime = new ManualTime(),
): BansKit {
  const log = new KeptLog();
  const random = new SeededRandom(7);
  return { bans: new Bans({ file: null, clock: time, random, log, ...options }), time, log };
}

/** A folder that is removed when the test is over. */
export async function folderFor(t: { teardown(act: () => unknown): void }): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'causeway-bans-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

export const forEver: {
  readonly reason: string;
  readonly by: string;
  readonly expiresAtMs: number;
} = { reason: 'test', by: 'alice', expiresAtMs: 0 };
