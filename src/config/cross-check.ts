/**
 * Rules between options that a single value cannot break: certificates for TLS, no address twice, and
 * no open door to other machines that nobody asked for. Called by `load.ts`.
 */

import { parseEndpoint } from '../client/endpoint.ts';
import { checkSteering } from '../geo/steering/steering-options.ts';
import { checkQuotas } from '../quota/quota-options.ts';
import { isValidTopicFilter } from '../wire/topic.ts';
import type { AuthenticatorKind, ChainConfig } from './access-config.ts';
import {
  bracket,
  isLoopback,
  type ListenerAddress,
  parseAdminUrl,
  parseListenerUrl,
} from './address.ts';
import type { Config, ListenerConfig, TlsConfig } from './config.ts';
import { formatPath, type Path, type Problem } from './layer.ts';
import { environmentName } from './option-table.ts';

export function crossCheck(config: Config, where: (path: Path) => string): Problem[] {
  const problems: Problem[] = [];
  const report = (path: Path, message: string): void => {
    problems.push({ where: where(path), message: `${formatPath(path)}: ${message}` });
  };
  const taken = new Map<string, Path>();
  const claim = (place: string, path: Path): void => {
    const other = taken.get(place);
    if (other !== undefined) report(path, `${place} is taken by ${formatPath(other)}`);
    else taken.set(place, path);
  };
  const names = new Map<string, Path>();

  if (config.tls !== undefined) checkTls(config.tls, ['tls'], report);
  for (const [index, listener] of config.listeners.entries()) {
    const path: Path = ['listeners', index];
    const address = parseListenerUrl(listener.url);
    if (typeof address === 'string') {
      // A relative socket file may have become too long.
      report([...path, 'url'], `${address}: ${listener.url}`);
      continue;
    }
    checkListener(config, listener, address, path, report);
    if (address.transport === 'unix') claim(address.path, [...path, 'url']);
    else if (address.port !== 0) {
      claim(`${bracket(address.host)}:${address.port}`, [...path, 'url']);
    }
    if (listener.name === undefined) continue;
    const other = names.get(listener.name);
    if (other !== undefined) {
      report([...path, 'name'], `expected names that differ, ${formatPath(other)} has it too`);
    }
    names.set(listener.name, [...path, 'name']);
  }

  const admin = parseAdminUrl(config.admin.url);
  if (admin !== null && typeof admin !== 'string') {
    if (admin.port !== 0) claim(`${bracket(admin.host)}:${admin.port}`, ['admin', 'url']);
    if (admin.isTls && (config.admin.tls ?? config.tls) === undefined) {
      report(
        ['admin', 'url'],
        'needs a certificate: add `admin: { tls: { certFile: FILE, keyFile: FILE } }`',
      );
    }
    if (!admin.isTls && !isLoopback(admin.host) && !config.admin.allowPlainBeyondLoopback) {
      report(['admin', 'url'], refusePlain);
    }
  }
  checkAuthentication(config, report);
  checkCluster(config, report);
  checkCassandra(config, report);
  checkRegions(config, report);
  checkBridges(config, report);
  if (config.steering !== undefined) {
    const { cluster } = config;
    const surroundings = {
      isInDatacenter: cluster !== undefined,
      listedRegions: listedRegions(config),
    };
    for (const { path, message } of checkSteering(config.steering, surroundings)) {
      report(['steering', ...path], message);
    }
  }
  for (const { index, field, message } of checkQuotas(config.quotas)) {
    report(['quotas', index, field], message);
  }
  return problems;
}

const refusePlain =
  'tokens could be read on their way to other machines: use https://, or listen on 127.0.0.1, or ' +
  'add the line `admin: { allowPlainBeyondLoopback: true }`';

/** Every link of a chain needs its section. */
function checkAuthentication(config: Config, report: Report): void {
  const { authentication, listeners } = config;
  const check = (kinds: readonly AuthenticatorKind[], path: Path): void => {
    for (const [index, kind] of kinds.entries()) {
      if (kinds.indexOf(kind) !== index) report([...path, index], `${kind} is there twice`);
      if (authentication[kind] !== undefined) continue;
      report([...path, index], `needs the section authentication.${kind}`);
    }
  };
  check(authentication.chain, ['authentication', 'chain']);
  for (const [index, listener] of listeners.entries()) {
    const { chain } = listener.authentication ?? {};
    if (chain !== undefined) check(chain, ['listeners', index, 'authentication', 'chain']);
  }
  const chains = [authentication.chain, ...listeners.map((one) => one.authentication?.chain ?? [])];
  if (authentication.scram !== undefined && !chains.some((chain) => chain.includes('scram'))) {
    const message = 'no authentication.chain names scram, so nobody could use it; add it to one';
    report(['authentication', 'scram'], message);
  }
}

