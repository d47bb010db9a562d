// GET /links and the metrics of links.
import t from 'tap';
import { linkMetrics, linkMetricTable } from '../../src/admin/link-metrics.ts';
import { ApiDoor } from './api-door.ts';
import { FakeLinks } from './fake-links.ts';

t.test('links in both directions, as the document has them', async (t) => {
  const links = new FakeLinks();
  const door = await ApiDoor.open(t, { admin: { links } });
  const answer = await door.get('/links', 'viewer');
  t.equal(answer.status, 200);
  t.strictSame(answer.json(), links.current);
});

t.test('a node without regions has none', async (t) => {
  const door = await ApiDoor.open(t);
  const answer = await door.get('/links');
  t.equal(answer.status, 404);
  t.match(answer.json().detail, /^this node is linked to no other region/);
});

t.test('every number is a metric, told apart by region', async (t) => {
  const { current } = new FakeLinks();
  const samples = [...linkMetrics(current)];
  t.strictSame(
    new Set(samples.map(({ name }) => name)),
    new Set(linkMetricTable.map((m) => m.name)),
  );
  const regionOf = (prefix: string): Set<string | undefined> =>
    new Set(
      samples.filter(({ name }) => name.startsWith(prefix)).map(({ labels }) => labels.region),
    );
  t.strictSame(regionOf('causeway_fetcher_'), new Set(['ap']));
  const values = samples.map(({ value }) => value);
  const numbers = [...Object.values(current.links[0]!), ...Object.values(current.fetchers[0]!)];
  for (const number of numbers) {
    if (typeof number !== 'number' || number > 1e9 || number === 130) continue;
    t.ok(values.includes(number), `${number} is shown`);
  }
  t.ok(values.includes(0.13), 'the lag in seconds');
});
