/**
 * CONNECTs that are under way of clients which may have a session in another region (docs/adr/0023): since when, and
 * what other regions are to be told once it has begun anew here. State only; `roaming.ts` acts on it.
 */

/**
 * `clean`: whatever others have of it is over. `unsure`: one that could not be asked may have it, and is to hand
 * over what waits.
 */
export type Anew = 'clean' | 'unsure';

const CLIENTS_MAX = 10_000;
/** Whether a client may come takes no longer, or its CONNECT is waited for no more. */
const OPENING_MS = 2000;

export class Beginnings {
  /** By client: CONNECTs for which other regions were asked, and whose session is not open yet. */
  readonly #opening: Map<string, { readonly epoch: number; readonly untilMs: number }> = new Map();
  readonly #anew: Map<string, Anew> = new Map();

  asking(clientId: string, epoch: number, nowMs: number): void {
    if (this.#opening.size >= CLIENTS_MAX) this.#opening.clear();
    this.#opening.set(clientId, { epoch, untilMs: nowMs + OPENING_MS });
  }

  /** It goes on, or the client has its session: whoever asks finds it from here on. */
  ended(clientId: string, epoch: number = Number.POSITIVE_INFINITY): void {
    const opening = this.#opening.get(clientId);
    if (opening !== undefined && opening.epoch <= epoch) this.#opening.delete(clientId);
  }

  /** Of a CONNECT here; null: none is under way. */
  epochOf(clientId: string, nowMs: number): number | null {
    const opening = this.#opening.get(clientId);
    if (opening === undefined || nowMs < opening.untilMs) return opening?.epoch ?? null;
    this.#opening.delete(clientId);
    return null;
  }

  /** Null: it goes on with what it has. */
  expect(clientId: string, anew: Anew | null): void {
    if (this.#anew.size >= CLIENTS_MAX) this.#anew.clear();
    if (anew === null) this.#anew.delete(clientId);
    else this.#anew.set(clientId, anew);
  }

  has(clientId: string): boolean {
    return this.#anew.has(clientId);
  }

  /** Its session has begun. */
  take(clientId: string): Anew | null {
    const anew = this.#anew.get(clientId) ?? null;
    this.#anew.delete(clientId);
    return anew;
  }
}
