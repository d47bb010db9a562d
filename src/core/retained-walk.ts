/**
 * An iterative depth-first walk over the retained messages that a filter matches; each `take` goes on where
 * the last one stopped, whatever has been put and removed meanwhile. Made by `retained.ts` (data plane).
 */
import { type LevelTree, NONE, ROOT } from './level-tree.ts';
import type { Message } from './message.ts';

/** Makes the message of a node; null: the node has none (any more). */
export interface NodeMessages {
  messageOf(node: number): Message | null;
}

/**
 * Children of a node that are still to be visited. Between two calls numbers of nodes may be used again:
 * serials, which are noted at the end of each call, tell.
 */
interface Pending {
  readonly parent: number;
  readonly parentSerial: number;
  readonly depth: number;
  /** The next one; NONE: there was none behind the last. */
  next: number;
  nextSerial: number;
  /** Visited last; NONE: none since the call before. They stand in the order of their serials. */
  last: number;
  lastSerial: number;
}

export class RetainedWalk {
  readonly #messages: NodeMessages;
  readonly #tree: LevelTree;
  readonly #levels: readonly string[];
  readonly #isHash: boolean;
  /** The one to be visited next; NONE: a pending one. */
  #node: number = ROOT;
  #serial: number;
  #depth = 0;
  /** One for each wildcard level on the way. */
  readonly #pending: Pending[] = [];
  readonly #nodes: number[] = [];

  constructor(messages: NodeMessages, tree: LevelTree, filter: string) {
    this.#messages = messages;
    this.#tree = tree;
    this.#levels = filter.split('/');
    this.#isHash = this.#levels[this.#levels.length - 1] === '#';
    this.#serial = tree.serial(ROOT);
  }

  get done(): boolean {
    return this.#node === NONE && this.#pending.length === 0;
  }

  /** Visits up to `budget` nodes and appends the messages found. Returns the nodes visited. */
  take(budget: number, out: Message[]): number {
    const nodes = this.#nodes;
    const visited = this.takeNodes(budget, nodes);
    for (const node of nodes) {
      const message = this.#messages.messageOf(node);
      if (message !== null) out.push(message);
    }
    nodes.length = 0;
    return visited;
  }

  /** The same, and appends numbers of nodes with a message, which are good until something is put. */
  takeNodes(budget: number, out: number[]): number {
    const tree = this.#tree;
    let visited = 0;
    this.#resume();
    while (visited < budget) {
      if (this.#node === NONE) {
        const top = this.#pending[this.#pending.length - 1];
        if (top === undefined) break;
        const child = top.next;
        if (child === NONE) {
          this.#pending.pop();
          continue;
        }
        top.last = child;
        top.next = tree.nextChild(top.parent, child);
        // [MQTT5-4.7.2-1]: wildcards at the first level leave `$` topics out.
        if (top.depth === 1 && tree.isReserved(child)) continue;
        this.#node = child;
        this.#depth = top.depth;
      }
      visited++;
      this.#visit(this.#node, this.#depth, out);
    }
    this.#pause();
    return visited;
  }

  #pause(): void {
    const tree = this.#tree;
    if (this.#node !== NONE) this.#serial = tree.serial(this.#node);
    for (const pending of this.#pending) {
      if (pending.last !== NONE) pending.lastSerial = tree.serial(pending.last);
      pending.last = NONE;
      pending.nextSerial = pending.next === NONE ? 0 : tree.serial(pending.next);
    }
  }

  /** Finds its places again, where nodes were removed. */
  #resume(): void {
    const tree = this.#tree;
    if (this.#node !== NONE && tree.serial(this.#node) !== this.#serial) this.#node = NONE;
    for (const pending of this.#pending) {
      const { parent, parentSerial, next, nextSerial, lastSerial } = pending;
      if (tree.serial(parent) !== parentSerial) {
        pending.next = NONE;
      } else if (next === NONE) {
        // Something may have been put behind the last one.
        const last = tree.lastChild(parent);
        if (last === NONE || tree.serial(last) <= lastSerial) continue;
        pending.next = tree.childAfter(parent, lastSerial);
      } else if (tree.serial(next) !== nextSerial) {
        pending.next = tree.childAfter(parent, lastSerial);
      }
    }
  }

  #visit(node: number, depth: number, out: number[]): void {
    this.#node = NONE;
    const levels = this.#levels;
    // Below `#` every depth is beyond the levels.
    const level = depth < levels.length ? levels[depth]! : null;
    if (level === '#' || (level === null && this.#isHash)) {
      if (this.#tree.recordSlab(node) !== NONE) out.push(node);
      this.#children(node, depth + 1);
    } else if (level === null) {
      if (this.#tree.recordSlab(node) !== NONE) out.push(node);
    } else if (level === '+') {
      this.#children(node, depth + 1);
    } else {
      this.#node = this.#tree.find(node, level, 0, level.length);
      this.#depth = depth + 1;
    }
  }

  #children(node: number, depth: number): void {
    const tree = this.#tree;
    const first = tree.firstChild(node);
    if (first === NONE) return;
    // An only child needs no place to go on from.
    if (tree.nextChild(node, first) === NONE && !(depth === 1 && tree.isReserved(first))) {
      this.#node = first;
      this.#depth = depth;
      return;
    }
    this.#pending.push({
      parent: node,
      parentSerial: tree.serial(node),
      depth,
      next: first,
      nextSerial: 0,
      last: NONE,
      lastSerial: 0,
    });
  }
}
