/**
 * The index of retained messages: one per topic, matched by filter as a walk that can stop and go on
 * (data plane). It holds bytes, no objects: a Message is made when somebody asks for it. Their record on
 * disk is the RetainedStore's; this holds them for replay.
 */
import { LevelTree, NONE, ROOT } from './level-tree.ts';
import type { Message } from './message.ts';
import type { Random } from './ports.ts';
import type { Principal } from './principal.ts';
import type { Publication } from './publication.ts';
import { RECORD_HEADER_BYTES, RecordSlabs } from './record-slabs.ts';
import {
  RetainedRecords,
  readRetainedRecord,
  retainedRecordBytes,
  retainedRecordSource,
  showRetainedRecord,
} from './retained-record.ts';
import { RetainedWalk } from './retained-walk.ts';
import type { Stats } from './stats.ts';

export class RetainedIndex {
  readonly #stats: Stats;
  readonly #tree: LevelTree;
  readonly #slabs: RecordSlabs;
  readonly #records: RetainedRecords = new RetainedRecords();

  constructor(stats: Stats, random: Random) {
    this.#stats = stats;
    const tree = new LevelTree(random.below(2 ** 32), random.below(2 ** 32));
    this.#tree = tree;
    this.#slabs = new RecordSlabs({
      isAt: (node, slab, at) => tree.recordSlab(node) === slab && tree.recordAt(node) === at,
      moved: (node, slab, at) => tree.setRecord(node, slab, at),
    });
  }

  get(topic: string): Message | null {
    const node = this.#find(topic);
    return node === NONE ? null : this.messageOf(node);
  }

  /** A small number that the topic has as long as something is retained there; -1: nothing is. */
  slotOf(topic: string): number {
    const node = this.#find(topic);
    return node === NONE || this.#tree.recordSlab(node) === NONE ? -1 : node;
  }

  #find(topic: string): number {
    const tree = this.#tree;
    let node = ROOT;
    for (let start = 0; start <= topic.length && node !== NONE; ) {
      const end = endOfLevel(topic, start);
      node = tree.find(node, topic, start, end);
      start = end + 1;
    }
    return node;
  }

  /** Rises when a number of a node may have been used again. */
  get nodesMade(): number {
    return this.#tree.nodesMade;
  }

  /** Of a node, for walks. A new object each time. */
  messageOf(node: number): Message | null {
    const tree = this.#tree;
    const slabs = this.#slabs;
    const slab = tree.recordSlab(node);
    if (slab === NONE) return null;
    const at = tree.recordAt(node);
    return readRetainedRecord(slabs.buffer(slab), at + RECORD_HEADER_BYTES, slabs.endOf(slab, at));
  }

  /** For walks: the message of a node into a publication that was begun; false: the node has none. */
  show(node: number, publication: Publication): boolean {
    const slab = this.#tree.recordSlab(node);
    if (slab === NONE) return false;
    const slabs = this.#slabs;
    const at = this.#tree.recordAt(node);
    const start = at + RECORD_HEADER_BYTES;
    showRetainedRecord(publication, slabs.buffer(slab), start, slabs.endOf(slab, at));
    return true;
  }

  /** Who published the message of a node. */
  sourceOf(node: number): Principal | null {
    const slab = this.#tree.recordSlab(node);
    if (slab === NONE) return null;
    const start = this.#tree.recordAt(node) + RECORD_HEADER_BYTES;
    return retainedRecordSource(this.#slabs.buffer(slab), start);
  }

  /** As it is now: what is done to the message later is not seen. */
  put(message: Message): void {
    const tree = this.#tree;
    const { topic } = message;
    let node = ROOT;
    for (let start = 0; start <= topic.length; ) {
      const end = endOfLevel(topic, start);
      const child = tree.find(node, topic, start, end);
      node = child === NONE ? tree.add(node, topic, start, end) : child;
      start = end + 1;
    }
    const slabs = this.#slabs;
    const records = this.#records;
    const out = slabs.add(node, records.bytesOf(message));
    const { slab, at } = slabs;
    records.write(out, at + RECORD_HEADER_BYTES, message);
    // Only now, as `add` may have moved it.
    const oldSlab = tree.recordSlab(node);
    const oldAt = tree.recordAt(node);
    tree.setRecord(node, slab, at);
    this.#stats.retainedBytes += message.bytes;
    if (oldSlab === NONE) this.#stats.retainedMessages++;
    else this.#drop(oldSlab, oldAt);
  }

  /** Returns whether there was one. */
  remove(topic: string): boolean {
    const tree = this.#tree;
    let node = this.#find(topic);
    const slab = node === NONE ? NONE : tree.recordSlab(node);
    if (slab === NONE) return false;
    const at = tree.recordAt(node);
    tree.setRecord(node, NONE, 0);
    this.#stats.retainedMessages--;
    this.#drop(slab, at);
    while (node !== ROOT && tree.recordSlab(node) === NONE && !tree.hasChildren(node)) {
      const parent = tree.parent(node);
      tree.remove(node);
      node = parent;
    }
    return true;
  }

  #drop(slab: number, at: number): void {
    const slabs = this.#slabs;
    const start = at + RECORD_HEADER_BYTES;
    const end = slabs.endOf(slab, at);
    this.#stats.retainedBytes -= retainedRecordBytes(slabs.buffer(slab), start, end);
    slabs.drop(slab, at);
  }

  /** A walk over the retained messages a filter matches; messages put meanwhile may be seen or not. */
  walk(filter: string): RetainedWalk {
    return new RetainedWalk(this, this.#tree, filter);
  }
}

function endOfLevel(topic: string, start: number): number {
  const slash = topic.indexOf('/', start);
  return slash === -1 ? topic.length : slash;
}
