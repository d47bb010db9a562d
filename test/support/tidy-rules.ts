/**
 * The rules of test/tidy.test.ts as functions from source texts to findings: layers, cycles,
 * barrels, orphans, and what the data plane may not call. The table of levels is handed in, so that
 * the rules can be tried on small made-up trees. It knows no file system.
 */
import { ScanError, type Source, scan, type Token } from './source-scan.ts';

export interface House {
  /** Level of each room (folder of src/); a file may import its own room and lower levels. */
  readonly levels: Readonly<Record<string, number>>;
  /** Rooms that are all data plane and know neither packages nor most of Node. */
  readonly pureRooms: readonly string[];
  readonly pureBuiltins: readonly string[];
  /** Rooms where a header comment that says "data plane" puts a file under its bans. */
  readonly markedRooms: readonly string[];
  /** A class of such a room that implements one of these is data plane and has to say so. */
  readonly markedInterfaces: readonly string[];
  /** Files that are started rather than imported. */
  readonly entries: readonly string[];
  /** The one file that may use setImmediate. */
  readonly schedulerFile: string;
  /** What package.json lists as dependencies, optional ones included. */
  readonly packages: readonly string[];
  /** Uses of a banned thing that are right, each with its reason. */
  readonly exceptions: readonly Exception[];
}

export interface Exception {
  readonly file: string;
  readonly banned: string;
  readonly reason: string;
}

export interface Finding {
  readonly rule: string;
  readonly file: string;
  readonly line: number;
  readonly message: string;
}

interface Ban {
  readonly name: string;
  readonly instead: string;
  /** Only in pure rooms: the socket side of the listeners may have timers of its own. */
  readonly isForPureRooms?: boolean;
  readonly isAt: (tokens: readonly Token[], index: number) => boolean;
}

function text(tokens: readonly Token[], index: number): string {
  const token = tokens[index];
  return token === undefined || token.kind === 'string' || token.kind === 'template'
    ? ''
    : token.text;
}

function isMember(tokens: readonly Token[], index: number): boolean {
  return text(tokens, index - 1) === '.' || text(tokens, index - 1) === '?.';
}

/** A bare use of a name, as against a property or a parameter that happens to be called so. */
function word(name: string): Ban['isAt'] {
  return (tokens, index) => text(tokens, index) === name && !isMember(tokens, index);
}

function member(object: string, property: string): Ban['isAt'] {
  return (tokens, index) =>
    text(tokens, index) === object &&
    !isMember(tokens, index) &&
    /^\??\.$/.test(text(tokens, index + 1)) &&
    (property === '*' || text(tokens, index + 2) === property);
}

function isAsync(tokens: readonly Token[], index: number): boolean {
  if (text(tokens, index) !== 'async' || isMember(tokens, index)) return false;
  const next = tokens[index + 1];
  return next?.kind === 'word' || ['(', '*', '[', '<'].includes(next?.text ?? '');
}

function isAwait(tokens: readonly Token[], index: number): boolean {
  return word('await')(tokens, index) && text(tokens, index + 1) !== ':';
}

