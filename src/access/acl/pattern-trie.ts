/**
 * Many patterns by level, each node knowing the lowest rule below it, so that a walk leaves out what
 * can no longer be first (data plane). Shared by all clients: levels with placeholders are edges whose
 * text each client brings along (`SlotValues`). Flat arrays, iterative, no string is cut: levels are
 * hashed in place and found in one table of edges. Built once, then read only.
 */
import { RULES_PER_STEP, type Steps } from '../slices.ts';
import type { MatcherEntry, PatternMatcher } from './pattern-matcher.ts';
import { OPEN, REFUSED, type SlotValues } from './placeholder.ts';
import { hasNoParent, isHashAt, takesWhole } from './topic-pattern.ts';

const SLASH = 0x2f;
const DOLLAR = 0x24;
const PLUS = 0x2b;

const FNV_START = 0x811c9dc5 | 0;
const FNV_PRIME = 16_777_619;

/** In entries of slots: the six bits of rules that deny, then those of rules that allow. */
const ALLOW_SHIFT = 6;

const TEXTS_PER_STEP = 512;

/** No node, edge or entry: none of them is ever a child of something as number 0. */
const NIL = 0;

// One walk at a time: matching is synchronous and calls nothing that matches.
let stackNodes = new Int32Array(1024);
let stackStarts = new Int32Array(1024);

/** Growing lists while the trie is built, typed arrays after. */
class Lists {
  /** Node → child by `+`. */
  readonly plus: number[] = [NIL];
  /** Node → first entry of patterns that end there; that end there with `#`. */
  readonly exact: number[] = [NIL];
  readonly hash: number[] = [NIL];
  /** Node → first slot edge. */
  readonly slotEdge: number[] = [NIL];
  /** Node → lowest rule number at or below it. */
  readonly lowest: number[] = [0];
  /** Node → has children by text. */
  readonly hasTexts: number[] = [0];
  /** Slot edge → slot, child, next edge of its node, first entry of rules that go through it. */
  readonly edgeSlot: number[] = [0];
  readonly edgeChild: number[] = [NIL];
  readonly edgeNext: number[] = [NIL];
  readonly edgeEntry: number[] = [NIL];
  /** Entry → rule number, mask, next entry (of a higher number). */
  readonly entryNumber: number[] = [0];
  readonly entryMask: number[] = [0];
  readonly entryNext: number[] = [NIL];
  /** Node → its children by text. */
  readonly texts: Map<number, Map<string, number>> = new Map();
  everything = NIL;
  levelsMax = 0;
  slotsMax = 0;
  levelLengthMax = 0;

  add({ rule, number, mask }: MatcherEntry): void {
    if (rule.patterns === null) {
      this.everything = addEntry(this, this.everything, number, mask);
      return;
    }
    for (const { levels, slots } of rule.patterns) {
      if (levels.length > this.levelsMax) this.levelsMax = levels.length;
      let node = 0;
      let isWhole = true;
      for (let i = 0; i < levels.length; i += 1) {
        const level = levels[i]!;
        const slot = slots === null ? -1 : slots[i]!;
        if (slot !== -1) {
          const edge = slotEdgeOf(this, node, slot, number);
          const about = rule.allow ? mask << ALLOW_SHIFT : mask;
          this.edgeEntry[edge] = addEntry(this, this.edgeEntry[edge]!, number, about);
          node = this.edgeChild[edge]!;
          this.slotsMax = Math.max(this.slotsMax, slot + 1);
        } else if (level === '#') {
          this.hash[node] = addEntry(this, this.hash[node]!, number, mask);
          isWhole = false;
        } else if (level === '+') {
          if (this.plus[node] === NIL) this.plus[node] = addNode(this, number);
          node = this.plus[node]!;
        } else node = this.#childByText(node, level, number);
      }
      if (isWhole) this.exact[node] = addEntry(this, this.exact[node]!, number, mask);
    }
  }

  #childByText(node: number, level: string, number: number): number {
    if (level.length > this.levelLengthMax) this.levelLengthMax = level.length;
    let children = this.texts.get(node);
    if (children === undefined) this.texts.set(node, (children = new Map()));
    this.hasTexts[node] = 1;
    let child = children.get(level);
    if (child === undefined) children.set(level, (child = addNode(this, number)));
    return child;
  }
}

