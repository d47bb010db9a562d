// What a node says it has read: users, keys, rules and quotas, at start and after a reload.
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { Rights } from '../../src/app/rights.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { Log } from '../../src/core/ports.ts';
import { passwordLines, Site } from './access-kit.ts';

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

t.test('numbers of what is in force', async (t) => {
  const site = new Site(t);
  const quota = (name: string) => ({ name, of: 'publishMessagesPerS', per: 'client', max: 1 });
  const load = (quotas: readonly string[]) => {
    site.configure({
      store: 'memory',
      authentication: {
        chain: ['scram', 'psk', 'jwt', 'password'],
        password: { file: 'passwords' },
        scram: { file: 'passwords' },
        psk: { file: 'psk' },
        jwt: { algorithms: ['HS256'], secretFile: 'secret' },
      },
      authorization: { rulesFile: 'acl.yaml' },
      quotas: quotas.map(quota),
    });
    return loadConfig({ file: site.config, environment: {}, flags: [] }).config;
  };
  const hashes = [
    await passwordLines({ ann: 'a', ben: 'b' }),
    await passwordLines({ sue: 's' }, 'scram-sha-256', 4096),
  ];
  site.write('passwords', hashes.join(''));
  site.write('psk', `meter:${'ab'.repeat(16)}\n`);
  site.write('secret', randomBytes(40));
  site.rules([
    { allow: 'publish', topics: ['a'] },
    { deny: 'publish', topics: ['b'] },
  ]);
  const rights = await Rights.make(load(['one']), {
    log: silent,
    recheck() {},
    retained: () => [],
  });
  await rights.start();
  t.teardown(() => rights.stop());
  const atStart = { passwordUsers: 3, scramUsers: 1, pskIdentities: 1, tokenKeys: 1 };
  t.strictSame(rights.loaded(), { ...atStart, rules: 2, quotas: 1 });

  site.write('passwords', 'nobody\n');
  await t.rejects(rights.reload());
  t.strictSame(rights.loaded(), { ...atStart, rules: 2, quotas: 1 }, 'nothing has changed');
  site.write('passwords', hashes[1]!);
  site.write('psk', `meter:${'ab'.repeat(16)}\npump:${'cd'.repeat(16)}\n`);
  site.rules([]);
  await rights.reload();
  rights.revise(load(['one', 'two']));
  const now = { passwordUsers: 1, scramUsers: 1, pskIdentities: 2, tokenKeys: 1 };
  t.strictSame(rights.loaded(), { ...now, rules: 0, quotas: 2 });
});

t.test('a part that is not configured has nothing', async (t) => {
  const site = new Site(t);
  site.configure({ store: 'memory' });
  const { config } = loadConfig({ file: site.config, environment: {}, flags: [] });
  const rights = await Rights.make(config, { log: silent, recheck() {}, retained: () => [] });
  await rights.start();
  t.teardown(() => rights.stop());
  t.strictSame(Object.values(rights.loaded()), [0, 0, 0, 0, 0, 0]);
});
