/** Every series of access and quotas, as a node shows it that has each part of them configured. */
import { Rights } from '../../src/app/rights.ts';
import { SharedControl } from '../../src/app/shared-control.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { Log } from '../../src/core/ports.ts';

const everything = `
store: memory
authentication:
  chain: [certificate, psk, scram, jwt, password, redis, http]
  password: {file: passwords}
  scram: {file: scram}
  psk: {file: psk}
  jwt: {algorithms: [RS256], jwksUrl: https://issuer.example/jwks.json}
  http: {url: https://users.example/login}
  redis: {url: redis://127.0.0.1:6379}
authorization:
  http: {url: https://users.example/acl}
  redis: {url: redis://127.0.0.1:6379}
cluster: {redis: {url: redis://127.0.0.1:1}}
quotas:
  - {name: rate, of: publishMessagesPerS, per: client, max: 1}
  - {name: subscriptions, of: subscriptions, per: node, max: 1}
`;

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

export interface MetricRow {
  readonly name: string;
  readonly type: string;
  readonly labels: readonly string[];
  readonly help: string;
}

/** Nothing is started: it is about names. */
export async function rightsMetricRows(): Promise<MetricRow[]> {
  const { config } = loadConfig({ file: 'a.yaml', text: everything, environment: {}, flags: [] });
  const { cluster } = config;
  // Nothing listens there: it is about names.
  const control = cluster === undefined ? null : await SharedControl.open(cluster, silent);
  const parts = { log: silent, control, recheck() {}, retained: () => [] };
  const rights = await Rights.make(config, parts);
  control?.close();
  const rows = new Map<string, MetricRow>();
  for (const { name, type, labels, help } of rights.metrics()) {
    rows.set(name, { name, type, labels: Object.keys(labels), help });
  }
  return [...rows.values()];
}
