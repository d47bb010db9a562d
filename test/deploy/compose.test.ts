// deploy/compose: no engine runs it here, so it is read. Every service, volume and file it names is there, every
// configuration it mounts is one that a node loads, and every host in them is a service of the file.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { parse } from 'yaml';
import { loadConfig } from '../../src/config/load.ts';

const folder = new URL('../../deploy/compose/', import.meta.url);

interface Service {
  readonly image: string;
  readonly command: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly networks?: { readonly default: { readonly aliases: readonly string[] } };
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly healthcheck?: object;
}

interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, null>>;
}

const text = readFileSync(new URL('compose.yaml', folder), 'utf8');
const compose = parse(text, { merge: true }) as Compose;
const services = new Map(Object.entries(compose.services));
const NODES = ['eu-1', 'eu-2', 'us-1', 'us-2', 'ap-1', 'ap-2'];
const REGIONS = ['eu', 'us', 'ap'];

/** Names that containers find each other by. */
const hosts = new Set(
  [...services].flatMap(([name, { networks }]) => [name, ...(networks?.default.aliases ?? [])]),
);

function configOf(name: string) {
  const mount = services.get(name)!.volumes!.find((one) => one.endsWith(':/etc/causeway.yaml:ro'))!;
  const file = fileURLToPath(new URL(mount.split(':')[0]!, folder));
  const environment = { ...services.get(name)!.environment };
  return loadConfig({ file, environment, flags: [] }).config;
}

t.test('everything that is named is there', async (t) => {
  const used = new Set<string>();
  const ports: string[] = [];
  for (const [name, service] of services) {
    t.ok(service.image, name);
    for (const [other, { condition }] of Object.entries(service.depends_on ?? {})) {
      t.ok(services.has(other), `${name} waits for ${other}`);
      if (condition === 'service_healthy') t.ok(services.get(other)!.healthcheck, other);
    }
    for (const volume of service.volumes ?? []) {
      const [source] = volume.split(':') as [string];
      if (source.startsWith('./')) readFileSync(new URL(source, folder));
      else used.add(source);
    }
    ports.push(...(service.ports ?? []).map((port) => port.split(':').slice(0, 2).join(':')));
  }
  t.strictSame([...used].sort(), Object.keys(compose.volumes).sort());
  t.equal(new Set(ports).size, NODES.length, 'each node has a port of this machine');
  t.ok(ports.every((port) => port.startsWith('127.0.0.1:')));
});

t.test('the configurations', async (t) => {
  const fetches: string[] = [];
  for (const name of NODES) {
    const region = name.slice(0, 2);
    const { cluster, cassandra, regions, authentication } = configOf(name);
    t.equal(cluster?.nodeId, name);
    t.ok(hosts.has(new URL(cluster!.redis.url).hostname), cluster!.redis.url);
    t.equal(cassandra?.localDatacenter, region);
    for (const point of cassandra!.contactPoints) t.ok(hosts.has(point), point);
    for (const point of cassandra!.contactPoints) {
      t.equal(services.get(point)!.environment?.CASSANDRA_DC, region);
    }
    t.equal(regions?.name, region);
    t.match(authentication, { chain: ['password'], anonymous: true });
    for (const { region: source, url, username, passwordFile } of regions!.links) {
      t.equal(new URL(url).hostname, source);
      t.ok(hosts.has(source), url);
      t.equal(username, `link-${region}`);
      t.equal(passwordFile, `/secrets/${username}`);
      const accepts = configOf(`${source}-1`).regions!.accept;
      t.match(accepts, [{ region, user: username }], `${source} lets ${region} in`);
      if (name.endsWith('-1')) fetches.push(`${region}<${source}`);
    }
  }
  t.strictSame(fetches, ['eu<us', 'us<ap', 'ap<eu'], 'a ring');
});

t.test('tables and passwords', async (t) => {
  const { command } = services.get('tables')!;
  t.match(command.slice(0, 2), ['cassandra', 'init']);
  const after = (flag: string): string => command[command.indexOf(flag) + 1]!;
  for (const point of after('--contact-points').split(',')) t.ok(hosts.has(point), point);
  t.equal(after('--replication'), REGIONS.map((name) => `${name}=1`).join());
  const script = services.get('secrets')!.command.join('\n');
  t.match(script, new RegExp(`for region in ${REGIONS.join(' ')};`));
  t.match(script, /causeway passwd passwords link-\$\$region --create < link-\$\$region/);
});
