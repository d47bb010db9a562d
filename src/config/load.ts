/**
 * Makes the effective configuration: file, environment and flags in rising precedence over the
 * defaults, every error of every source at once. Opens no socket and reads no certificate.
 */
import { resolve } from 'node:path';
import type { z } from 'zod';
import { nearest } from '../util/nearest.ts';
import { type ListenerAddress, parseListenerUrl } from './address.ts';
import type { ClusterConfig } from './cluster-config.ts';
import type { Config, ListenerConfig, TlsConfig } from './config.ts';
import { crossCheck } from './cross-check.ts';
import { parseConfigText, readConfigFile } from './file-layer.ts';
import {
  formatPath,
  formatProblem,
  type Layer,
  mergeTrees,
  type Path,
  type Problem,
  type Tree,
  valueAt,
} from './layer.ts';
import { MISSING } from './leaf.ts';
import { type JsonSchema, optionTable, schemaAsJson } from './option-table.ts';
import type { RegionsConfig } from './regions-config.ts';
import { schema } from './schema.ts';
import { type FlagValue, readEnvironment, readFlags } from './word-layer.ts';

export interface ConfigSources {
  readonly file: string | null;
  /** Content of the file when it was not read from disk. */
  readonly text?: string | undefined;
  readonly environment: NodeJS.ProcessEnv;
  readonly flags: readonly FlagValue[];
}

export interface LoadedConfig {
  readonly config: Config;
  /** `default`, or where the value in force was written. */
  originOf(path: Path): string;
}

/** Everything that is wrong with a configuration. */
export class ConfigError extends Error {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super(problems.map(formatProblem).join('\n'));
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

/** Longer lists of names help nobody. */
const KNOWN_SHOWN_MAX = 24;

export const DEFAULT_ORIGIN = 'default';

/** Throws a ConfigError with all problems. */
export function loadConfig(sources: ConfigSources): LoadedConfig {
  const problems: Problem[] = [];
  const layers: Layer[] = [];
  const add = (read: { layer: Layer | null; problems: readonly Problem[] }): void => {
    problems.push(...read.problems);
    if (read.layer !== null) layers.push(withListenerSections(read.layer));
  };
  if (sources.file !== null) {
    const { file, text } = sources;
    add(text === undefined ? readConfigFile(file) : parseConfigText(text, file));
  }
  add(readEnvironment(sources.environment));
  add(readFlags(sources.flags));

  for (const layer of layers) problems.push(...checkLayer(layer));
  const merged = mergeTrees(layers.map((layer) => layer.tree));
  const parsed = schema.safeParse(merged);
  if (!parsed.success) {
    const missing = parsed.error.issues.filter((issue) => isMissing(issue, merged));
    problems.push(...missing.flatMap((issue) => explain(issue, layers)));
  }
  if (problems.length > 0 || !parsed.success) throw new ConfigError(inOrder(problems));

  const config = withAbsoluteFiles(parsed.data, layers);
  const conflicts = crossCheck(config, (path) => sayWhere(layers, path));
  if (conflicts.length > 0) throw new ConfigError(inOrder(conflicts));
  return {
    config: deepFreeze(config),
    originOf: (path) => topLayer(layers, path)?.locate(path) ?? DEFAULT_ORIGIN,
  };
}

/** From the first line to the last; what has no line follows. */
function inOrder(problems: readonly Problem[]): Problem[] {
  const place = ({ where }: Problem): number => {
    const match = /:(\d+):(\d+)$/.exec(where);
    return match === null ? Number.MAX_SAFE_INTEGER : Number(match[1]) * 1e6 + Number(match[2]);
  };
  return [...problems].sort((left, right) => place(left) - place(right));
}

/** The layer whose value at this path is in force. */
function topLayer(layers: readonly Layer[], path: Path): Layer | undefined {
  return layers.findLast((layer) => valueAt(layer.tree, path) !== undefined);
}

/** Where to point for this path: the value, or the nearest section around it that was written. */
function sayWhere(layers: readonly Layer[], path: Path): string {
  for (let length = path.length; length > 0; length -= 1) {
    const layer = topLayer(layers, path.slice(0, length));
    if (layer !== undefined) return layer.locate(path.slice(0, length));
  }
  return '';
}

/** All that is wrong in one layer; what it lacks may come from another. */
function checkLayer(layer: Layer): Problem[] {
  const parsed = schema.safeParse(layer.tree);
  if (parsed.success) return [];
  const issues = parsed.error.issues.filter((issue) => !isMissing(issue, layer.tree));
  return issues.flatMap((issue) => explain(issue, [layer]));
}

/** A value, or a whole section, that must be there and is not. */
function isMissing(issue: z.core.$ZodIssue, tree: Tree): boolean {
  if (issue.code === 'custom') return issue.params?.kind === MISSING;
  if (issue.code !== 'invalid_type' || issue.expected !== 'object') return false;
  return valueAt(tree, issue.path as Path) === undefined;
}

function explain(issue: z.core.$ZodIssue, layers: readonly Layer[]): Problem[] {
  const path = issue.path as Path;
  const name = formatPath(path);
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({
      where: layers.at(-1)?.locate([...path, key], true) ?? '',
      message: `unknown option ${formatPath([...path, key])}${suggest(path, key)}`,
    }));
  }
  const where = sayWhere(layers, path);
  if (issue.code === 'invalid_type' && issue.expected === 'object') {
    return [{ where, message: `${name}: expected a section with ${keysAt(path).join(', ')}` }];
  }
  const isValue = issue.code === 'custom' && issue.params?.kind === MISSING;
  const colon = isValue ? '' : ':';
  return [{ where, message: `${name}${colon} ${issue.message}` }];
}

