// FIELD class 30: what each role may do, for every endpoint of the route table; and that table, document
// and what fastify serves are the same.

import { readFileSync } from 'node:fs';
import type { FastifyInstance, RouteOptions } from 'fastify';
import t from 'tap';
import { Api, type ApiOptions } from '../../src/admin/api/api.ts';
import { DrainControl } from '../../src/admin/api/drain-control.ts';
import type { RegionDrainPort } from '../../src/admin/api/ports.ts';
import { isEnough, type Role, roles } from '../../src/admin/api/role.ts';
import type { ApiRoute } from '../../src/admin/api/route.ts';
import { BASE_PATH, routeTable } from '../../src/admin/api/route-table.ts';
import { TokenStore } from '../../src/admin/api/token-store.ts';
import type { Log } from '../../src/core/ports.ts';
import { systemClock } from '../../src/listeners/scheduler.ts';
import { ApiDoor } from './api-door.ts';
import { apiReference, apiReferencePath } from './api-reference.ts';
import { FakeCluster } from './fake-cluster.ts';
import { FakeLinks } from './fake-links.ts';

/** Requests that would do something, by operation: path below the base, body. */
const samples: Readonly<Record<string, { path?: string; body?: unknown }>> = {
  getClient: { path: '/clients/c1' },
  disconnectClient: { path: '/clients/c1' },
  getSession: { path: '/sessions/c1' },
  deleteSession: { path: '/sessions/c1' },
  listSubscriptionsOfSession: { path: '/sessions/c1/subscriptions' },
  deleteSubscription: { path: '/sessions/c1/subscriptions?filter=a' },
  listQueue: { path: '/sessions/c1/queue' },
  listRoutes: { path: '/routes?topic=a' },
  getRetained: { path: '/retained/message?topic=a' },
  deleteRetained: { path: '/retained?topic=a' },
  publish: { body: { topic: 'a', payload: 'x', retain: true } },
  trace: { path: '/trace?client=c1&durationS=1' },
  addBan: { body: { kind: 'client', value: 'c1' } },
  liftBan: { path: '/bans/b1' },
  testAcl: { body: { clientId: 'c1', action: 'publish', topic: 'a' } },
  createToken: { body: { name: 'new', role: 'admin' } },
  deleteToken: { path: '/tokens/other' },
  drain: { body: { clientsPerS: 10, serverReference: 'other.example' } },
  drainRegion: { body: { clientsPerS: 10, serverReference: 'other.example' } },
};

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

const regionDrain: RegionDrainPort = {
  report: () => ({
    draining: true,
    clientsPerS: 10,
    serverReference: null,
    startedAtMs: 1,
    by: 'somebody',
    nodes: [{ nodeId: 'a', draining: true, moved: 0, remaining: 0 }],
  }),
  begin: async () => true,
  end: async () => true,
};

function requestOf(route: ApiRoute): { path: string; body?: unknown } {
  const { path = route.path, body } = samples[route.id] ?? {};
  if (path.includes('{')) throw new Error(`no sample for ${route.id}`);
  return body === undefined ? { path } : { path, body };
}

/** Counts every use of anything behind the door. */
function watched<T extends object>(target: T, used: () => void): T {
  return new Proxy(target, {
    get: (object, name) => {
      const value = Reflect.get(object, name, object) as unknown;
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        used();
        return Reflect.apply(value, object, args);
      };
    },
  });
}

