/**
 * What is asked for over a link: what this region's clients want, and what other regions want through it,
 * as far as the link allows, without what is covered by other filters. A filter that is wanted for others
 * says for whom, so that interest cannot go round in a ring and keep itself alive. Pure.
 */
import { hasRegion, linkFilter } from '../core/link-names.ts';
import type { WantedFilters } from '../core/wanted-filters.ts';
import { intersection } from '../wire/topic-match.ts';
import { FilterCover } from './filter-cover.ts';

/** Filters that are looked at between two places where the work may pause. */
export const FILTERS_PER_STEP = 256;

/** Filters to subscribe to at `region`, as `$link/` has them where they are for others. */
export function interestFor(
  wanted: Pick<WantedFilters, 'entries'>,
  own: string,
  region: string,
  allow: readonly string[],
): Set<string> {
  const steps = interestSteps(wanted, own, region, allow);
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/**
 * The same in steps, as there may be a million filters. What is wanted may change meanwhile: whoever is told
 * of it looks again.
 */
export function* interestSteps(
  wanted: Pick<WantedFilters, 'entries'>,
  own: string,
  region: string,
  allow: readonly string[],
): Generator<undefined, Set<string>> {
  const found: Map<string, string[]> = new Map();
  let count = 0;
  for (const [filter, lists] of wanted.entries()) {
    if (++count % FILTERS_PER_STEP === 0) yield;
    if (filter.startsWith('$')) continue;
    const vias = viasOf(lists, own, region);
    if (vias.length === 0) continue;
    for (const allowed of allow) {
      const both = allowed === '#' ? filter : intersection(allowed, filter);
      if (both === null || both.startsWith('$')) continue;
      const known = found.get(both);
      if (known === undefined) {
        found.set(both, [...vias]);
        continue;
      }
      for (const via of vias) if (!known.includes(via)) known.push(via);
    }
  }
  const cover = new FilterCover();
  for (const [filter, vias] of found) {
    if (++count % FILTERS_PER_STEP === 0) yield;
    for (const via of vias) cover.add(filter, via);
  }
  const interest: Set<string> = new Set();
  for (const [filter, vias] of found) {
    if (++count % FILTERS_PER_STEP === 0) yield;
    for (const via of vias) {
      if (!cover.isCovered(filter, via)) interest.add(linkFilter(via, filter));
    }
  }
  return interest;
}

/** For whom else it is wanted; nobody is asked for what it wants itself, or has asked us for in turn. */
function viasOf(lists: Iterable<string>, own: string, region: string): string[] {
  const vias: string[] = [];
  for (const list of lists) {
    if (list === '') vias.push('');
    else if (!hasRegion(list, region) && !hasRegion(list, own)) {
      vias.push(list.split(',').sort().join(','));
    }
  }
  return vias;
}