function keysAt(path: Path): string[] {
  let node: JsonSchema | undefined = schemaAsJson();
  for (const part of path) {
    node = typeof part === 'number' ? node?.items : node?.properties?.[part];
  }
  return Object.keys(node?.properties ?? {});
}

/** The nearest name of that section, else the place of an option of that name elsewhere. */
function suggest(path: Path, key: string): string {
  const known = keysAt(path);
  const near = nearest(key, known);
  if (near !== null) return `, did you mean ${formatPath([...path, near])}?`;
  const isOfListener = path[0] === 'listeners';
  const elsewhere = optionTable().find(
    (option) =>
      option.path.split('.').at(-1) === key && option.path.startsWith('listeners') === isOfListener,
  );
  if (elsewhere !== undefined) return `, did you mean ${elsewhere.path}?`;
  if (known.length > KNOWN_SHOWN_MAX) return ' (causeway config lists all)';
  return ` (known here: ${known.join(', ')})`;
}

/** A listener may be written as its URL, and the list as URLs with commas or spaces between. */
function withListenerSections(layer: Layer): Layer {
  const listeners = layer.tree.listeners;
  if (listeners === undefined) return layer;
  const list =
    typeof listeners === 'string'
      ? listeners.split(/[\s,]+/).filter((url) => url !== '')
      : listeners;
  if (!Array.isArray(list)) return layer;
  const sections = list.map((entry: unknown) =>
    typeof entry === 'string' ? { url: entry } : entry,
  );
  return { ...layer, tree: { ...layer.tree, listeners: sections } as Tree };
}

