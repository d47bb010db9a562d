// The health probe of a node that asks who clients are: it gets in, also while its address is blocked
// for the failed logins of others.
import t from 'tap';
import { codeOf, NearNode, passwordLines, Site } from './access-kit.ts';

const BAD = 0x86;
const BLOCKED = 0x9f;

t.test('wrong passwords from the address of the probe do not turn health red', async (t) => {
  const site = new Site(t);
  site.write('passwords', await passwordLines({ alice: 'right' }));
  site.configure({
    authentication: { chain: ['password'], password: { file: 'passwords' } },
    authorization: { rulesFile: 'acl.yaml' },
    bans: { login: { failuresMax: 3 } },
  });
  site.rules([{ allow: 'publish', users: ['alice'], topics: ['a'] }]);
  const node = await NearNode.start(t, site);
  const health = async (): Promise<number> => (await fetch(`${node.admin}/health/full`)).status;
  t.equal(await health(), 200);
  for (let i = 0; i < 4; i++) {
    t.ok([BAD, BLOCKED].includes((await codeOf(node, { username: `m${i}`, password: 'no' })) ?? 0));
  }
  t.equal(await codeOf(node, { username: 'alice', password: 'right' }), BLOCKED, 'the address is');
  // An answer is kept for a second.
  await new Promise((resolve) => setTimeout(resolve, 1100));
  t.equal(await health(), 200, 'the probe is known by a secret of the process');
  const forged = { username: '$probe-0000000000000000', password: 'right' };
  t.equal(await codeOf(node, forged), BLOCKED, 'its name alone is nothing');
});
