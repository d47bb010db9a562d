// Collects what the rounds of a scenario measured and writes medians as a markdown table, with
// ratios to the base variant of the same round. Knows no scenario.

export interface Column {
  readonly title: string;
  readonly write: (value: number) => string;
  /** Also told as a multiple of the base's: median of the rounds, and their range. */
  readonly isCompared?: boolean;
}

export type Columns = Readonly<Record<string, Column>>;
export type Values = Readonly<Record<string, number>>;

export function whole(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

export function precise(value: number): string {
  if (value >= 100) return whole(value);
  return value >= 10 ? value.toFixed(1) : value.toFixed(value >= 1 ? 2 : 3);
}

export function percent(value: number): string {
  return `${Math.round(value * 100)} %`;
}

function median(values: readonly number[]): number {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort((a, b) => a - b);
  const middle = sorted.length / 2;
  if (sorted.length === 0) return Number.NaN;
  return sorted.length % 2 === 1
    ? sorted[Math.floor(middle)]!
    : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export class Table {
  readonly #columns: Columns;
  /** By variant, one entry per round. */
  readonly #rows: Map<string, Values[]> = new Map();
  readonly #bases: Map<string, string> = new Map();
  readonly #remarks: string[] = [];
  readonly problems: Set<string> = new Set();

  constructor(columns: Columns) {
    this.#columns = columns;
  }

  /** Every round adds the same variants; the base of one is the first ever added, or another. */
  add(variant: string, values: Values, base?: string): void {
    const rounds = this.#rows.get(variant) ?? [];
    this.#rows.set(variant, rounds);
    if (base !== undefined) this.#bases.set(variant, base);
    rounds.push(values);
  }

  /** Says what went wrong and with whom; a run with problems is no result. */
  complain(variant: string, problems: Iterable<string>): void {
    for (const problem of problems) this.problems.add(`${variant}: ${problem}`);
  }

  /** What a reader should know, though nothing went wrong. */
  remark(variant: string, remark: string): void {
    this.#remarks.push(`${variant}: ${remark}`);
  }

  markdown(): string {
    const keys = Object.keys(this.#columns).filter((key) =>
      [...this.#rows.values()].some((rounds) => rounds.some((values) => key in values)),
    );
    const [first = ''] = this.#rows.keys();
    const baseOf = (variant: string): readonly Values[] =>
      this.#rows.get(this.#bases.get(variant) ?? first) ?? [];
    const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
    return [
      line(['variant', ...keys.map((key) => this.#columns[key]!.title)]),
      line(['---', ...keys.map(() => '---:')]),
      ...[...this.#rows].map(([variant, rounds]) =>
        line([variant, ...keys.map((key) => this.#cell(key, rounds, baseOf(variant)))]),
      ),
      ...(this.problems.size + this.#remarks.length > 0 ? [''] : []),
      ...this.#remarks.map((remark) => `- ${remark}`),
      ...[...this.problems].map((problem) => `- **${problem}**`),
    ].join('\n');
  }

  #cell(key: string, rounds: readonly Values[], base: readonly Values[]): string {
    const value = median(rounds.map((values) => values[key] ?? Number.NaN));
    if (!Number.isFinite(value)) return '–';
    const { write, isCompared } = this.#columns[key]!;
    if (isCompared !== true || rounds === base) return write(value);
    const ratios = rounds.flatMap((values, round) => {
      const ratio = (values[key] ?? Number.NaN) / (base[round]?.[key] ?? Number.NaN);
      return Number.isFinite(ratio) ? [ratio] : [];
    });
    if (ratios.length === 0) return write(value);
    const range =
      ratios.length > 1
        ? `, ${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)}`
        : '';
    return `${write(value)} (${median(ratios).toFixed(3)}×${range})`;
  }
}
