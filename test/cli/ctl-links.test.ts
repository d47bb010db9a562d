// `causeway ctl links` against a node's real API.
import t from 'tap';
import { ApiDoor } from '../admin/api-door.ts';
import { FakeLinks } from '../admin/fake-links.ts';
import type { Outcome } from './run.ts';
import { runMany } from './run-many.ts';

t.test('both directions as tables for people, the answer for programs', async (t) => {
  const links = new FakeLinks();
  const { current } = links;
  const down = { ...current.links[0]!, region: 'sa', isUp: false, problem: 'refused\x1b[2J' };
  links.current = { ...current, links: [...current.links, down] };
  const door = await ApiDoor.open(t, { admin: { links } });
  const env = {
    CAUSEWAY_API_URL: door.server.address!,
    CAUSEWAY_API_TOKEN: door.tokens.get('viewer')!,
  };
  const commands = [
    ['ctl', 'links'],
    ['ctl', 'links', '--json'],
  ];
  const [shown, document] = (await runMany(commands, { env })) as [Outcome, Outcome];
  t.equal(shown.code, 0, shown.stderr);
  t.notMatch(shown.stdout, '\x1b');
  t.match(shown.stdout, /^region +eu$/m);
  t.match(shown.stdout, /^unlinked +af,? sa$/m);
  t.match(shown.stdout, /^us +yes +3 +50 +7 +8 +9 +12 +130 +-$/m);
  t.match(shown.stdout, /^sa +no /m);
  t.match(shown.stdout, /^ap +no +13 +17 +14 +15 +16 +20 +19$/m);
  t.strictSame(JSON.parse(document.stdout), links.current);
});
