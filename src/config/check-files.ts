/**
 * Reads the certificates a configuration names and sees whether they fit together, with the same
 * code a listener uses when it starts. For `causeway check`; opens nothing.
 */
import { accessSync, constants } from 'node:fs';
import type { Log } from '../core/ports.ts';
import { ListenerError } from '../listeners/listener-error.ts';
import { loadTlsMaterial } from '../listeners/tls-material.ts';
import type { TlsConfig } from './config.ts';
import { formatPath, type Path, type Problem } from './layer.ts';
import type { LoadedConfig } from './load.ts';

export interface FileFindings {
  readonly problems: readonly Problem[];
  /** A node starts with these, but somebody should know. */
  readonly warnings: readonly Problem[];
}

const fileKeys = ['certFile', 'keyFile', 'caFile', 'crlFile'] as const;

export async function checkFiles(loaded: LoadedConfig): Promise<FileFindings> {
  const { config, originOf } = loaded;
  const sections: { path: Path; tls: TlsConfig }[] = [];
  if (config.tls !== undefined) sections.push({ path: ['tls'], tls: config.tls });
  for (const [index, { tls }] of config.listeners.entries()) {
    if (tls !== undefined) sections.push({ path: ['listeners', index, 'tls'], tls });
  }

  const problems: Problem[] = unreadableOfServices(loaded);
  const warnings: Problem[] = [];
  for (const { path, tls } of sections) {
    const unreadable = unreadableFiles(loaded, tls, path, fileKeys);
    problems.push(...unreadable);
    if (unreadable.length > 0) continue;
    const where = originOf([...path, 'certFile']);
    const log = { ...silentLog, warn: (_: object, message: string) => warn(message) };
    const warn = (message: string): void => {
      warnings.push({ where, message: `${formatPath([...path, 'certFile'])}: ${message}` });
    };
    try {
      const { psk, ...options } = tls;
      const pskLookup = psk ? () => null : undefined;
      await loadTlsMaterial({ ...options, pskLookup }, formatPath(path), log);
    } catch (error) {
      if (!(error instanceof ListenerError)) throw error;
      problems.push({ where, message: error.message });
    }
  }
  return { problems, warnings };
}

const cassandraKeys = ['passwordFile', 'caFile', 'certFile', 'keyFile'] as const;
const clusterKeys = ['certFile', 'keyFile', 'caFile', 'passwordFile', 'secretFile'] as const;

function unreadableOfServices(loaded: LoadedConfig): Problem[] {
  const { cluster, cassandra, regions, bridges } = loaded.config;
  const ofOthers = unreadableFiles(loaded, cassandra ?? {}, ['cassandra'], cassandraKeys);
  for (const [index, link] of (regions?.links ?? []).entries()) {
    const path: Path = ['regions', 'links', index];
    ofOthers.push(
      ...unreadableFiles(loaded, link, path, clusterKeys),
      ...unreadableFiles(loaded, link.tls ?? {}, [...path, 'tls'], clusterKeys),
    );
  }
  for (const [index, bridge] of bridges.entries()) {
    const path: Path = ['bridges', index];
    ofOthers.push(
      ...unreadableFiles(loaded, bridge, path, clusterKeys),
      ...unreadableFiles(loaded, bridge.tls ?? {}, [...path, 'tls'], clusterKeys),
    );
  }
  if (cluster === undefined) return ofOthers;
  const { redis, peer } = cluster;
  return [
    ...ofOthers,
    ...unreadableFiles(loaded, redis, ['cluster', 'redis'], clusterKeys),
    ...unreadableFiles(loaded, peer, ['cluster', 'peer'], clusterKeys),
    ...unreadableFiles(loaded, peer.tls ?? {}, ['cluster', 'peer', 'tls'], clusterKeys),
  ];
}

/** All of a section at once, each where it is named. */
function unreadableFiles(
  loaded: LoadedConfig,
  section: object,
  path: Path,
  keys: readonly string[],
): Problem[] {
  return keys.flatMap((key) => {
    const file = (section as { readonly [key: string]: unknown })[key];
    if (typeof file !== 'string') return [];
    try {
      accessSync(file, constants.R_OK);
      return [];
    } catch (error) {
      const at = [...path, key];
      const reason = (error as NodeJS.ErrnoException).code ?? String(error);
      const message = `${formatPath(at)}: cannot read ${file}: ${reason}`;
      return [{ where: loaded.originOf(at), message }];
    }
  });
}

const silentLog: Log = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
};