/** (node, hash of a level) → child; open addressing, a power of two, at most half full. */
interface TextTable {
  readonly node: Int32Array;
  readonly hash: Int32Array;
  readonly child: Int32Array;
  readonly level: readonly string[];
  readonly mask: number;
}

function* tableOf(texts: ReadonlyMap<number, ReadonlyMap<string, number>>): Steps<TextTable> {
  let count = 0;
  for (const children of texts.values()) count += children.size;
  let size = 8;
  while (size < count * 2) size *= 2;
  const mask = size - 1;
  const node = new Int32Array(size);
  const hash = new Int32Array(size);
  const child = new Int32Array(size);
  const level = new Array<string>(size).fill('');
  let placed = 0;
  for (const [parent, children] of texts) {
    for (const [text, number] of children) {
      let hashed = FNV_START;
      for (let i = 0; i < text.length; i += 1) hashed = mix(hashed, text.charCodeAt(i));
      let at = place(parent, hashed) & mask;
      while (child[at] !== NIL) at = (at + 1) & mask;
      node[at] = parent;
      hash[at] = hashed;
      child[at] = number;
      level[at] = text;
      placed += 1;
      if (placed % TEXTS_PER_STEP === 0) yield;
    }
  }
  return { node, hash, child, level, mask };
}

export class PatternTrie implements PatternMatcher {
  /** Rules about every topic, `$` or not. */
  readonly #everything: number;
  readonly #plus: Int32Array;
  readonly #exact: Int32Array;
  readonly #hash: Int32Array;
  readonly #slotEdge: Int32Array;
  readonly #lowest: Int32Array;
  readonly #hasTexts: Uint8Array;
  readonly #edgeSlot: Int32Array;
  readonly #edgeChild: Int32Array;
  readonly #edgeNext: Int32Array;
  readonly #edgeEntry: Int32Array;
  readonly #entryNumber: Int32Array;
  readonly #entryMask: Int32Array;
  readonly #entryNext: Int32Array;
  /** See TextTable. */
  readonly #textNode: Int32Array;
  readonly #textHash: Int32Array;
  readonly #textChild: Int32Array;
  readonly #textLevel: readonly string[];
  readonly #textMask: number;
  /** No level of a pattern is longer: longer ones of a topic need no hash. */
  readonly #levelLengthMax: number;

  static *build(entries: readonly MatcherEntry[]): Steps<PatternTrie> {
    const lists = new Lists();
    lists.lowest[0] = entries[0]?.number ?? 0;
    for (const [i, entry] of entries.entries()) {
      lists.add(entry);
      if (i % RULES_PER_STEP === 0) yield;
    }
    const table = yield* tableOf(lists.texts);
    return new PatternTrie(lists, table);
  }

  private constructor(lists: Lists, table: TextTable) {
    this.#everything = lists.everything;
    this.#levelLengthMax = lists.levelLengthMax;
    this.#plus = new Int32Array(lists.plus);
    this.#exact = new Int32Array(lists.exact);
    this.#hash = new Int32Array(lists.hash);
    this.#slotEdge = new Int32Array(lists.slotEdge);
    this.#lowest = new Int32Array(lists.lowest);
    this.#hasTexts = new Uint8Array(lists.hasTexts);
    this.#edgeSlot = new Int32Array(lists.edgeSlot);
    this.#edgeChild = new Int32Array(lists.edgeChild);
    this.#edgeNext = new Int32Array(lists.edgeNext);
    this.#edgeEntry = new Int32Array(lists.edgeEntry);
    this.#entryNumber = new Int32Array(lists.entryNumber);
    this.#entryMask = new Int32Array(lists.entryMask);
    this.#entryNext = new Int32Array(lists.entryNext);
    this.#textNode = table.node;
    this.#textHash = table.hash;
    this.#textChild = table.child;
    this.#textLevel = table.level;
    this.#textMask = table.mask;

    // A walk takes one off the stack and puts on at most `+`, a text and each slot, level by level.
    const stackMax = 1 + (lists.levelsMax + 1) * (1 + lists.slotsMax);
    if (stackMax > stackNodes.length) {
      stackNodes = new Int32Array(stackMax);
      stackStarts = new Int32Array(stackMax);
    }
  }

