/**
 * Rules between options that a single value cannot break: certificates for TLS, no address twice, and
 * no open door to other machines that nobody asked for. Called by `load.ts`.
 */
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
    if (!isLoopback(admin.host) && !config.admin.allowAnonymousBeyondLoopback) {
      report(['admin', 'url'], refuseOpen('admin.allowAnonymousBeyondLoopback'));
    }
  }
  return problems;
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
  const isOpen = transport !== 'unix' && !isLoopback(address.host);
  const authenticates = tls?.clientCertificate === 'required';
  if (isOpen && !authenticates && !config.allowAnonymousBeyondLoopback) {
    report([...path, 'url'], refuseOpen('allowAnonymousBeyondLoopback'));
  }
}

function checkTls(tls: TlsConfig, path: Path, report: Report): void {
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

function refuseOpen(option: string): string {
  const [section, key] = option.includes('.') ? option.split('.') : [undefined, option];
  const line = section === undefined ? `${key}: true` : `${section}: { ${key}: true }`;
  return (
    'listening beyond this machine without authentication is refused; listen on 127.0.0.1, or, to ' +
    `let everyone in who can reach it, add the line \`${line}\` ` +
    `(or set ${environmentName(option)}=true, or --set ${option}=true)`
  );
}
