// The clusters that can be measured, each as: what its Redis is started with, and one node of it. The
// comparison first, so that ours is told as a multiple of it.

import { join } from 'node:path';
import { aedesStackNode } from '../peers/aedes-stack.ts';
import type { CausewayOptions } from '../peers/causeway.ts';
import { causeway } from '../peers/causeway.ts';
import type { Peer } from '../peers/peer.ts';
import { projectDirectory } from '../peers/tools.ts';

export interface Stack {
  readonly name: string;
  /** Flags of redis-server. */
  readonly redis: readonly string[];
  node(redisUrl: string, index: number): Peer;
}

/** Redis as aedes' users run it, and as it is fastest: nothing is written to a disk. */
const aedesStack: Stack = {
  name: 'aedes-stack',
  redis: ['--save', '', '--appendonly', 'no'],
  node: aedesStackNode,
};

/** Redis as our promises ask for it: every write is synced before it is answered. */
function causewayCluster({ executable, command }: CausewayOptions): Stack {
  const program =
    executable ?? [process.execPath, join(projectDirectory, 'src', 'cli', 'main.ts')].join(' ');
  const line =
    command ??
    `${program} start {listen} --admin http://127.0.0.1:{admin} --set log.level=warn {store}`;
  return {
    name: 'causeway',
    redis: ['--save', '', '--appendonly', 'yes', '--appendfsync', 'always'],
    node: (redisUrl, index) =>
      causeway({ executable, command: `${line} --redis ${redisUrl} --node-id node-${index}` }),
  };
}

export function stacks(options: CausewayOptions): readonly Stack[] {
  return [aedesStack, causewayCluster(options)];
}
