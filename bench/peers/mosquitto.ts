// mosquitto from Debian: one thread by design. Queues are made unlimited so that a run is never
// decided by a drop; persistence is its default database, which is not synced per message.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Feature, Launch, LaunchOptions, Peer } from './peer.ts';
import { findExecutable, firstLine, install, projectDirectory } from './tools.ts';

function prepare(): string | undefined {
  if (findExecutable('mosquitto') !== undefined) {
    return undefined;
  }
  const apt = findExecutable('apt-get');
  if (apt === undefined || process.getuid?.() !== 0) {
    return 'mosquitto is not installed, and only root on Debian can install it here';
  }
  const failed =
    install([apt, 'update'], projectDirectory) ??
    install([apt, 'install', '-y', '--no-install-recommends', 'mosquitto'], projectDirectory);
  return (
    failed ?? (findExecutable('mosquitto') === undefined ? 'no mosquitto after install' : undefined)
  );
}

function version(): string {
  return firstLine([findExecutable('mosquitto') ?? 'mosquitto', '-h']).replace('version ', '');
}

function lacks(_feature: Feature): string | undefined {
  return undefined;
}

function launch(options: LaunchOptions): Launch {
  const data = join(options.directory, 'data');
  mkdirSync(data, { recursive: true });
  const lines = [
    `listener ${options.port} 127.0.0.1`,
    'allow_anonymous true',
    'user root',
    'log_dest none',
    'connection_messages false',
    'sys_interval 0',
    'set_tcp_nodelay true',
    'max_connections -1',
    'max_inflight_messages 100',
    'max_queued_messages 0',
    'max_queued_bytes 0',
    `persistence ${options.durable}`,
    ...(options.durable ? [`persistence_location ${data}/`] : []),
  ];
  const file = join(options.directory, 'mosquitto.conf');
  writeFileSync(file, `${lines.join('\n')}\n`);
  return {
    command: [findExecutable('mosquitto') ?? 'mosquitto', '-c', file],
    collector: 'none',
  };
}

export const mosquitto: Peer = { name: 'mosquitto', prepare, version, lacks, launch };
