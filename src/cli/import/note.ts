/**
 * What an import has to say about a line of the original. Values of the original are quoted only where
 * they cannot be secrets.
 */

export interface Note {
  /** `file:line`, or '' for the whole. */
  readonly where: string;
  /**
   * `lost`: not carried over. `closed`: not carried, and because leaving it out would let in more than
   * before, something was shut instead. `differs`: carried, but not quite the same.
   */
  readonly kind: 'lost' | 'closed' | 'differs';
  /** Why, and what to do. */
  readonly message: string;
}

export class Notes {
  readonly #notes: Note[] = [];

  lost(where: string, message: string): void {
    this.#notes.push({ where, kind: 'lost', message });
  }

  closed(where: string, message: string): void {
    this.#notes.push({ where, kind: 'closed', message });
  }

  differs(where: string, message: string): void {
    this.#notes.push({ where, kind: 'differs', message });
  }

  get all(): readonly Note[] {
    return this.#notes;
  }

  /** Something of the original is missing in the result. */
  get isIncomplete(): boolean {
    return this.#notes.some(({ kind }) => kind !== 'differs');
  }
}

export function formatNote({ where, kind, message }: Note): string {
  const word = { lost: 'not carried', closed: 'not carried, shut', differs: 'note' }[kind];
  return `${where === '' ? '' : `${where}: `}${word}: ${message}`;
}
