/**
 * Asks for a secret on the terminal without showing it. Used by commands that need a password; what is
 * typed never becomes an argument, an environment variable or a line of a shell's history.
 */
import type { Readable } from 'node:stream';

/** The part of a terminal's input that is needed. */
export interface TerminalInput extends Readable {
  setRawMode(isRaw: boolean): unknown;
}

const CTRL_C = 0x03;
const CTRL_D = 0x04;
const BACKSPACE = 0x08;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const CTRL_U = 0x15;
const ESCAPE = 0x1b;
const DELETE = 0x7f;

export class HiddenInput {
  readonly #input: TerminalInput;
  readonly #output: { write(text: string): unknown };
  /** Typed or pasted before it was asked for. */
  #ahead: Buffer = Buffer.alloc(0);

  constructor(input: TerminalInput, output: { write(text: string): unknown }) {
    this.#input = input;
    this.#output = output;
  }

  /** One line, without its end; null: Ctrl-C, Ctrl-D, or the terminal is gone. */
  async ask(prompt: string): Promise<Buffer | null> {
    // First, or a fast answer to the prompt would be shown.
    this.#input.setRawMode(true);
    try {
      this.#output.write(prompt);
      return await this.#line();
    } finally {
      this.#input.setRawMode(false);
      this.#input.pause();
      this.#output.write('\n');
    }
  }

  #line(): Promise<Buffer | null> {
    const typed: number[] = [];
    const { promise, resolve } = Promise.withResolvers<Buffer | null>();
    const onData = (chunk: Buffer): void => {
      for (let i = 0; i < chunk.length; i += 1) {
        const byte = chunk[i]!;
        if (byte === CARRIAGE_RETURN || byte === LINE_FEED) {
          const isPair = byte === CARRIAGE_RETURN && chunk[i + 1] === LINE_FEED;
          this.#ahead = chunk.subarray(i + (isPair ? 2 : 1));
          resolve(Buffer.from(typed));
          return;
        }
        if (byte === CTRL_C || (byte === CTRL_D && typed.length === 0)) {
          resolve(null);
          return;
        }
        // An arrow or function key: its bytes come together.
        if (byte === ESCAPE) return;
        edit(typed, byte);
      }
    };
    const onEnd = (): void => resolve(null);
    const ahead = this.#ahead;
    this.#ahead = Buffer.alloc(0);
    this.#input.on('data', onData).once('end', onEnd).once('error', onEnd).resume();
    if (ahead.length > 0) onData(ahead);
    return promise.finally(() => {
      this.#input.off('data', onData).off('end', onEnd).off('error', onEnd);
    });
  }
}

/** Takes one key into account. */
function edit(typed: number[], byte: number): void {
  if (byte === CTRL_U) typed.length = 0;
  else if (byte === BACKSPACE || byte === DELETE) {
    // A character of UTF-8 is a first byte and those that go on from it (10xxxxxx).
    while (((typed.pop() ?? 0) & 0xc0) === 0x80);
  } else if (byte >= 0x20 || byte === 0x09) typed.push(byte);
}