  matchTopic(topic: string, bit: number, values: SlotValues, bound: number): number {
    const length = topic.length;
    const isReserved = topic.charCodeAt(0) === DOLLAR;
    let best = this.#firstEntry(this.#everything, bit, bound);
    let top = 1;
    stackNodes[0] = 0;
    stackStarts[0] = 0;
    while (top > 0) {
      top -= 1;
      const node = stackNodes[top]!;
      const start = stackStarts[top]!;
      if (this.#lowest[node]! >= best) continue;
      // [MQTT5-4.7.2-1]; `a/#` matches `a` too.
      const takesWildcards = start > 0 || !isReserved;
      if (takesWildcards) best = this.#firstEntry(this.#hash[node]!, bit, best);
      if (start > length) {
        best = this.#firstEntry(this.#exact[node]!, bit, best);
        continue;
      }
      let hash = FNV_START;
      let end = start;
      const hashedEnd = Math.min(length, start + this.#levelLengthMax + 1);
      while (end < hashedEnd) {
        const code = topic.charCodeAt(end);
        if (code === SLASH) break;
        hash = mix(hash, code);
        end += 1;
      }
      const isShort = end - start <= this.#levelLengthMax;
      if (!isShort) {
        end = topic.indexOf('/', end);
        if (end === -1) end = length;
      }
      const plus = this.#plus[node]!;
      if (plus !== NIL && takesWildcards) {
        stackNodes[top] = plus;
        stackStarts[top] = end + 1;
        top += 1;
      }
      for (let edge = this.#slotEdge[node]!; edge !== NIL; edge = this.#edgeNext[edge]!) {
        const value = values.get(this.#edgeSlot[edge]!);
        if (value === REFUSED) {
          best = this.#firstEntry(this.#edgeEntry[edge]!, bit, best);
        } else if (value === OPEN) {
          best = this.#firstEntry(this.#edgeEntry[edge]!, bit << ALLOW_SHIFT, best);
        } else if (value.length === end - start && isTextAt(topic, start, value)) {
          stackNodes[top] = this.#edgeChild[edge]!;
          stackStarts[top] = end + 1;
          top += 1;
        }
      }
      if (isShort && this.#hasTexts[node] === 1) {
        const child = this.#childByText(node, hash, topic, start, end);
        if (child !== NIL) {
          stackNodes[top] = child;
          stackStarts[top] = end + 1;
          top += 1;
        }
      }
    }
    return best;
  }

  coverFilter(filter: string, bit: number, values: SlotValues, bound: number): number {
    const length = filter.length;
    const isReserved = filter.charCodeAt(0) === DOLLAR;
    let best = this.#firstEntry(this.#everything, bit, bound);
    let top = 1;
    stackNodes[0] = 0;
    stackStarts[0] = 0;
    while (top > 0) {
      top -= 1;
      const node = stackNodes[top]!;
      const start = stackStarts[top]!;
      if (this.#lowest[node]! >= best) continue;
      const takesWildcards = start > 0 || !isReserved;
      if (takesWildcards) best = this.#firstEntry(this.#hash[node]!, bit, best);
      if (start > length) {
        best = this.#firstEntry(this.#exact[node]!, bit, best);
        continue;
      }
      let end = filter.indexOf('/', start);
      if (end === -1) end = length;
      const plus = this.#plus[node]!;
      const isHash = isHashAt(filter, start, end);
      const isPlus = end - start === 1 && filter.charCodeAt(start) === PLUS;
      if (plus !== NIL) {
        if (isHash) {
          if (hasNoParent(filter)) best = this.#firstEntry(this.#hash[plus]!, bit, best);
        } else if (takesWildcards) {
          stackNodes[top] = plus;
          stackStarts[top] = end + 1;
          top += 1;
        }
      }
      for (let edge = this.#slotEdge[node]!; edge !== NIL; edge = this.#edgeNext[edge]!) {
        const value = values.get(this.#edgeSlot[edge]!);
        if (value === REFUSED || value === OPEN) {
          if (!takesWhole(filter, start, end)) continue;
          const about = value === REFUSED ? bit : bit << ALLOW_SHIFT;
          best = this.#firstEntry(this.#edgeEntry[edge]!, about, best);
        } else if (value.length === end - start && isTextAt(filter, start, value)) {
          stackNodes[top] = this.#edgeChild[edge]!;
          stackStarts[top] = end + 1;
          top += 1;
        }
      }
      const isText = !isHash && !isPlus && end - start <= this.#levelLengthMax;
      if (isText && this.#hasTexts[node] === 1) {
        let hash = FNV_START;
        for (let i = start; i < end; i += 1) hash = mix(hash, filter.charCodeAt(i));
        const child = this.#childByText(node, hash, filter, start, end);
        if (child !== NIL) {
          stackNodes[top] = child;
          stackStarts[top] = end + 1;
          top += 1;
        }
      }
    }
    return best;
  }

  /** Entries rise: the first with the bit is the lowest. */
  #firstEntry(first: number, bit: number, best: number): number {
    for (let entry = first; entry !== NIL; entry = this.#entryNext[entry]!) {
      const number = this.#entryNumber[entry]!;
      if (number >= best) return best;
      if ((this.#entryMask[entry]! & bit) !== 0) return number;
    }
    return best;
  }

  #childByText(node: number, hash: number, text: string, start: number, end: number): number {
    let at = place(node, hash) & this.#textMask;
    for (;;) {
      const child = this.#textChild[at]!;
      if (child === NIL) return NIL;
      if (this.#textHash[at] === hash && this.#textNode[at] === node) {
        const level = this.#textLevel[at]!;
        if (level.length === end - start && isTextAt(text, start, level)) return child;
      }
      at = (at + 1) & this.#textMask;
    }
  }
}

function mix(hash: number, code: number): number {
  return Math.imul(hash ^ code, FNV_PRIME);
}

function place(node: number, hash: number): number {
  const mixed = Math.imul(node, 0x9e3779b1 | 0) ^ hash;
  return mixed ^ (mixed >>> 15);
}

function isTextAt(text: string, start: number, part: string): boolean {
  // From the end: levels of one fleet differ there.
  for (let i = part.length - 1; i >= 0; i -= 1) {
    if (text.charCodeAt(start + i) !== part.charCodeAt(i)) return false;
  }
  return true;
}

function addNode(lists: Lists, number: number): number {
  const node = lists.plus.length;
  lists.plus.push(NIL);
  lists.exact.push(NIL);
  lists.hash.push(NIL);
  lists.slotEdge.push(NIL);
  lists.lowest.push(number);
  lists.hasTexts.push(0);
  return node;
}

function slotEdgeOf(lists: Lists, node: number, slot: number, number: number): number {
  for (let edge = lists.slotEdge[node]!; edge !== NIL; edge = lists.edgeNext[edge]!) {
    if (lists.edgeSlot[edge] === slot) return edge;
  }
  const edge = lists.edgeSlot.length;
  lists.edgeSlot.push(slot);
  lists.edgeChild.push(addNode(lists, number));
  lists.edgeNext.push(lists.slotEdge[node]!);
  lists.edgeEntry.push(NIL);
  lists.slotEdge[node] = edge;
  return edge;
}

/** Appends to the list unless earlier entries leave nothing to decide; returns its first entry. */
function addEntry(lists: Lists, first: number, number: number, mask: number): number {
  let seen = 0;
  let last = NIL;
  for (let entry = first; entry !== NIL; entry = lists.entryNext[entry]!) {
    seen |= lists.entryMask[entry]!;
    last = entry;
  }
  if ((mask & ~seen) === 0) return first;
  const entry = lists.entryNumber.length;
  lists.entryNumber.push(number);
  lists.entryMask.push(mask);
  lists.entryNext.push(NIL);
  if (last === NIL) return entry;
  lists.entryNext[last] = entry;
  return first;
}
