// Reads the Prometheus text format, strictly, so that tests see what a scraper would see.

export interface Scrape {
  readonly types: ReadonlyMap<string, string>;
  readonly helps: ReadonlyMap<string, string>;
  /** By series as written, `name{label="value"}`. */
  readonly values: ReadonlyMap<string, number>;
}

const SERIES = /^([a-z_][a-z0-9_]*)(\{(?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*\})? (\S+)$/;

export function readText(text: string): Scrape {
  const types = new Map<string, string>();
  const helps = new Map<string, string>();
  const values = new Map<string, number>();
  if (!text.endsWith('\n')) throw new Error('the text does not end with a line end');
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const [, kind, name, rest] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (kind !== undefined) {
      const seen = kind === 'HELP' ? helps : types;
      if (seen.has(name!)) throw new Error(`${kind} of ${name} comes twice`);
      seen.set(name!, rest!);
      continue;
    }
    const [, series, labels = '', value] = SERIES.exec(line) ?? [];
    if (series === undefined) throw new Error(`not a sample: ${line}`);
    const key = series + labels;
    if (values.has(key)) throw new Error(`${key} comes twice`);
    const number = value === '+Inf' ? Number.POSITIVE_INFINITY : Number(value);
    if (Number.isNaN(number)) throw new Error(`not a number: ${line}`);
    values.set(key, number);
  }
  return { types, helps, values };
}
