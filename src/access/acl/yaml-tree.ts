/**
 * A YAML document read in steps: what the library's `parseDocument` gives, in pieces that are short
 * however long the file is. Its lexer and parser go token by token; its composer takes a document at
 * a time, so long lists are taken out of the document, composed some items at a time as documents of
 * their own, and put back. Used for rule files; knows nothing of rules.
 */
import {
  Composer,
  type CST,
  isAlias,
  isMap,
  isSeq,
  Lexer,
  LineCounter,
  type Node,
  Parser,
  visit,
} from 'yaml';
import type { Steps } from '../slices.ts';

export interface YamlTree {
  /** Null: the document is empty. */
  readonly root: Node | null;
  /** In the order of the text; what did not parse has no dependable places in `root`. */
  readonly problems: readonly YamlProblem[];
  readonly lines: LineCounter;
}

export interface YamlProblem {
  readonly offset: number;
  readonly message: string;
}

/** Keys are compared with each other, each with each. */
export const YAML_KEYS_MAX = 1000;
/** One text, with quotes. */
const SCALAR_LENGTH_MAX = 1024 * 1024;
/** Of a list in one step; a shorter one is left where it is. */
const ITEMS_PER_STEP = 16;
const TOKENS_PER_STEP = 32;
const NODES_PER_STEP = 256;

/** Everything is text as written, and so are keys. */
const composing = { stringKeys: true, schema: 'failsafe' } as const;

type List = CST.BlockSequence | CST.FlowCollection;

/** Throws a RangeError when brackets in brackets end the stack. */
export function* readYaml(text: string): Steps<YamlTree> {
  const lines = new LineCounter();
  lines.addNewLine(0);
  const reader = new Reader(text.length);
  const parser = new Parser(lines.addNewLine);
  let tokens = 0;
  for (const lexeme of new Lexer().lex(text)) {
    if (lexeme.length > SCALAR_LENGTH_MAX) {
      const message = `a text of more than ${SCALAR_LENGTH_MAX} characters`;
      return { root: null, problems: [{ offset: parser.offset, message }], lines };
    }
    for (const token of parser.next(lexeme)) yield* reader.add(token);
    tokens += 1;
    if (tokens % TOKENS_PER_STEP === 0) yield;
  }
  for (const token of parser.end()) yield* reader.add(token);
  return { ...reader.end(), lines };
}

class Reader {
  readonly #length: number;
  readonly #composer = new Composer(composing);
  readonly #problems: YamlProblem[] = [];
  /** Composed lists that have not met the list they belong to, by its offset. */
  readonly #waiting = new Map<number, Node[]>();
  #documents = 0;
  /** It changes what tags mean, which pieces of the document would not know. */
  #hasTagDirective = false;

  constructor(length: number) {
    this.#length = length;
  }

