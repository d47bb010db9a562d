// aedes from npm, with its in-memory persistence, behind the server in aedes/. It is a development
// dependency of this project, so `npm ci` has already brought it.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { Feature, Launch, LaunchOptions, Peer } from './peer.ts';
import { projectDirectory } from './tools.ts';

function packageFile(): string {
  const require = createRequire(join(projectDirectory, 'package.json'));
  return join(dirname(require.resolve('aedes')), 'package.json');
}

function prepare(): string | undefined {
  try {
    packageFile();
    return undefined;
  } catch {
    return 'the npm package aedes is not in node_modules; run npm ci';
  }
}

function version(): string {
  const description = JSON.parse(readFileSync(packageFile(), 'utf8')) as { version: string };
  return `aedes ${description.version} (Node ${process.version})`;
}

function lacks(feature: Feature): string | undefined {
  if (feature === 'durable') {
    return 'aedes is run with its in-memory persistence';
  }
  if (feature === 'shared') {
    return 'aedes 1.2 has no shared subscriptions';
  }
  return 'aedes 1.2 speaks MQTT 3.1 and 3.1.1 only';
}

function launch(options: LaunchOptions): Launch {
  return {
    command: [
      process.execPath,
      '--inspect-port=0',
      join(projectDirectory, 'bench', 'peers', 'aedes', 'server.ts'),
      String(options.port),
    ],
    collector: 'inspector',
  };
}

export const aedes: Peer = { name: 'aedes', prepare, version, lacks, launch };