function checkCluster({ cluster }: Config, report: Report): void {
  if (cluster === undefined) return;
  const path: Path = ['cluster', 'redis'];
  const { url, certFile, keyFile, caFile } = cluster.redis;
  if (certFile !== undefined && keyFile === undefined) {
    report([...path, 'certFile'], 'has no effect without keyFile');
  }
  if (keyFile !== undefined && certFile === undefined) {
    report([...path, 'keyFile'], 'has no effect without certFile');
  }
  if (url.startsWith('rediss')) return;
  for (const [name, file] of Object.entries({ certFile, caFile })) {
    if (file !== undefined) report([...path, name], 'has no effect without rediss://');
  }
}

function checkCassandra({ cassandra, store }: Config, report: Report): void {
  if (cassandra === undefined) return;
  const path: Path = ['cassandra'];
  const { username, passwordFile, caFile, certFile, keyFile } = cassandra;
  if (store === 'memory') {
    report(path, 'needs store: embedded: what Cassandra has not taken yet is kept there');
  }
  if (username !== undefined && passwordFile === undefined) {
    report([...path, 'username'], 'has no effect without passwordFile');
  }
  if (passwordFile !== undefined && username === undefined) {
    report([...path, 'passwordFile'], 'has no effect without username');
  }
  if (certFile !== undefined && keyFile === undefined) {
    report([...path, 'certFile'], 'has no effect without keyFile');
  }
  if (keyFile !== undefined && certFile === undefined) {
    report([...path, 'keyFile'], 'has no effect without certFile');
  }
  if (certFile !== undefined && caFile === undefined) {
    report([...path, 'certFile'], 'has no effect without caFile');
  }
}

/** Regions whose sessions this one can find; null: none. */
function listedRegions({ regions }: Config): readonly string[] | null {
  if (regions === undefined || (!regions.roaming && !regions.directory)) return null;
  return regions.links.map(({ region }) => region);
}

function checkRegions({ regions, store, cassandra }: Config, report: Report): void {
  if (regions === undefined) return;
  const { name, links, accept, roaming, directory } = regions;
  if (roaming && cassandra === undefined) {
    report(['regions', 'roaming'], 'needs the section cassandra: sessions are listed there');
  }
  if (directory && cassandra === undefined) {
    report(['regions', 'directory'], 'needs the section cassandra: sessions are listed there');
  }
  if (store === 'memory' && links.length > 0) {
    report(['regions', 'links'], 'needs store: embedded: what has come over a link is kept there');
  }
  const linked = new Set<string>();
  for (const [index, link] of links.entries()) {
    const path: Path = ['regions', 'links', index];
    if (link.region === name) report([...path, 'region'], 'is this region itself');
    if (linked.has(link.region)) report([...path, 'region'], `${link.region} has a link already`);
    linked.add(link.region);
    if (link.passwordFile !== undefined && link.username === undefined) {
      report([...path, 'passwordFile'], 'has no effect without username');
    }
    const { certFile, keyFile } = link.tls ?? {};
    if (certFile !== undefined && keyFile === undefined) {
      report([...path, 'tls', 'certFile'], 'has no effect without keyFile');
    }
    if (keyFile !== undefined && certFile === undefined) {
      report([...path, 'tls', 'keyFile'], 'has no effect without certFile');
    }
    const { transport } = parseEndpoint(link.url);
    if (link.tls !== undefined && transport !== 'tls' && transport !== 'wss') {
      report([...path, 'tls'], 'expected only with mqtts:// and wss://');
    }
  }
  const proofs = new Set<string>();
  for (const [index, { region, user, certificate }] of accept.entries()) {
    const path: Path = ['regions', 'accept', index];
    if (region === name) report([...path, 'region'], 'is this region itself');
    if ((user === undefined) === (certificate === undefined)) {
      report(path, 'expected user or certificate, one of them');
    }
    const proof = user === undefined ? `certificate ${certificate}` : `user ${user}`;
    if (proofs.has(proof)) report(path, `${proof} is another region already`);
    proofs.add(proof);
  }
}

function checkBridges({ bridges }: Config, report: Report): void {
  const names = new Set<string>();
  for (const [index, bridge] of bridges.entries()) {
    const path: Path = ['bridges', index];
    if (names.has(bridge.name))
      report([...path, 'name'], `${bridge.name} is another bridge already`);
    names.add(bridge.name);
    const { certFile, keyFile } = bridge.tls ?? {};
    if (certFile !== undefined && keyFile === undefined) {
      report([...path, 'tls', 'certFile'], 'has no effect without keyFile');
    }
    if (keyFile !== undefined && certFile === undefined) {
      report([...path, 'tls', 'keyFile'], 'has no effect without certFile');
    }
    const { transport, username } = parseEndpoint(bridge.url);
    if (bridge.tls !== undefined && transport !== 'tls' && transport !== 'wss') {
      report([...path, 'tls'], 'expected only with mqtts:// and wss://');
    }
    const hasUser = bridge.username !== undefined || username !== null;
    if (bridge.passwordFile !== undefined && !hasUser) {
      report([...path, 'passwordFile'], 'has no effect without username');
    }
    for (const [
      at,
      { filter, direction, localPrefix = '', remotePrefix = '' },
    ] of bridge.topics.entries()) {
      const where: Path = [...path, 'topics', at, 'filter'];
      // What begins with $ is this broker's own: nothing is taken there, and nothing given from there.
      if (`${localPrefix}${filter}`.startsWith('$')) {
        report(where, 'here topics that begin with $ are not bridged; give a localPrefix');
      }
      if (direction !== 'in' && `${remotePrefix}${filter}`.startsWith('$')) {
        report(where, 'topics that begin with $ belong to the other broker: direction in only');
      }
      for (const whole of [`${localPrefix}${filter}`, `${remotePrefix}${filter}`]) {
        if (whole === '') report(where, 'an empty filter needs both prefixes');
        else if (!isValidTopicFilter(whole)) report(where, `${whole} is no topic filter`);
      }
    }
  }
}

