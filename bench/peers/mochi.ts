// mochi-mqtt, a Go library: the small main program in mochi/ is built once into the cache. A
// client's room for waiting writes is raised because mochi drops what does not fit; the memory
// scenarios keep its default, since that room is paid per connection.

import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Feature, Launch, LaunchOptions, Peer } from './peer.ts';
import { cacheDirectory, findExecutable, firstLine, install, projectDirectory } from './tools.ts';

const WRITES_PENDING = 131_072;

const sourceDirectory = join(projectDirectory, 'bench', 'peers', 'mochi');

function binary(): string {
  return join(cacheDirectory('mochi'), 'mochi-bench');
}

function prepare(): string | undefined {
  const main = join(sourceDirectory, 'main.go');
  if (existsSync(binary()) && statSync(binary()).mtimeMs >= statSync(main).mtimeMs) {
    return undefined;
  }
  const go = findExecutable('go');
  if (go === undefined) {
    return 'mochi is built with go, which is not installed';
  }
  return install([go, 'build', '-trimpath', '-o', binary(), '.'], sourceDirectory);
}

function version(): string {
  const go = findExecutable('go') ?? 'go';
  const module = firstLine([
    'sh',
    '-c',
    `"$1" version -m "$2" | awk '$2 == "github.com/mochi-mqtt/server/v2" { print $3 }'`,
    'sh',
    go,
    binary(),
  ]);
  return `mochi-mqtt ${module} (${firstLine([go, 'env', 'GOVERSION'])})`;
}

function lacks(feature: Feature): string | undefined {
  return feature === 'durable' ? 'mochi is run without a storage hook' : undefined;
}

function launch(options: LaunchOptions): Launch {
  const writesPending = options.profile === 'idle' ? 0 : WRITES_PENDING;
  return {
    command: [
      binary(),
      '-listen',
      `127.0.0.1:${options.port}`,
      '-writes-pending',
      String(writesPending),
    ],
    environment: { GOMAXPROCS: '1' },
    collector: 'SIGUSR2',
  };
}

export const mochi: Peer = { name: 'mochi', prepare, version, lacks, launch };
