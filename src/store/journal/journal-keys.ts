/**
 * Keys of the journal on the disk: `o` and the number for what is this node's own, `c`, an incarnation and
 * the position for copies kept for others. Numbers have fixed width, so keys are in their order.
 */
import type { Incarnation } from '../../core/incarnation.ts';

const DIGITS = 14;

export const OWN_FIRST = 'o';
export const OWN_LAST = 'o~';
export const COPIES_FIRST = 'c';
export const COPIES_LAST = 'c~';

export function ownKey(number: number): string {
  return `o${digits(number)}`;
}

export function copyKey(incarnation: Incarnation, position: number): string {
  return `c${incarnation}.${digits(position)}`;
}

/** All copies kept for one node. */
export function copyRange(incarnation: Incarnation): readonly [from: string, to: string] {
  return [`c${incarnation}.`, `c${incarnation}.~`];
}

/** The next key there can be. */
export function after(key: string): string {
  return `${key}!`;
}

/** Null: it is none of these keys. */
export function numberOf(key: string): number | null {
  const number = Number.parseInt(key.slice(-DIGITS), 16);
  return Number.isSafeInteger(number) ? number : null;
}

export function incarnationOf(key: string): Incarnation | null {
  const dot = key.indexOf('.');
  return key.startsWith('c') && dot > 1 ? key.slice(1, dot) : null;
}

function digits(number: number): string {
  return number.toString(16).padStart(DIGITS, '0');
}
