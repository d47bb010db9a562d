// docs/scale.md is what bench/scale computes from unit costs, and its arithmetic does not give way.
import { readFileSync } from 'node:fs';
import t from 'tap';
import { bestCell, cellOf, knowledgeMib, machine, smallestCell } from '../../bench/scale/fleet.ts';
import { linkedFleet, namesKeptS, regionEnds, retainedFleet } from '../../bench/scale/regions.ts';
import { pagePath, withTables } from '../../bench/scale/tables.ts';
import { unitCosts } from '../../bench/scale/unit-costs.ts';

t.test('the page has the tables of now', async (t) => {
  const page = readFileSync(pagePath, 'utf8');
  t.equal(page, withTables(page), 'else: node bench/scale/tables.ts');
  t.throws(() => withTables(page.replace('<!-- limits:end -->', '')), /no marks of limits/);
});

t.test('a datacenter ends where its nodes cannot know all sessions', async (t) => {
  const most = Math.floor(((machine.heapMib - unitCosts.nodeMib.value) * 1024 * 1024) / 4500);
  t.ok(knowledgeMib(most) <= machine.heapMib);
  t.not(smallestCell(most - 1000, 3), null);
  t.equal(smallestCell(most + 1000, 3), null, 'however many nodes');
});

t.test('a cell carries its load with one node away', async (t) => {
  const cell = bestCell();
  t.equal(cellOf(cell.devices, cell.nodes - 1), null, 'and not with two');
  t.ok(cell.memoryMib <= machine.memoryMib - machine.reservedMib);
  t.ok(cell.cpu <= machine.busyMax);
  t.equal(cell.devicesPerNode, cell.devices / (cell.nodes - 1));
});

t.test('regions end where their tables say', async (t) => {
  const { namesPerS, mirrorTopics } = regionEnds();
  t.equal(namesKeptS(namesPerS - 1), 90_000);
  t.ok(namesKeptS(namesPerS + 10) < 90_000);
  t.ok(retainedFleet(mirrorTopics * 100 - 100).fits);
  t.notOk(retainedFleet(mirrorTopics * 100 + 100).fits);
  const [small, large] = [linkedFleet(1e6), linkedFleet(1e8)];
  t.ok(large.holderCpu < 2 * small.holderCpu, 'a datacenter does not get larger');
  t.ok(large.lookS > 100 * small.lookS, 'but has more links');
});
