/**
 * Files that the connection to a service is made from: authorities, and what it lets us in by. All
 * problems are told together, and a secret that others of the machine can read is warned about. Used
 * by the HTTP and the Redis backend, which say what is in the files.
 */
import type { Log } from '../../core/ports.ts';
import { readCaFile } from '../../drivers/ca-file.ts';
import { AccessError, type AccessProblem } from '../access-error.ts';
import { readSecretFile } from '../authn/secret-file.ts';

export class ServiceFiles {
  readonly #name: string;
  readonly #log: Log;
  readonly #problems: AccessProblem[] = [];

  /** `name`: where the service is in the configuration. */
  constructor(name: string, log: Log) {
    this.#name = name;
    this.#log = log;
  }

  /** Null: none is named, or it is a problem. */
  authorities(option: string, file: string | undefined): readonly string[] | null {
    if (file === undefined) return null;
    try {
      return readCaFile(file);
    } catch (error) {
      return this.#failed(option, file, error);
    }
  }

  /** Likewise. `parse` throws an Error that holds nothing of the file. */
  async secret<Value>(
    option: string,
    file: string | undefined,
    parse: (text: string) => Value,
  ): Promise<Value | null> {
    if (file === undefined) return null;
    const what = `${this.#name}.${option}`;
    try {
      const bytes = await readSecretFile(file, { what, isSecret: true, log: this.#log });
      return parse(bytes.toString('utf8'));
    } catch (error) {
      return this.#failed(option, file, error);
    }
  }

  /** Throws an AccessError when there was a problem. */
  check(): void {
    if (this.#problems.length > 0) throw new AccessError(this.#problems);
  }

  #failed(option: string, file: string, error: unknown): null {
    if (error instanceof AccessError) this.#problems.push(...error.problems);
    else {
      const message = `${this.#name}.${option}: ${(error as Error).message}`;
      this.#problems.push({ where: file, message });
    }
    return null;
  }
}
