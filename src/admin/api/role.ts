/** What a token may do: each role may all that the ones before it may. */

export const roles = ['viewer', 'operator', 'admin'] as const;
export type Role = (typeof roles)[number];

/** Whether somebody with the role `has` may do what asks for `needs`. */
export function isEnough(has: Role, needs: Role): boolean {
  return roles.indexOf(has) >= roles.indexOf(needs);
}
