/**
 * Filters by level, for matching a topic against wildcards (data plane). Iterative and bounded by the
 * level limit; exact filters do not come here (router.ts keeps them in a map).
 */

class Node<T> {
  readonly parent: Node<T> | null;
  readonly level: string;
  children: Map<string, Node<T>> | null = null;
  plus: Node<T> | null = null;
  /** Values of filters that end here. */
  values: T[] | null = null;
  /** Values of filters that end here with `#`. */
  hashValues: T[] | null = null;

  constructor(parent: Node<T> | null, level: string) {
    this.parent = parent;
    this.level = level;
  }
}

export class TopicTree<T> {
  readonly #root: Node<T> = new Node<T>(null, '');

  add(filter: string, value: T): void {
    const levels = filter.split('/');
    let node = this.#root;
    const last = levels.length - 1;
    for (let i = 0; i <= last; i++) {
      const level = levels[i]!;
      if (level === '#') {
        node.hashValues ??= [];
        node.hashValues.push(value);
        return;
      }
      if (level === '+') {
        node.plus ??= new Node(node, level);
        node = node.plus;
        continue;
      }
      node.children ??= new Map();
      let child = node.children.get(level);
      if (child === undefined) {
        child = new Node(node, level);
        node.children.set(level, child);
      }
      node = child;
    }
    node.values ??= [];
    node.values.push(value);
  }

  /** Returns whether the value was there. */
  remove(filter: string, value: T): boolean {
    const levels = filter.split('/');
    let node: Node<T> | null | undefined = this.#root;
    const last = levels.length - 1;
    for (let i = 0; i <= last && node; i++) {
      const level = levels[i]!;
      if (level === '#') break;
      node = level === '+' ? node.plus : node.children?.get(level);
    }
    if (!node) return false;
    const isHash = levels[last] === '#';
    const values = isHash ? node.hashValues : node.values;
    const index = values === null ? -1 : values.indexOf(value);
    if (index === -1) return false;
    values!.splice(index, 1);
    if (values!.length === 0) {
      if (isHash) node.hashValues = null;
      else node.values = null;
      prune(node);
    }
    return true;
  }

  /**
   * Appends the values of all filters that match the topic. Wildcards do not match a first level that
   * starts with `$` [MQTT5-4.7.2-1].
   */
  match(topic: string, out: T[]): void {
    const levels = topic.split('/');
    const isReserved = topic.charCodeAt(0) === 0x24;
    // Depth-first with an explicit stack: (node, depth) pairs.
    const nodes: Node<T>[] = [this.#root];
    const depths: number[] = [0];
    while (nodes.length > 0) {
      const node = nodes.pop()!;
      const depth = depths.pop()!;
      const wildcards = depth > 0 || !isReserved;
      // `a/#` matches `a` too.
      if (wildcards && node.hashValues !== null) pushAll(node.hashValues, out);
      if (depth === levels.length) {
        if (node.values !== null) pushAll(node.values, out);
        continue;
      }
      if (wildcards && node.plus !== null) {
        nodes.push(node.plus);
        depths.push(depth + 1);
      }
      const child = node.children?.get(levels[depth]!);
      if (child !== undefined) {
        nodes.push(child);
        depths.push(depth + 1);
      }
    }
  }
}

function pushAll<T>(values: readonly T[], out: T[]): void {
  for (let i = 0; i < values.length; i++) out.push(values[i]!);
}

/** Removes nodes that hold nothing, upwards. */
function prune<T>(node: Node<T>): void {
  let empty = node;
  while (
    empty.parent !== null &&
    empty.values === null &&
    empty.hashValues === null &&
    empty.plus === null &&
    (empty.children === null || empty.children.size === 0)
  ) {
    const parent: Node<T> = empty.parent;
    if (empty.level === '+') parent.plus = null;
    else parent.children!.delete(empty.level);
    empty = parent;
  }
}