/** Somebody is asked, at some listener at least, who clients are. */
export function asksWho(config: Config): boolean {
  const { authentication, listeners } = config;
  return (
    authentication.chain.length > 0 ||
    authentication.scram !== undefined ||
    listeners.some(({ authentication: own }) => (own?.chain?.length ?? 0) > 0)
  );
}

/** Who is asked at a listener, and whether those who show nothing are let in. */
export function chainOf(config: Config, listener: ListenerConfig): ChainConfig {
  const { authentication } = config;
  const chain = listener.authentication?.chain ?? authentication.chain;
  // A listener that is told to ask nobody is open, whatever the others do.
  const own = listener.authentication?.chain?.length === 0;
  const isAsked = chain.length > 0 || (authentication.scram !== undefined && !own);
  const anonymous = listener.authentication?.anonymous ?? (authentication.anonymous || !isAsked);
  return { chain, anonymous };
}

type Report = (path: Path, message: string) => void;

function checkListener(
  config: Config,
  listener: ListenerConfig,
  address: ListenerAddress,
  path: Path,
  report: Report,
): void {
  const { transport } = address;
  const isTls = transport === 'tls' || transport === 'wss';
  const tls = isTls ? (listener.tls ?? config.tls) : undefined;
  if (isTls && tls === undefined) {
    report(
      [...path, 'url'],
      'needs a certificate: add `tls: { certFile: FILE, keyFile: FILE }` to this listener, or to ' +
        'the top level for all of them',
    );
  }
  if (listener.tls !== undefined) {
    if (isTls) checkTls(listener.tls, [...path, 'tls'], report);
    else report([...path, 'tls'], 'expected only at mqtts:// and wss:// listeners');
  }
  if (listener.websocket !== undefined && transport !== 'ws' && transport !== 'wss') {
    report([...path, 'websocket'], 'expected only at ws:// and wss:// listeners');
  }
  if (listener.proxyProtocol !== undefined && transport === 'unix') {
    report([...path, 'proxyProtocol'], 'a Unix socket has no addresses to trust');
  }
  if (listener.unixMode !== undefined && transport !== 'unix') {
    report([...path, 'unixMode'], 'expected only at unix: listeners');
  }
  if (tls?.psk === true && !chainOf(config, listener).chain.includes('psk')) {
    report([...path, 'url'], 'offers tls.psk, so `psk` has to be in its authentication.chain');
  }
  const isOpen = transport !== 'unix' && !isLoopback(address.host);
  const authenticates =
    tls?.clientCertificate === 'required' || !chainOf(config, listener).anonymous;
  if (isOpen && !authenticates && !config.allowAnonymousBeyondLoopback) {
    report([...path, 'url'], refuseOpen);
  }
}

function checkTls(tls: TlsConfig, path: Path, report: Report): void {
  for (const [file, other] of [
    ['certFile', 'keyFile'],
    ['keyFile', 'certFile'],
  ] as const) {
    if (tls[file] !== undefined) continue;
    if (tls[other] !== undefined) report(path, `has ${other} but no ${file}`);
    else if (!tls.psk && file === 'certFile') report(path, 'certFile and keyFile are missing');
  }
  if (tls.crlFile !== undefined && tls.caFile === undefined) {
    report([...path, 'crlFile'], 'has no effect without caFile');
  }
  const asks = tls.clientCertificate !== 'none';
  if (asks && tls.caFile === undefined) {
    report(
      [...path, 'clientCertificate'],
      `${tls.clientCertificate} needs caFile, the certificates that sign those of clients`,
    );
  }
  if (!asks && tls.caFile !== undefined) {
    report(
      [...path, 'caFile'],
      'has no effect without `clientCertificate: optional` or `clientCertificate: required`',
    );
  }
}

const refuseOpen =
  'listening beyond this machine without authentication is refused; listen on 127.0.0.1, or say who ' +
  'may connect (`causeway init` writes such a configuration), or, to let everyone in who can reach ' +
  `it, add the line \`allowAnonymousBeyondLoopback: true\` (or set ${environmentName('allowAnonymousBeyondLoopback')}=true, ` +
  'or --set allowAnonymousBeyondLoopback=true)';
