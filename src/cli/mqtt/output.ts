/**
 * Standard output for messages: slows the server down instead of filling memory, and a reader that
 * goes away (`causeway sub … | head -1`) is an end, not an error.
 */

export class Output {
  #isClosed = false;
  #closed: (() => void) | null = null;
  #drained: PromiseWithResolvers<void> | null = null;

  constructor() {
    process.stdout.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
      this.#isClosed = true;
      this.#drained?.resolve();
      this.#closed?.();
    });
    process.stdout.on('drain', () => {
      this.#drained?.resolve();
      this.#drained = null;
    });
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Called when nobody reads any more. */
  onClosed(closed: () => void): void {
    this.#closed = closed;
  }

  /** A promise when the reader has to catch up first. */
  write(bytes: Buffer): void | Promise<void> {
    if (this.#isClosed || process.stdout.write(bytes)) return;
    this.#drained ??= Promise.withResolvers();
    return this.#drained.promise;
  }

  /** All that was written is the reader's. */
  async flushed(): Promise<void> {
    if (this.#isClosed || process.stdout.writableLength === 0) return;
    this.#drained ??= Promise.withResolvers();
    await this.#drained.promise;
  }
}
