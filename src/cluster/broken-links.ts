/**
 * Which of two live members has to go when the link between them is broken (hard case 4): the one that is
 * evicted first. Used by membership.ts.
 */

export interface BrokenLink {
  readonly forMs: number;
  /** Links of this node that are down, this one included. */
  readonly downCount: number;
  /** This node's incarnation is the lower one of the two. */
  readonly isLower: boolean;
}

/**
 * May this node evict the other now? A node with fewer broken links may do so earlier, so that one whose
 * links are all down does not evict the others one by one; of equals the lower incarnation may. Redis lets
 * a node that was evicted evict nobody, so of two that act at once one goes.
 */
export function evictsNow(link: BrokenLink, linkGraceMs: number, leaseMs: number): boolean {
  const { forMs, downCount, isLower } = link;
  const steps = Math.min(Math.max(0, downCount - 1), 2) + (isLower ? 0 : 0.5);
  return forMs >= linkGraceMs + (steps * leaseMs) / 3;
}
