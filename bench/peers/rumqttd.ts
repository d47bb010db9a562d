// rumqttd from crates.io, built once into the cache. It keeps messages in a commit log in memory,
// whose segments are made large enough that a slow reader loses nothing in a run of a few seconds.
// It drops retained messages beyond the packets it hands a client at once, so for those runs that
// number is raised above its default of 200.
// Its router and its listener are two threads; both stay on the broker's one core.

import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Feature, Launch, LaunchOptions, Peer } from './peer.ts';
import { cacheDirectory, findExecutable, firstLine, install } from './tools.ts';

const VERSION = '0.20.0';
const RETAINED_AT_ONCE = 20_000;

function binary(): string {
  return join(cacheDirectory('rumqttd'), 'bin', 'rumqttd');
}

function prepare(): string | undefined {
  if (existsSync(binary())) {
    return undefined;
  }
  const cargo = findExecutable('cargo');
  if (cargo === undefined) {
    return 'rumqttd is built with cargo, which is not installed';
  }
  const root = cacheDirectory('rumqttd');
  return install([cargo, 'install', 'rumqttd', '--version', VERSION, '--root', root], root);
}

function version(): string {
  return firstLine([binary(), '--version']);
}

function lacks(feature: Feature): string | undefined {
  return feature === 'durable' ? 'rumqttd keeps sessions and messages in memory only' : undefined;
}

function launch(options: LaunchOptions): Launch {
  const table = options.mqttVersion === 5 ? 'v5' : 'v4';
  const lines = [
    'id = 0',
    '[router]',
    'id = 0',
    'max_connections = 20000',
    `max_outgoing_packet_count = ${options.profile === 'retained' ? RETAINED_AT_ONCE : 200}`,
    'max_segment_size = 104857600',
    'max_segment_count = 40',
    `[${table}.1]`,
    'name = "bench"',
    `listen = "127.0.0.1:${options.port}"`,
    'next_connection_delay_ms = 0',
    `[${table}.1.connections]`,
    'connection_timeout_ms = 60000',
    'max_payload_size = 1048576',
    'max_inflight_count = 100',
    'dynamic_filters = true',
  ];
  const file = join(options.directory, 'rumqttd.toml');
  writeFileSync(file, `${lines.join('\n')}\n`);
  return { command: [binary(), '--quiet', '--config', file], collector: 'none' };
}

export const rumqttd: Peer = { name: 'rumqttd', prepare, version, lacks, launch };
