// What is asked for over links: coverage, for whom, and that interest ends with its last client, on random
// topologies.
import fc from 'fast-check';
import t from 'tap';
import { parseLinkFilter } from '../../src/core/link-names.ts';
import { WantedFilters } from '../../src/core/wanted-filters.ts';
import { FilterCover } from '../../src/geo/filter-cover.ts';
import { interestFor } from '../../src/geo/link-interest.ts';
import { covers } from '../../src/wire/topic-match.ts';

function wanted(
  ...entries: readonly (readonly [filter: string, regions: string])[]
): WantedFilters {
  const filters = new WantedFilters();
  for (const [filter, regions] of entries) filters.add(filter, regions);
  return filters;
}

t.test('merged, bounded by what the link allows, for whom', async (t) => {
  const own = wanted(['a/#', ''], ['a/b', ''], ['a/+/c', ''], ['$SYS/#', ''], ['b', '']);
  t.strictSame([...interestFor(own, 'eu', 'us', ['#'])].sort(), ['a/#', 'b']);
  t.strictSame([...interestFor(own, 'eu', 'us', ['+/b'])].sort(), ['a/b']);
  t.strictSame([...interestFor(wanted(['#', '']), 'eu', 'us', ['x/#', 'y'])].sort(), ['x/#', 'y']);
  t.strictSame([...interestFor(own, 'eu', 'us', [])], []);
  const others = wanted(['x', 'ap'], ['x', 'ap,sa'], ['x', 'us'], ['y/1', 'ap'], ['y/#', '']);
  t.strictSame([...interestFor(others, 'eu', 'us', ['#'])].sort(), ['$link/ap/x', 'y/#']);
  t.strictSame([...interestFor(others, 'eu', 'ap', ['#'])].sort(), ['$link/us/x', 'y/#']);
  t.strictSame([...interestFor(wanted(['x', 'ap,eu']), 'eu', 'us', ['#'])], [], 'from here');
});

t.test('changes are told once they are changes', async (t) => {
  const filters = new WantedFilters();
  let changes = 0;
  filters.onChange = () => changes++;
  filters.add('a', '');
  filters.add('a', '');
  filters.remove('a', '');
  t.equal(changes, 1);
  filters.remove('a', '');
  filters.remove('a', '');
  t.equal(changes, 2);
  t.equal(filters.size, 0);
});

t.test('coverage in a tree is coverage of pairs', async () => {
  const level = fc.constantFrom('a', 'b', '+');
  const filter = fc
    .tuple(fc.array(level, { minLength: 1, maxLength: 3 }), fc.boolean())
    .map(([levels, isHash]) => [...levels, ...(isHash ? ['#'] : [])].join('/'));
  const regions = fc.constantFrom('', 'p', 'q', 'p,q');
  fc.assert(
    fc.property(fc.array(fc.tuple(filter, regions), { maxLength: 12 }), (pairs) => {
      const all = [...new Map(pairs.map((pair) => [pair.join(' '), pair])).values()];
      const cover = new FilterCover();
      for (const [one, list] of all) cover.add(one, list);
      for (const [inner, list] of all) {
        const expected = all.some(
          ([outer, other]) =>
            (outer !== inner || other !== list) &&
            covers(outer, inner) &&
            (other === '' || other.split(',').every((r) => list.split(',').includes(r))),
        );
        if (cover.isCovered(inner, list) !== expected) return false;
      }
      return true;
    }),
    { numRuns: 2000 },
  );
});

/** Regions that tell each other what they want until nothing changes; links as `from<to`. */
class Network {
  readonly regions: Map<string, WantedFilters> = new Map();
  /** By link: what it has subscribed to. */
  readonly subscribed: Map<string, Set<string>> = new Map();
  readonly #links: readonly (readonly [from: string, to: string])[];

  constructor(names: readonly string[], links: readonly (readonly [string, string])[]) {
    for (const name of names) this.regions.set(name, new WantedFilters());
    for (const link of links) this.subscribed.set(link.join('<'), new Set());
    this.#links = links;
  }

  /** False: it does not come to rest. */
  settle(): boolean {
    for (let round = 0; round < 50; round++) {
      let changes = 0;
      for (const [from, to] of this.#links) changes += this.#sync(from, to);
      if (changes === 0) return true;
    }
    return false;
  }

  #sync(from: string, to: string): number {
    const next = interestFor(this.regions.get(from)!, from, to, ['#']);
    const known = this.subscribed.get(`${from}<${to}`)!;
    const there = this.regions.get(to)!;
    let changes = 0;
    for (const text of next) {
      if (known.has(text)) continue;
      const { via, filter } = parseLinkFilter(text)!;
      there.add(filter, via === '' ? from : `${via},${from}`);
      changes++;
    }
    for (const text of known) {
      if (next.has(text)) continue;
      const { via, filter } = parseLinkFilter(text)!;
      there.remove(filter, via === '' ? from : `${via},${from}`);
      changes++;
    }
    this.subscribed.set(`${from}<${to}`, next);
    return changes;
  }

  /** Whether what is published at `at` comes to `reader`, along subscriptions that are there. */
  reaches(at: string, reader: string, filter: string): boolean {
    const seen = new Set([at]);
    for (const region of seen) {
      for (const [from, to] of this.#links) {
        if (to !== region) continue;
        const filters = [...this.subscribed.get(`${from}<${to}`)!];
        if (filters.some((text) => parseLinkFilter(text)!.filter === filter)) seen.add(from);
      }
    }
    return seen.has(reader);
  }

  connected(at: string, reader: string): boolean {
    const seen = new Set([at]);
    for (const region of seen) {
      for (const [from, to] of this.#links) if (to === region) seen.add(from);
    }
    return seen.has(reader);
  }
}

t.test('interest reaches every region there is a way from, and ends with its client', async () => {
  const names = ['a', 'b', 'c', 'd', 'e'];
  const pairs = names.flatMap((from) =>
    names.filter((to) => to !== from).map((to) => [from, to] as const),
  );
  fc.assert(
    fc.property(fc.subarray(pairs), fc.subarray(names, { minLength: 1 }), (links, readers) => {
      const network = new Network(names, links);
      for (const reader of readers) network.regions.get(reader)!.add('x', '');
      if (!network.settle()) return false;
      for (const reader of readers) {
        for (const at of names) {
          if (network.connected(at, reader) && !network.reaches(at, reader, 'x')) return false;
        }
      }
      for (const reader of readers) network.regions.get(reader)!.remove('x', '');
      return network.settle() && [...network.subscribed.values()].every((set) => set.size === 0);
    }),
    { numRuns: 300 },
  );
});
