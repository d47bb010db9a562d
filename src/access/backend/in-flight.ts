/**
 * One question at a time for the same thing: whoever asks while it is under way gets the same answer.
 * As many entries as questions under way, which their own limits bound.
 */

export class InFlight<Answer> {
  readonly #running = new Map<string, Promise<Answer>>();

  get size(): number {
    return this.#running.size;
  }

  run(key: string, ask: () => Promise<Answer>): Promise<Answer> {
    const running = this.#running.get(key);
    if (running !== undefined) return running;
    const answer = ask().finally(() => this.#running.delete(key));
    this.#running.set(key, answer);
    return answer;
  }
}
