// GET /bridges, `causeway ctl bridges` and the metrics of bridges.
import t from 'tap';
import { bridgeMetrics, bridgeMetricTable } from '../../src/admin/bridge-metrics.ts';
import type { Outcome } from '../cli/run.ts';
import { runMany } from '../cli/run-many.ts';
import { ApiDoor } from './api-door.ts';
import { FakeBridges } from './fake-bridges.ts';

t.test('bridges, as the document has them', async (t) => {
  const bridges = new FakeBridges();
  const down = { ...bridges.current.bridges[0]!, name: 'edge', isUp: false, problem: 'no\x1b[2J' };
  bridges.current = { ...bridges.current, bridges: [...bridges.current.bridges, down] };
  const door = await ApiDoor.open(t, { admin: { bridges } });
  const answer = await door.get('/bridges', 'viewer');
  t.equal(answer.status, 200);
  t.strictSame(answer.json(), bridges.current);

  const env = {
    CAUSEWAY_API_URL: door.server.address!,
    CAUSEWAY_API_TOKEN: door.tokens.get('viewer')!,
  };
  const commands = [
    ['ctl', 'bridges'],
    ['ctl', 'bridges', '--json'],
  ];
  const [shown, document] = (await runMany(commands, { env })) as [Outcome, Outcome];
  t.equal(shown.code, 0, shown.stderr);
  t.notMatch(shown.stdout, '\x1b');
  t.match(shown.stdout, /^cloud +yes +9 +7 +2 +3 +16 +17 +11 +13 +14 +15 +-$/m);
  t.match(shown.stdout, /^edge +no /m);
  t.strictSame(JSON.parse(document.stdout), bridges.current);
});

t.test('every number is a metric, told apart by bridge', async (t) => {
  const { current } = new FakeBridges();
  const samples = [...bridgeMetrics(current)];
  t.equal(samples.length, bridgeMetricTable.length);
  t.strictSame(new Set(samples.map(({ labels }) => labels.bridge)), new Set(['cloud']));
  const values = samples.map(({ value }) => value);
  for (let number = 1; number <= 17; number++) t.ok(values.includes(number), `${number} is shown`);
});
