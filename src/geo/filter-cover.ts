/**
 * Which of many filters are needless because another one has all they match, for the same regions or fewer.
 * A tree by level, so that a hundred thousand filters are not compared with each other. Used by
 * `link-interest.ts`; pure.
 */
import { hasRegion } from '../core/link-names.ts';

class Node {
  children: Map<string, Node> | null = null;
  plus: Node | null = null;
  /** Lists of regions of filters that end here, and that end here with `#`. */
  ends: string[] | null = null;
  hashEnds: string[] | null = null;
}

export class FilterCover {
  readonly #root: Node = new Node();

  add(filter: string, regions: string): void {
    let node = this.#root;
    for (const level of filter.split('/')) {
      if (level === '#') {
        node.hashEnds ??= [];
        node.hashEnds.push(regions);
        return;
      }
      node = child(node, level);
    }
    node.ends ??= [];
    node.ends.push(regions);
  }

  /** Whether another filter, or the same for fewer regions, has everything of this one. */
  isCovered(filter: string, regions: string): boolean {
    const levels = filter.split('/');
    const isHash = levels.at(-1) === '#';
    const depthMax = isHash ? levels.length - 1 : levels.length;
    const nodes: Node[] = [this.#root];
    const depths: number[] = [0];
    for (let node = nodes.pop(); node !== undefined; node = nodes.pop()) {
      const depth = depths.pop()!;
      // `a/b/#` covers `a/b`, what is below it, and, for fewer regions, itself.
      const isSelf = isHash && depth === depthMax && isLiteral(levels, depth, node, this.#root);
      if (node.hashEnds !== null && hasWithin(node.hashEnds, regions, isSelf)) return true;
      if (depth === depthMax) {
        if (isHash || node.ends === null) continue;
        const isOwnEnd = isLiteral(levels, depth, node, this.#root);
        if (hasWithin(node.ends, regions, isOwnEnd)) return true;
        continue;
      }
      const level = levels[depth]!;
      if (node.plus !== null) {
        nodes.push(node.plus);
        depths.push(depth + 1);
      }
      const next = level === '+' ? undefined : node.children?.get(level);
      if (next !== undefined) {
        nodes.push(next);
        depths.push(depth + 1);
      }
    }
    return false;
  }
}

function child(node: Node, level: string): Node {
  if (level === '+') {
    node.plus ??= new Node();
    return node.plus;
  }
  node.children ??= new Map();
  let next = node.children.get(level);
  if (next === undefined) {
    next = new Node();
    node.children.set(level, next);
  }
  return next;
}

/** The node is the one that these levels lead to as they are written. */
function isLiteral(levels: readonly string[], depth: number, node: Node, root: Node): boolean {
  let at: Node | null | undefined = root;
  for (let i = 0; i < depth && at; i++) {
    at = levels[i] === '+' ? at.plus : at.children?.get(levels[i]!);
  }
  return at === node;
}

/** A list of regions that has none but these; the very same one does not count for itself. */
function hasWithin(lists: readonly string[], regions: string, isSelf: boolean): boolean {
  return lists.some((list) => !(isSelf && list === regions) && isWithin(list, regions));
}

function isWithin(list: string, regions: string): boolean {
  return list === '' || list.split(',').every((region) => hasRegion(regions, region));
}