t.test('class 30: each role on each endpoint', async (t) => {
  let uses = 0;
  const use = (): void => {
    uses += 1;
  };
  const first = await ApiDoor.open(t);
  await first.server.stop();
  const store = new TokenStore({ file: first.tokensFile, wallMs: () => Date.now() - 10_000 });
  const { token: expired } = await store.create({ name: 'old', role: 'admin', expiresInS: 1 });
  await store.create({ name: 'other', role: 'viewer', expiresInS: null });
  const door = await ApiDoor.open(t, {
    admin: {
      cluster: watched(new FakeCluster(), use),
      links: watched(new FakeLinks(), use),
      region: {
        drain: new DrainControl(watched(first.world.broker, use), systemClock, silent),
        regionDrain: watched(regionDrain, use),
      },
    },
    api: {
      tokensFile: first.tokensFile,
      core: watched(first.world.broker.admin, use),
      bans: watched(first.bans, use),
      acl: watched(first.acl, use),
      quotas: watched(first.quotas, use),
      config: watched(first.config, use),
      observe: use,
      rates: { failures: { calls: 500, perS: 60 }, calls: { calls: 500, perS: 60 } },
    },
  });
  for (const [role, token] of first.tokens) door.tokens.set(role, token);
  const strangers: readonly (string | undefined)[] = [undefined, 'cwt_wrong', expired];
  for (const route of routeTable) {
    const { path, body } = requestOf(route);
    const { method } = route;
    const name = `${method} ${route.path}`;
    const isAllowed = (role: Role): boolean => route.role === null || isEnough(role, route.role);
    const logged = door.logged.length;
    uses = 0;
    for (const token of strangers) {
      const ask = token === undefined ? { body } : { body, token };
      const { status, headers } = await door.ask(method, path, ask);
      if (route.role === null) {
        t.equal(status, 200, `${name} needs no token`);
      } else {
        t.equal(status, 401, `${name} as nobody`);
        t.equal(headers['www-authenticate'], 'Bearer');
      }
    }
    for (const role of roles.filter((role) => !isAllowed(role))) {
      const { status, body: text } = await door.ask(method, path, { as: role, body });
      t.equal(status, 403, `${name} as ${role}`);
      t.match(text, new RegExp(`the role ${route.role}; the token has ${role}`));
    }
    t.equal(uses, 0, `${name}: nothing was touched`);
    const answers = roles
      .filter(isAllowed)
      .map((role) => door.ask(method, path, { as: role, body }));
    for (const { status, body: text } of await Promise.all(answers)) {
      t.ok([200, 201, 204, 404, 409].includes(status), `${name}: ${status} ${text.slice(0, 80)}`);
    }
    const audit = door.logged.slice(logged).filter(({ fields }) => 'audit' in fields);
    const known = route.changes ? roles.length : 0;
    t.equal(audit.length, known, `${name} is ${route.changes ? '' : 'not '}audited`);
    t.equal(route.changes, method !== 'GET' && route.id !== 'testAcl', `${name}: what changes`);
  }
});

t.test('roles are one above the other', async (t) => {
  const able = (role: Role): number =>
    routeTable.filter((route) => route.role !== null && isEnough(role, route.role)).length;
  t.ok(able('viewer') < able('operator') && able('operator') < able('admin'));
  t.strictSame(
    routeTable.filter(({ role }) => role === null).map(({ path }) => path),
    ['/openapi.json'],
    'nothing else is open',
  );
});

t.test('what is served is what is in the document', async (t) => {
  const door = await ApiDoor.open(t);
  const served: string[] = [];
  const recorder = {
    route: ({ method, url }: RouteOptions) => {
      served.push(`${method} ${url.replace(/:(\w+)/g, '{$1}')}`);
    },
  };
  const options = { clock: {}, scheduler: {}, tokensFile: '' } as unknown as ApiOptions;
  const sources = { ...door.sources, log: {} } as unknown as ConstructorParameters<typeof Api>[1];
  new Api(options, sources).attach(recorder as unknown as FastifyInstance);
  const described = Object.entries(door.contract.document.paths).flatMap(([path, operations]) =>
    Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
  );
  t.strictSame(served.toSorted(), described.toSorted());
  t.equal(new Set(served).size, routeTable.length, 'each once');
  for (const [path, operations] of Object.entries(door.contract.document.paths)) {
    const template = path.match(/(?<=\{)\w+(?=\})/g) ?? [];
    for (const { parameters = [], operationId } of Object.values(operations)) {
      const given = parameters.filter((one) => one.in === 'path').map(({ name }) => name);
      t.strictSame(given, [...template], `parameters of ${operationId}`);
    }
  }
  const ids = routeTable.map(({ id }) => id);
  t.equal(new Set(ids).size, ids.length, 'operation ids are unique');
  t.equal(door.contract.document.openapi, '3.1.0');
  t.ok(described.every((one) => one.includes(` ${BASE_PATH}/`)));
});

t.test('every schema of the document is a schema', async (t) => {
  const { contract } = await ApiDoor.open(t);
  const text = JSON.stringify(contract.document);
  for (const [, name] of text.matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
    t.ok(contract.document.components.schemas[name!], name!);
  }
  for (const name of Object.keys(contract.document.components.schemas)) {
    t.ok(text.includes(`"#/components/schemas/${name}"`), `${name} is used`);
  }
});

t.test('docs/reference/api.md', async (t) => {
  const found = readFileSync(apiReferencePath, 'utf8');
  const hint = 'is up to date; otherwise run: node test/admin/api-reference.ts';
  t.equal(found, apiReference(), hint);
});
