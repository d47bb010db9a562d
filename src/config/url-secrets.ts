/**
 * Takes out of texts what is not for screens: user names go, passwords and queries of URLs do not.
 * For what `causeway config` and the API show, and for errors that repeat what was written.
 */

/** An authority ends at the first `/`, `?` or `#`; all before its last `@` is user and password. */
const url = /^([a-z][a-z0-9+.-]*:\/\/)([^/?#]*)([^?]*)(\?.*)?$/is;

export function withoutUrlSecrets(text: string): string {
  const match = url.exec(text);
  if (match === null) return text;
  const [, scheme = '', authority = '', path = '', query] = match;
  const at = authority.lastIndexOf('@');
  const user = authority.slice(0, Math.max(0, at)).split(':', 1)[0];
  const shown = at === -1 ? authority : `${user}:***${authority.slice(at)}`;
  return `${scheme}${shown}${path}${query === undefined ? '' : '?***'}`;
}

/** Of what was refused, and so may be a URL that cannot be read as one: nothing before its last `@`. */
export function withoutAnySecrets(text: string): string {
  const at = text.lastIndexOf('@');
  return url.test(text) || at === -1 ? withoutUrlSecrets(text) : `***${text.slice(at)}`;
}
