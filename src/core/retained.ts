/**
 * The index of retained messages: one per topic, matched by filter as a walk that can stop and go on
 * (data plane). Their record on disk is the RetainedStore's; this holds them for replay.
 */
import type { Message } from './message.ts';
import type { Stats } from './stats.ts';

class Node {
  readonly parent: Node | null;
  readonly level: string;
  /** The only child so far; of a million devices that have one topic each, a million maps less. */
  child: Node | null = null;
  /** Once there were two; then `child` is null. */
  children: Map<string, Node> | null = null;
  message: Message | null = null;

  constructor(parent: Node | null, level: string) {
    this.parent = parent;
    this.level = level;
  }

  get(level: string): Node | undefined {
    const { child } = this;
    if (child !== null) return child.level === level ? child : undefined;
    return this.children?.get(level);
  }

  add(child: Node): void {
    const first = this.child;
    if (first === null && this.children === null) {
      this.child = child;
      return;
    }
    this.children ??= new Map();
    if (first !== null) {
      this.child = null;
      this.children.set(first.level, first);
    }
    this.children.set(child.level, child);
  }

  remove(child: Node): void {
    if (this.child === child) this.child = null;
    else this.children?.delete(child.level);
  }

  get isEmpty(): boolean {
    return this.message === null && this.child === null && !this.children?.size;
  }
}

export class RetainedIndex {
  readonly #root: Node = new Node(null, '');
  readonly #stats: Stats;

  constructor(stats: Stats) {
    this.#stats = stats;
  }

  get(topic: string): Message | null {
    let node: Node | undefined = this.#root;
    for (const level of topic.split('/')) {
      node = node.get(level);
      if (node === undefined) return null;
    }
    return node.message;
  }

  put(message: Message): void {
    let node = this.#root;
    for (const level of message.topic.split('/')) {
      let child = node.get(level);
      if (child === undefined) {
        child = new Node(node, level);
        node.add(child);
      }
      node = child;
    }
    if (node.message === null) this.#stats.retainedMessages++;
    else this.#stats.retainedBytes -= node.message.bytes;
    this.#stats.retainedBytes += message.bytes;
    node.message = message;
  }

  /** Returns whether there was one. */
  remove(topic: string): boolean {
    let node: Node | undefined = this.#root;
    for (const level of topic.split('/')) {
      node = node.get(level);
      if (node === undefined) return false;
    }
    if (node.message === null) return false;
    this.#stats.retainedMessages--;
    this.#stats.retainedBytes -= node.message.bytes;
    node.message = null;
    let empty = node;
    while (empty.parent !== null && empty.isEmpty) {
      const parent: Node = empty.parent;
      parent.remove(empty);
      empty = parent;
    }
    return true;
  }

  /** A walk over the retained messages a filter matches; messages put meanwhile may be seen or not. */
  walk(filter: string): RetainedWalk {
    return new RetainedWalk(this.#root, filter);
  }
}

/** Iterative depth-first walk; each `take` goes on where the last one stopped. */
export class RetainedWalk {
  readonly #levels: readonly string[];
  readonly #nodes: Node[];
  readonly #depths: number[];
  /** Children still to be visited, one iterator per wildcard level on the way. */
  readonly #pending: { readonly iterator: Iterator<Node>; readonly depth: number }[] = [];

  constructor(root: unknown, filter: string) {
    this.#levels = filter.split('/');
    this.#nodes = [root as Node];
    this.#depths = [0];
  }

  get done(): boolean {
    return this.#nodes.length === 0 && this.#pending.length === 0;
  }

  /** Visits up to `budget` nodes and appends the messages found. Returns the nodes visited. */
  take(budget: number, out: Message[]): number {
    let visited = 0;
    while (visited < budget) {
      let node: Node;
      let depth: number;
      if (this.#nodes.length > 0) {
        node = this.#nodes.pop()!;
        depth = this.#depths.pop()!;
      } else if (this.#pending.length > 0) {
        const top = this.#pending[this.#pending.length - 1]!;
        const next = top.iterator.next();
        if (next.done === true) {
          this.#pending.pop();
          continue;
        }
        node = next.value;
        depth = top.depth;
        if (isHidden(node, depth)) continue;
      } else {
        break;
      }
      visited++;
      this.#visit(node, depth, out);
    }
    return visited;
  }

  #visit(node: Node, depth: number, out: Message[]): void {
    // Below `#` every depth is beyond the levels.
    const level = depth < this.#levels.length ? this.#levels[depth] : null;
    const inHash = level === null && depth > 0 && this.#levels[this.#levels.length - 1] === '#';
    if (level === '#' || inHash) {
      if (node.message !== null) out.push(node.message);
      this.#all(node, depth + 1);
      return;
    }
    if (level === null) {
      if (node.message !== null) out.push(node.message);
      return;
    }
    if (level === '+') {
      this.#all(node, depth + 1);
      return;
    }
    const child = node.get(level!);
    if (child !== undefined) this.#next(child, depth + 1);
  }

  /** All children. */
  #all({ child, children }: Node, depth: number): void {
    if (child !== null && !isHidden(child, depth)) this.#next(child, depth);
    if (children !== null) this.#pending.push({ iterator: children.values(), depth });
  }

  #next(node: Node, depth: number): void {
    this.#nodes.push(node);
    this.#depths.push(depth);
  }
}

/** [MQTT5-4.7.2-1]: wildcards at the first level leave `$` topics out. */
function isHidden(node: Node, depth: number): boolean {
  return depth === 1 && node.level.charCodeAt(0) === 0x24;
}
