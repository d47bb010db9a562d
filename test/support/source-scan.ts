/**
 * Reads TypeScript just well enough for test/tidy.test.ts: tokens without comments, with strings,
 * templates and regular expressions kept apart from code, and every kind of import among them.
 * It knows no rule and no file system.
 */

export interface Token {
  readonly kind: 'word' | 'number' | 'string' | 'template' | 'regex' | 'punct';
  readonly text: string;
  readonly line: number;
}

export interface Reference {
  /** `url` is `new URL('./x.ts', import.meta.url)`: how a worker is started. */
  readonly kind: 'import' | 'export' | 'dynamic' | 'url';
  /** What is imported, or null when it is computed at run time. */
  readonly specifier: string | null;
  readonly line: number;
}

export interface Source {
  readonly tokens: readonly Token[];
  readonly references: readonly Reference[];
  /** The first comment, when nothing but a `#!` line comes before it. */
  readonly header: string;
}

/** A text this reader cannot follow; better refused than misread. */
export class ScanError extends Error {
  readonly line: number;

  constructor(message: string, line: number) {
    super(message);
    this.name = 'ScanError';
    this.line = line;
  }
}

/** After these words a slash begins a regular expression; after any other it divides. */
const wordsBeforeRegex = new Set(
  'await case delete do else extends in instanceof new of return throw typeof void yield'.split(
    ' ',
  ),
);
const wordStart = /[\p{ID_Start}$_#]/u;
const wordPart = /[\p{ID_Continue}$\u200c\u200d]/u;
const puncts = [
  '>>>=',
  '...',
  '===',
  '!==',
  '**=',
  '??=',
  '&&=',
  '||=',
  '++',
  '--',
  '=>',
  '?.',
  '${',
];

export function tokenize(text: string): { tokens: Token[]; header: string } {
  const tokens: Token[] = [];
  /** For each open brace, whether its end goes back into a template. */
  const braces: boolean[] = [];
  let header = '';
  let at = 0;
  let line = 1;

  const push = (kind: Token['kind'], value: string, startLine: number): void => {
    tokens.push({ kind, text: value, line: startLine });
  };

  const startsRegex = (): boolean => {
    const last = tokens.at(-1);
    if (last === undefined) return true;
    if (last.kind === 'word') return wordsBeforeRegex.has(last.text);
    // After a value these belong to it, and a slash divides; before one `!` may negate a match.
    const before = tokens.at(-2);
    const isPostfix =
      ['!', '++', '--'].includes(last.text) &&
      before !== undefined &&
      ((before.kind === 'word' && !wordsBeforeRegex.has(before.text)) ||
        (before.kind === 'punct' && [')', ']'].includes(before.text)));
    return last.kind === 'punct' && !isPostfix && ![')', ']', '}'].includes(last.text);
  };

  const comment = (end: number): void => {
    const body = text.slice(at, end);
    if (tokens.length === 0 && header === '') header = body;
    else if (tokens.length === 0 && body.startsWith('//')) header += `\n${body}`;
    line += body.split('\n').length - 1;
    at = end;
  };

  const string = (quote: string): void => {
    const startLine = line;
    let value = '';
    for (at += 1; text[at] !== quote; at += 1) {
      if (at >= text.length || text[at] === '\n') {
        throw new ScanError('a string without an end', startLine);
      }
      if (text[at] === '\\') {
        at += 1;
        if (text[at] === '\n') line += 1;
      }
      value += text[at];
    }
    at += 1;
    push('string', value, startLine);
  };

  /** Reads on in a template, from after its backquote or the brace that ends a substitution. */
  const template = (): void => {
    const startLine = line;
    const from = at;
    for (; at < text.length; at += 1) {
      const char = text[at];
      if (char === '\\') {
        at += 1;
        if (text[at] === '\n') line += 1;
      } else if (char === '\n') line += 1;
      else if (char === '`') {
        push('template', text.slice(from, at), startLine);
        at += 1;
        return;
      } else if (char === '$' && text[at + 1] === '{') {
        push('template', text.slice(from, at), startLine);
        push('punct', '${', line);
        braces.push(true);
        at += 2;
        return;
      }
    }
    throw new ScanError('a template without an end', startLine);
  };

  const regex = (): void => {
    const from = at;
    let isInClass = false;
    for (at += 1; isInClass || text[at] !== '/'; at += 1) {
      if (at >= text.length || text[at] === '\n') {
        throw new ScanError('a regular expression without an end', line);
      }
      if (text[at] === '\\') at += 1;
      else if (text[at] === '[') isInClass = true;
      else if (text[at] === ']') isInClass = false;
    }
    at += 1;
    while (/[a-z]/.test(text[at] ?? '')) at += 1;
    push('regex', text.slice(from, at), line);
  };

  if (text.startsWith('#!')) at = text.indexOf('\n') === -1 ? text.length : text.indexOf('\n');
  while (at < text.length) {
    const char = text[at] as string;
    if (char === '\n') {
      line += 1;
      at += 1;
    } else if (/\s/.test(char)) at += 1;
    else if (text.startsWith('//', at)) {
      const end = text.indexOf('\n', at);
      comment(end === -1 ? text.length : end);
    } else if (text.startsWith('/*', at)) {
      const end = text.indexOf('*/', at + 2);
      if (end === -1) throw new ScanError('a comment without an end', line);
      comment(end + 2);
    } else if (char === "'" || char === '"') string(char);
    else if (char === '`') {
      at += 1;
      template();
    } else if (char === '/' && startsRegex()) regex();
    else if (/[0-9]/.test(char)) {
      const from = at;
      while (/[0-9a-zA-Z_.]/.test(text[at] ?? '')) at += 1;
      push('number', text.slice(from, at), line);
    } else if (wordStart.test(char)) {
      const from = at;
      at += 1;
      while (wordPart.test(text[at] ?? '')) at += 1;
      push('word', text.slice(from, at), line);
    } else {
      const long = puncts.find((punct) => text.startsWith(punct, at)) ?? char;
      at += long.length;
      if (long === '{') braces.push(false);
      const closesTemplate = long === '}' && braces.pop() === true;
      push('punct', long, line);
      if (closesTemplate) template();
    }
  }
  return { tokens, header };
}

/** Every import there is: static, of types, of re-exports, dynamic, and workers by URL. */
export function findReferences(tokens: readonly Token[]): Reference[] {
  const found: Reference[] = [];
  const is = (index: number, text: string): boolean => {
    const token = tokens[index];
    return token !== undefined && token.text === text && token.kind !== 'string';
  };
  const literal = (index: number): string | null => {
    const token = tokens[index];
    if (token?.kind === 'string') return token.text;
    return token?.kind === 'template' && !is(index + 1, '${') ? token.text : null;
  };

  for (let index = 0; index < tokens.length; index += 1) {
    const token = tokens[index] as Token;
    if (token.kind !== 'word' || is(index - 1, '.') || is(index - 1, '?.')) continue;
    const { line } = token;
    if (token.text === 'URL' && is(index + 1, '(') && is(index - 1, 'new')) {
      const isHere = is(index + 3, ',') && is(index + 4, 'import') && is(index + 8, 'url');
      if (isHere) found.push({ kind: 'url', specifier: literal(index + 2), line });
    } else if (token.text === 'import' && is(index + 1, '(')) {
      const isWhole = is(index + 3, ')') || is(index + 3, ',');
      found.push({ kind: 'dynamic', specifier: isWhole ? literal(index + 2) : null, line });
    } else if (token.text === 'import' && !is(index + 1, '.') && !is(index + 1, ':')) {
      let end = index + 1;
      while (end < tokens.length && tokens[end]?.kind !== 'string' && !is(end, ';')) end += 1;
      const isImport = end === index + 1 || is(end - 1, 'from');
      if (isImport) found.push({ kind: 'import', specifier: literal(end), line });
    } else if (token.text === 'export') {
      let end = index + 1;
      if (is(end, 'type')) end += 1;
      if (is(end, '*')) {
        while (end < tokens.length && !is(end, 'from') && !is(end, ';')) end += 1;
      } else if (is(end, '{')) {
        while (end < tokens.length && !is(end, '}')) end += 1;
        end += 1;
      } else continue;
      if (is(end, 'from')) found.push({ kind: 'export', specifier: literal(end + 1), line });
    }
  }
  return found;
}

export function scan(text: string): Source {
  const { tokens, header } = tokenize(text);
  return { tokens, references: findReferences(tokens), header };
}
