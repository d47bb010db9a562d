/**
 * One thing at a time for each client id: a session is not opened while its close is under way, as the
 * open would find the will of a connection that ended well. Others do not wait.
 */
export class ClientLine {
  readonly #lines: Map<string, ((finished: () => void) => void)[]> = new Map();

  /** Clients something is under way for. */
  get size(): number {
    return this.#lines.size;
  }

  /** Runs the task when all before it of that client have called their `finished`. */
  run(clientId: string, task: (finished: () => void) => void): void {
    const line = this.#lines.get(clientId);
    if (line !== undefined) {
      line.push(task);
      return;
    }
    this.#lines.set(clientId, [task]);
    this.#begin(clientId);
  }

  #begin(clientId: string): void {
    const line = this.#lines.get(clientId)!;
    let isFinished = false;
    line[0]!(() => {
      if (isFinished) return;
      isFinished = true;
      line.shift();
      if (line.length === 0) this.#lines.delete(clientId);
      else this.#begin(clientId);
    });
  }
}