/** File names are relative to the folder of the file they were written in, else to where we run. */
function withAbsoluteFiles(config: Config, layers: readonly Layer[]): Config {
  const absolute = (path: Path, file: string): string =>
    resolve(topLayer(layers, path)?.folder ?? process.cwd(), file);
  const ofTls = (path: Path, tls: TlsConfig): TlsConfig => withFiles(path, tls, tlsFiles);
  const withFiles = <T extends object>(path: Path, section: T, names: readonly string[]): T => {
    const made = { ...section } as Record<string, unknown>;
    for (const name of names) {
      const file = made[name];
      if (typeof file === 'string') made[name] = absolute([...path, name], file);
    }
    return made as T;
  };
  const optional = <T extends object>(path: Path, section: T | undefined): T | undefined =>
    section === undefined ? undefined : withFiles(path, section, accessFiles);
  const ofListener = (listener: ListenerConfig, index: number): ListenerConfig => {
    const path: Path = ['listeners', index];
    const address = parseListenerUrl(listener.url) as ListenerAddress;
    const isUnix = address.transport === 'unix';
    return {
      ...listener,
      ...(isUnix ? { url: `unix:${absolute([...path, 'url'], address.path)}` } : {}),
      ...(listener.tls === undefined ? {} : { tls: ofTls([...path, 'tls'], listener.tls) }),
    };
  };
  const ofCluster = ({ redis, peer, ...rest }: ClusterConfig): ClusterConfig => ({
    ...rest,
    redis: withFiles(['cluster', 'redis'], redis, clusterFiles),
    peer: {
      ...withFiles(['cluster', 'peer'], peer, clusterFiles),
      ...(peer.tls === undefined
        ? {}
        : { tls: withFiles(['cluster', 'peer', 'tls'], peer.tls, clusterFiles) }),
    },
  });
  const ofPeer = <T extends { readonly tls?: object | undefined }>(path: Path, peer: T): T => {
    const ofAll = withFiles(path, peer, clusterFiles);
    if (peer.tls === undefined) return ofAll;
    return { ...ofAll, tls: withFiles([...path, 'tls'], peer.tls, clusterFiles) };
  };
  const ofRegions = ({ links, ...rest }: RegionsConfig): RegionsConfig => ({
    ...rest,
    links: links.map((link, index) => ofPeer(['regions', 'links', index], link)),
  });
  const { admin, authentication, authorization } = config;
  const of = 'authentication';
  return {
    ...config,
    data: absolute(['data'], config.data),
    ...(config.tls === undefined ? {} : { tls: ofTls(['tls'], config.tls) }),
    listeners: config.listeners.map(ofListener),
    bridges: config.bridges.map((bridge, index) => ofPeer(['bridges', index], bridge)),
    ...(config.cluster === undefined ? {} : { cluster: ofCluster(config.cluster) }),
    ...definedOnly({
      cassandra: config.cassandra && withFiles(['cassandra'], config.cassandra, clusterFiles),
      regions: config.regions && ofRegions(config.regions),
    }),
    admin: {
      ...withFiles(['admin'], admin, ['tokensFile']),
      ...(admin.tls === undefined ? {} : { tls: withFiles(['admin', 'tls'], admin.tls, tlsFiles) }),
    },
    authentication: {
      ...authentication,
      ...definedOnly({
        password: optional([of, 'password'], authentication.password),
        scram: optional([of, 'scram'], authentication.scram),
        jwt: optional([of, 'jwt'], authentication.jwt),
        psk: optional([of, 'psk'], authentication.psk),
        http: optional([of, 'http'], authentication.http),
        redis: optional([of, 'redis'], authentication.redis),
      }),
    },
    authorization: {
      ...withFiles(['authorization'], authorization, ['rulesFile']),
      ...definedOnly({
        http: optional(['authorization', 'http'], authorization.http),
        redis: optional(['authorization', 'redis'], authorization.redis),
      }),
    },
  };
}

const tlsFiles = ['certFile', 'keyFile', 'caFile', 'crlFile'];
const clusterFiles = ['certFile', 'keyFile', 'caFile', 'passwordFile', 'secretFile'];
const accessFiles = [
  'file',
  'secretFile',
  'publicKeyFile',
  'jwksCaFile',
  'headersFile',
  'caFile',
  'passwordFile',
];

function definedOnly<T extends object>(sections: T): Partial<T> {
  const entries = Object.entries(sections).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as Partial<T>;
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    for (const inner of Object.values(value)) deepFreeze(inner);
    Object.freeze(value);
  }
  return value;
}
