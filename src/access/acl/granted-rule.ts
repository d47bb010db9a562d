/**
 * A rule that comes with a client's credentials (a token's claim, the answer of an HTTP or Redis
 * source) instead of from the rule file. Made by authenticators and rule sources, compiled with the
 * file's rules at CONNECT.
 */

/**
 * What a rule speaks about. `subscribe` decides about the subscription and about what is delivered by
 * it; `receive` about delivery alone, so that a part of what was subscribed can be held back.
 */
export type AclAction = 'publish' | 'subscribe' | 'receive';

export interface GrantedRule {
  readonly allow: boolean;
  readonly actions: readonly AclAction[];
  /** Topic filter, placeholders allowed: `%c` client id, `%u` user, `%{claim}`. */
  readonly topic: string;
  /** Null: any. */
  readonly qos: readonly (0 | 1 | 2)[] | null;
  /** Null: retained or not. */
  readonly retain: boolean | null;
  /** For explanations: `token claim acl[2]`, `redis mqtt_acl:alice`. */
  readonly source: string;
}
