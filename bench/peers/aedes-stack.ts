// Nodes of an aedes cluster over one Redis, as its users build it: aedes, mqemitter-redis and
// aedes-persistence-redis, one process a node. Development dependencies, so `npm ci` has brought them.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { Peer } from './peer.ts';
import { projectDirectory } from './tools.ts';

const packages = ['aedes', 'mqemitter-redis', 'aedes-persistence-redis', 'ioredis'] as const;

function versionOf(name: string): string {
  const require = createRequire(join(projectDirectory, 'package.json'));
  // The main file of each is in the package's own folder, or one below it.
  let folder = dirname(require.resolve(name));
  for (let depth = 0; depth < 3; depth++) {
    const file = join(folder, 'package.json');
    try {
      const { name: found, version } = JSON.parse(readFileSync(file, 'utf8')) as {
        name: string;
        version: string;
      };
      if (found === name) return version;
    } catch {
      // Not here; the folder above has it.
    }
    folder = dirname(folder);
  }
  return 'unknown';
}

/** One node; `index` tells it from the others. */
export function aedesStackNode(redisUrl: string, index: number): Peer {
  return {
    name: 'aedes-stack',
    prepare: () => {
      try {
        for (const name of packages) versionOf(name);
        return undefined;
      } catch {
        return `npm packages are not in node_modules (${packages.join(', ')}); run npm ci`;
      }
    },
    version: () =>
      `${packages.map((name) => `${name} ${versionOf(name)}`).join(', ')} (Node ${process.version})`,
    lacks: (feature) => {
      if (feature === 'shared') return 'aedes 1.2 has no shared subscriptions';
      if (feature === 'mqtt5') return 'aedes 1.2 speaks MQTT 3.1 and 3.1.1 only';
      return undefined;
    },
    launch: ({ port }) => ({
      command: [
        process.execPath,
        join(projectDirectory, 'bench', 'peers', 'aedes-stack', 'server.ts'),
        ...[String(port), redisUrl, `node-${index}`],
      ],
      collector: 'none',
    }),
  };
}
