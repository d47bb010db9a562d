/**
 * Who a session and its messages belong to, once that is proven. Stored with sessions, wills and
 * retained messages, so that rights and quotas hold while nobody is connected and after a restart.
 */
export interface Principal {
  readonly clientId: string;
  /** The user name that was proven; null: anonymous. Only the same user may resume the session. */
  readonly identity: string | null;
  /** '': none. */
  readonly tenant: string;
}
