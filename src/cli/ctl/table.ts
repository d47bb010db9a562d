/**
 * Aligned columns for people, cut to the width of the terminal; and a list of names with values. Cells
 * must be safe for a terminal already (`terminal-text.ts`).
 */
import { cellWidth, fitCells } from './terminal-text.ts';

export interface TableColumn {
  readonly title: string;
  /** Numbers stand at the right. */
  readonly isNumber?: boolean;
}

const GAP = '  ';
/** Columns are not cut below this. */
const CELLS_MIN = 8;

/** Lines with a heading; `width` null: as wide as it gets. */
export function renderTable(
  columns: readonly TableColumn[],
  rows: readonly (readonly string[])[],
  width: number | null,
): string {
  const widths = columns.map(({ title }, index) => {
    let cells = cellWidth(title);
    for (const row of rows) cells = Math.max(cells, cellWidth(row[index] ?? ''));
    return cells;
  });
  if (width !== null) shrink(widths, width - GAP.length * (columns.length - 1));
  const line = (cells: readonly string[]): string => {
    const padded = columns.map(({ isNumber }, index) => {
      const cell = fitCells(cells[index] ?? '', widths[index]!);
      const space = ' '.repeat(widths[index]! - cellWidth(cell));
      return isNumber === true ? `${space}${cell}` : `${cell}${space}`;
    });
    return `${padded.join(GAP).trimEnd()}\n`;
  };
  return [line(columns.map(({ title }) => title)), ...rows.map(line)].join('');
}

/** Takes cells from the widest columns until all fit, or none can give more. */
function shrink(widths: number[], cellsMax: number): void {
  let excess = widths.reduce((sum, cells) => sum + cells, 0) - cellsMax;
  while (excess > 0) {
    const widest = widths.indexOf(Math.max(...widths));
    if (widths[widest]! <= CELLS_MIN) return;
    const next = Math.max(
      CELLS_MIN,
      ...widths.filter((cells) => cells < widths[widest]!).map((cells) => cells),
    );
    const taken = Math.min(excess, Math.max(1, widths[widest]! - next));
    widths[widest]! -= taken;
    excess -= taken;
  }
}

/** `name  value` lines. */
export function renderPairs(pairs: readonly (readonly [string, string])[]): string {
  const width = Math.max(0, ...pairs.map(([name]) => cellWidth(name)));
  return pairs
    .map(([name, value]) => `${name}${' '.repeat(width - cellWidth(name))}${GAP}${value}`.trimEnd())
    .map((line) => `${line}\n`)
    .join('');
}