function isCall(tokens: readonly Token[], index: number, object: string): boolean {
  return text(tokens, index) === object && /^(?:\(|<|\?\.)$/.test(text(tokens, index + 1));
}

/** `f(...list)`, but neither a rest parameter nor a spread into an array or object literal. */
function isArgumentSpread(tokens: readonly Token[], index: number): boolean {
  if (text(tokens, index) !== '...') return false;
  let depth = 0;
  let open = index - 1;
  for (; open >= 0; open -= 1) {
    const here = text(tokens, open);
    if (')]}'.includes(here) && here !== '') depth += 1;
    else if (['(', '[', '{', '${'].includes(here)) {
      if (depth === 0) break;
      depth -= 1;
    }
  }
  if (text(tokens, open) !== '(') return false;
  // With strict types a rest parameter is annotated, unless its arrow function is typed from outside.
  const isAnnotated = tokens[index + 1]?.kind === 'word' && text(tokens, index + 2) === ':';
  if (isAnnotated) return false;
  let close = open + 1;
  for (depth = 1; close < tokens.length && depth > 0; close += 1) {
    const here = text(tokens, close);
    if (['(', '[', '{', '${'].includes(here)) depth += 1;
    else if (')]}'.includes(here) && here !== '') depth -= 1;
  }
  return text(tokens, close) !== '=>';
}

/** Whether the name stands in the list after `implements`. */
function isImplemented(tokens: readonly Token[], index: number): boolean {
  let at = index - 1;
  while (text(tokens, at) === ',' || tokens[at]?.kind === 'word') {
    if (text(tokens, at) === 'implements') return true;
    at -= 1;
  }
  return false;
}

const viaScheduler = 'the Scheduler port of core/ports.ts';
const viaClock = 'the Clock port of core/ports.ts';
const viaWait = 'a callback or a parked ack: a Gate answers WAIT and what waits is resumed';

/** What the data plane may not use, each with what to use in its place. */
export const bans: readonly Ban[] = [
  { name: 'async', instead: viaWait, isAt: isAsync },
  { name: 'await', instead: viaWait, isAt: isAwait },
  { name: 'Promise', instead: viaWait, isAt: word('Promise') },
  {
    name: 'EventEmitter',
    instead: 'a method of an interface in core/ports.ts, called directly',
    isAt: word('EventEmitter'),
  },
  { name: 'process.nextTick', instead: viaScheduler, isAt: member('process', 'nextTick') },
  { name: 'queueMicrotask', instead: viaScheduler, isAt: word('queueMicrotask') },
  {
    name: 'setTimeout',
    instead: 'the timer wheel of util/',
    isForPureRooms: true,
    isAt: (tokens, index) => !isMember(tokens, index) && isCall(tokens, index, 'setTimeout'),
  },
  {
    name: 'setInterval',
    instead: 'the timer wheel of util/',
    isForPureRooms: true,
    isAt: (tokens, index) => !isMember(tokens, index) && isCall(tokens, index, 'setInterval'),
  },
  { name: 'Date.now', instead: viaClock, isAt: member('Date', 'now') },
  {
    name: 'new Date',
    instead: viaClock,
    isAt: (tokens, index) => word('Date')(tokens, index) && text(tokens, index - 1) === 'new',
  },
  { name: 'performance.now', instead: viaClock, isAt: member('performance', 'now') },
  {
    name: 'Math.random',
    instead: 'the Random port of core/ports.ts',
    isAt: member('Math', 'random'),
  },
  {
    name: 'JSON',
    instead: 'wire/ for bytes; the control plane (admin, config, cli) for JSON',
    isAt: member('JSON', '*'),
  },
  {
    name: 'argument spread',
    instead: 'a loop, or a parameter that takes the array: long lists overflow the stack',
    isAt: isArgumentSpread,
  },
  {
    name: 'Buffer.concat',
    instead: 'one buffer of the final size and copies into it',
    isAt: member('Buffer', 'concat'),
  },
];

interface Edge {
  readonly from: string;
  readonly to: string;
  readonly line: number;
}

function room(file: string): string {
  const slash = file.indexOf('/');
  return slash === -1 ? '' : file.slice(0, slash);
}

/** Path of a relative specifier, from the folder of src/; begins with `..` when it leaves src/. */
export function resolve(from: string, specifier: string): string {
  const parts = from.split('/').slice(0, -1);
  for (const part of specifier.split('/')) {
    if (part === '..' && parts.length > 0 && parts.at(-1) !== '..') parts.pop();
    else if (part !== '.') parts.push(part);
  }
  return parts.join('/');
}

function packageOf(specifier: string): string {
  const parts = specifier.split('/');
  return specifier.startsWith('@') ? parts.slice(0, 2).join('/') : (parts[0] as string);
}

/** A file that only hands on what others export: nothing but imports and export lists. */
function isBarrel(source: Source): boolean {
  const { tokens } = source;
  let hasExport = false;
  for (let index = 0; index < tokens.length; ) {
    const start = text(tokens, index);
    const next = text(tokens, index + 1) === 'type' ? index + 2 : index + 1;
    const isList = start === 'export' && ['*', '{'].includes(text(tokens, next));
    if (start !== 'import' && !isList) return false;
    hasExport ||= isList;
    while (index < tokens.length && text(tokens, index) !== ';') index += 1;
    index += 1;
  }
  return hasExport;
}

/** One cycle through each knot of files that reach each other, as paths that come back. */
function findCycles(files: readonly string[], edges: readonly Edge[]): string[][] {
  const targets = new Map<string, string[]>(files.map((file) => [file, []]));
  for (const edge of edges) targets.get(edge.from)?.push(edge.to);

  const pathBack = (start: string): string[] | undefined => {
    const cameFrom = new Map<string, string>();
    const queue = [start];
    for (const file of queue) {
      for (const to of targets.get(file) ?? []) {
        if (to === start) {
          const path = [start];
          for (let step = file; step !== start; step = cameFrom.get(step) as string)
            path.push(step);
          return [...path, start].reverse();
        }
        if (cameFrom.has(to)) continue;
        cameFrom.set(to, file);
        queue.push(to);
      }
    }
    return undefined;
  };

  const cycles: string[][] = [];
  const told = new Set<string>();
  for (const file of files) {
    if (told.has(file)) continue;
    const cycle = pathBack(file);
    if (cycle === undefined) continue;
    for (const member of cycle) told.add(member);
    cycles.push(cycle);
  }
  return cycles;
}

/** Checks a tree of sources (path below src/ → text) against all rules. */
export function check(house: House, texts: ReadonlyMap<string, string>): Finding[] {
  const findings: Finding[] = [];
  const edges: Edge[] = [];
  const used = new Set<string>(house.entries);
  const usedExceptions = new Set<Exception>();
  const report = (rule: string, file: string, line: number, message: string): void => {
    findings.push({ rule, file, line, message });
  };

  const checkFile = (file: string, source: Source): void => {
    const from = room(file);
    const level = house.levels[from];
    const isPure = house.pureRooms.includes(from);
    if (level === undefined) {
      const rooms = Object.keys(house.levels).join(', ');
      report('room', file, 1, `is in no room; rooms are ${rooms}`);
      return;
    }
    if (/(^|\/)index\.ts$/.test(file)) {
      report('barrel', file, 1, 'is named index.ts; name it after what it holds');
    } else if (isBarrel(source)) {
      report('barrel', file, 1, 'only re-exports; import from the files themselves');
    }

    for (const { kind, specifier, line } of source.references) {
      if (specifier === null) {
        report('import', file, line, 'imports a name computed at run time; write the path out');
      } else if (specifier.startsWith('.')) {
        const to = resolve(file, specifier);
        if (to === '../package.json') continue;
        if (to.startsWith('..')) {
          if (kind !== 'url') report('layer', file, line, `imports ${specifier}, outside of src/`);
          continue;
        }
        if (!texts.has(to)) {
          if (kind !== 'url') report('import', file, line, `imports ${to}, which is not there`);
          continue;
        }
        if (to !== file) used.add(to);
        if (kind !== 'url') edges.push({ from: file, to, line });
        const target = house.levels[room(to)];
        if (room(to) === from || target === undefined || target < level) continue;
        const how = target > level ? 'upward' : 'sideways';
        report(
          'layer',
          file,
          line,
          `imports ${how}: ${from} (level ${level}) may not know ${to} (level ${target}); ` +
            'put the interface where both may see it, or hand it in from app/',
        );
      } else if (specifier.startsWith('node:')) {
        if (isPure && !house.pureBuiltins.includes(specifier)) {
          const allowed = house.pureBuiltins.join(' and ');
          report('builtin', file, line, `imports ${specifier}; ${from} may have only ${allowed}`);
        }
      } else if (kind !== 'url') {
        const name = packageOf(specifier);
        if (isPure) {
          report('package', file, line, `imports ${name}; ${from} has no dependencies`);
        } else if (!house.packages.includes(name)) {
          report('package', file, line, `imports ${name}, not among package.json's dependencies`);
        }
      }
    }

    const header = source.header.replace(/[\s/*]+/g, ' ');
    const isMarked = house.markedRooms.includes(from) && /\bdata plane\b/i.test(header);
    for (let index = 0; index < source.tokens.length; index += 1) {
      const line = source.tokens[index]?.line ?? 0;
      if (word('setImmediate')(source.tokens, index) && file !== house.schedulerFile) {
        report('setImmediate', file, line, `uses setImmediate; use ${viaScheduler}`);
      }
      if (!isPure && !isMarked) {
        const name = house.markedRooms.includes(from) ? text(source.tokens, index) : '';
        if (house.markedInterfaces.includes(name) && isImplemented(source.tokens, index)) {
          report('unmarked', file, line, `implements ${name}; its header must say data plane`);
        }
        continue;
      }
      for (const ban of bans) {
        if (ban.isForPureRooms === true && !isPure) continue;
        if (!ban.isAt(source.tokens, index)) continue;
        const exception = house.exceptions.find(
          (entry) => entry.file === file && entry.banned === ban.name,
        );
        if (exception !== undefined) usedExceptions.add(exception);
        else report('data plane', file, line, `uses ${ban.name}; use ${ban.instead}`);
      }
    }
  };

  for (const [file, content] of texts) {
    try {
      checkFile(file, scan(content));
    } catch (error) {
      if (!(error instanceof ScanError)) throw error;
      report('unreadable', file, error.line, error.message);
    }
  }
  for (const cycle of findCycles([...texts.keys()], edges)) {
    report('cycle', cycle[0] as string, 1, `imports itself: ${cycle.join(' -> ')}`);
  }
  for (const file of texts.keys()) {
    if (!used.has(file)) report('orphan', file, 1, 'is imported by no file of src/; delete it');
  }
  for (const exception of house.exceptions) {
    if (!usedExceptions.has(exception) && texts.has(exception.file)) {
      report(
        'exception',
        exception.file,
        1,
        `no longer uses ${exception.banned}; end the exception`,
      );
    }
  }
  return findings;
}
