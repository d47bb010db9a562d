/** The last lines of what happened in a simulated run, for the report of a failing seed. */
export class TraceRing {
  readonly #lines: string[] = [];
  readonly #linesMax: number;
  #next = 0;

  constructor(linesMax: number) {
    this.#linesMax = linesMax;
  }

  add(timeMs: number, who: string, text: string): void {
    this.#lines[this.#next % this.#linesMax] = `${timeMs.toFixed(1).padStart(10)} ${who} ${text}`;
    this.#next++;
  }

  text(): string {
    const start = Math.max(0, this.#next - this.#linesMax);
    const lines: string[] = start > 0 ? [`… ${start} lines before`] : [];
    for (let i = start; i < this.#next; i++) lines.push(this.#lines[i % this.#linesMax]!);
    return lines.join('\n');
  }
}
