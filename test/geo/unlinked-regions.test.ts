// Regions that are heard of without a link, where sessions roam: named once an hour, until they have one.
import t from 'tap';
import { UnlinkedRegions } from '../../src/geo/roaming/unlinked-regions.ts';

t.test('said once an hour, and not of a region that has a link', async (t) => {
  const linked = new Set(['us']);
  const said: object[] = [];
  let nowMs = 0;
  const nothing = () => {};
  const regions = new UnlinkedRegions(
    { monotonicMs: () => nowMs, wallMs: () => 0 },
    { debug: nothing, info: nothing, error: nothing, warn: (fields) => said.push(fields) },
    (region) => linked.has(region),
  );
  for (const region of ['us', 'sa', 'ap', 'sa']) regions.heard(region);
  t.strictSame(said, [{ region: 'sa' }, { region: 'ap' }]);
  t.strictSame(regions.names, ['ap', 'sa']);
  nowMs = 3_600_000;
  regions.heard('ap');
  t.strictSame(said.slice(2), [{ region: 'ap' }]);
  linked.add('ap');
  regions.heard('ap');
  t.equal(said.length, 3);
  t.strictSame(regions.names, ['sa'], 'an operator has added the link');
});
