/**
 * Which seed a random test runs with. Without a word from outside it is always the same, so that a commit
 * is judged by what it does and not by a draw; CAUSEWAY_SEED=n is another one (a failure prints its own),
 * CAUSEWAY_SEED=new one that nobody has seen.
 */
const SEEDS_END = 2 ** 31;

/** What CAUSEWAY_SEED asks for; null: nothing, the test runs what it always runs. */
export function givenSeed(): number | null {
  const given = process.env.CAUSEWAY_SEED;
  if (given === undefined || given === '') return null;
  if (given === 'new') return Math.floor(Math.random() * SEEDS_END);
  const seed = Number(given);
  if (Number.isSafeInteger(seed) && seed >= 0) return seed;
  throw new Error(`CAUSEWAY_SEED is a whole number from 0 or "new", not "${given}"`);
}

/** The seed to run with: `known` unless CAUSEWAY_SEED says another. */
export function seedOr(known: number): number {
  return givenSeed() ?? known;
}