  *add(token: CST.Token): Steps<void> {
    if (token.type === 'directive' && token.source.startsWith('%TAG')) this.#hasTagDirective = true;
    if (token.type === 'document') {
      this.#documents += 1;
      if (this.#documents === 2) {
        const message = 'expected one document, found a second';
        this.#problems.push({ offset: token.offset, message });
      }
      if (this.#documents === 1 && !this.#hasTagDirective) yield* this.#composeLists(token);
    }
    if (this.#documents < 2) this.#composer.next(token).next();
  }

  end(): Omit<YamlTree, 'lines'> {
    const document = this.#composer.end(true, this.#length).next().value!;
    for (const { pos, message } of [...document.errors, ...document.warnings]) {
      this.#problems.push({ offset: pos[0], message: message.split('\n')[0]!.trim() });
    }
    this.#problems.sort((a, b) => a.offset - b.offset);
    const root = document.contents as Node | null;
    this.#putBack(root);
    return { root, problems: this.#problems };
  }

  *#composeLists(document: CST.Document): Steps<void> {
    const lists = yield* this.#longLists(document);
    // From the last, so that lists inside of items come before the items.
    for (const list of lists.reverse()) {
      const { items } = list;
      const nodes: Node[] = [];
      let end = list.offset + (list.type === 'block-seq' ? 0 : list.start.source.length);
      for (let from = 0; from < items.length; from += ITEMS_PER_STEP) {
        const to = Math.min(from + ITEMS_PER_STEP, items.length);
        end = this.#composeItems(list, items, from, to, end, nodes);
        // Let go of: tokens of a long list take more memory than its nodes.
        items.fill(emptyItem(list, end) as never, from, to);
        yield;
      }
      this.#waiting.set(list.offset, nodes);
      list.items = [emptyItem(list, end)];
    }
  }

  /** In the order of the text. Too many keys are a problem, and are not looked at. */
  *#longLists(document: CST.Document): Steps<List[]> {
    const lists: List[] = [];
    const stack: (CST.Token | null | undefined)[] = [document.value];
    let nodes = 0;
    while (stack.length > 0) {
      const token = stack.pop();
      nodes += 1;
      if (nodes % NODES_PER_STEP === 0) yield;
      if (token == null || !('items' in token)) continue;
      const { items } = token;
      for (let i = items.length - 1; i >= 0; i -= 1) stack.push(items[i]!.value, items[i]!.key);
      const isList =
        token.type === 'block-seq' ||
        (token.type === 'flow-collection' && token.start.type === 'flow-seq-start');
      if (isList && items.length > ITEMS_PER_STEP) lists.push(token);
      else if (!isList && items.length > YAML_KEYS_MAX) {
        const message = `more than ${YAML_KEYS_MAX} keys`;
        this.#problems.push({ offset: token.offset, message });
        token.items = [];
      }
    }
    return lists;
  }

  /** As the library would have composed them in their place; gives the end of the last one. */
  #composeItems(
    list: List,
    items: List['items'],
    from: number,
    to: number,
    offset: number,
    nodes: Node[],
  ): number {
    const isFlow = list.type === 'flow-collection';
    // Commas stand between items: a piece of a flow list needs a neighbour on either side.
    const [hasBefore, hasAfter] = [isFlow && from > 0, isFlow && to < items.length];
    const part = items.slice(from, to);
    if (hasBefore) part.unshift(emptyItem(list, offset));
    if (hasAfter) part.push(emptyItem(list, offset, ','));
    const piece = { ...list, offset, items: part } as List;
    if (piece.type === 'flow-collection') {
      piece.offset -= piece.start.source.length;
      piece.end = [{ type: 'flow-seq-end', offset, indent: piece.indent, source: ']' }];
    }
    const composer = new Composer(composing);
    composer.next({ type: 'document', offset: piece.offset, start: [], value: piece }).next();
    const document = composer.end().next().value!;
    for (const { pos, message } of [...document.errors, ...document.warnings]) {
      this.#problems.push({ offset: pos[0], message: message.split('\n')[0]!.trim() });
    }
    if (!isSeq(document.contents)) return offset;
    const composed = document.contents.items as Node[];
    if (hasBefore) composed.shift();
    if (hasAfter) composed.pop();
    this.#putBack(document.contents as Node);
    for (const node of composed) nodes.push(node);
    const end = composed.at(-1)?.range?.[2] ?? offset;
    // A comma at the end belongs to an item that is none.
    const comma = isFlow ? items[to - 1]!.start.at(-1) : undefined;
    return comma === undefined ? end : Math.max(end, comma.offset + comma.source.length);
  }

  #putBack(root: Node | null): void {
    if (this.#waiting.size === 0 || root === null) return;
    visit(root, {
      Seq: (_, list) => {
        const nodes = this.#waiting.get(list.range![0]);
        if (nodes === undefined) return undefined;
        this.#waiting.delete(list.range![0]);
        list.items = nodes;
        // What is in there was put back before.
        return visit.SKIP;
      },
    });
  }
}

function emptyItem(list: List, offset: number, comma = ''): List['items'][number] {
  const { indent } = list;
  const value: CST.FlowScalar = { type: 'scalar', offset, indent, source: '' };
  if (list.type === 'block-seq') {
    return { start: [{ type: 'seq-item-ind', offset, indent, source: '' }], value };
  }
  return { start: comma === '' ? [] : [{ type: 'comma', offset, indent, source: comma }], value };
}

/** Alias → what it stands for: the library walks the document anew for each it is asked about. */
export function* anchoredNodes(root: Node | null): Steps<ReadonlyMap<Node, Node>> {
  const latest = new Map<string, Node>();
  const anchored = new Map<Node, Node>();
  const stack: unknown[] = [root];
  let nodes = 0;
  while (stack.length > 0) {
    const node = stack.pop() as Node | null | undefined;
    nodes += 1;
    if (nodes % NODES_PER_STEP === 0) yield;
    if (node == null) continue;
    if (isAlias(node)) {
      const meant = latest.get(node.source);
      if (meant !== undefined) anchored.set(node, meant);
      continue;
    }
    const { anchor } = node as { anchor?: string };
    if (anchor !== undefined) latest.set(anchor, node);
    if (isSeq(node)) for (let i = node.items.length; i > 0; i -= 1) stack.push(node.items[i - 1]);
    if (!isMap(node)) continue;
    for (let i = node.items.length; i > 0; i -= 1) {
      const { key, value } = node.items[i - 1]!;
      stack.push(value, key);
    }
  }
  return anchored;
}
