/**
 * Takes out of texts what is not for screens: user names go, passwords and queries of URLs do not.
 * For what `causeway config` and the API show, and for errors that repeat what was written.
 */

/** An authority ends at the first `/`, `?` or `#`; all before its last `@` is user and password. */
const url = /^([a-z][a-z0-9+.-]*:\/\/)([^/?#]*)([^?]*)(\?.*)?$/is;
/** Of a list of URLs: the authorities behind the first one. */
const further = /\/\/([^/?#]*)/g;

export function withoutUrlSecrets(text: string): string {
  const match = url.exec(text);
  if (match === null) return text;
  const [, scheme = '', authority = '', path = '', query] = match;
  const others = path.replace(further, (_all, next: string) => `//${withoutLogin(next)}`);
  return `${scheme}${withoutLogin(authority)}${others}${query === undefined ? '' : '?***'}`;
}

/** `user:password@host` is shown as `user:***@host`, and so is what has commas in it. */
function withoutLogin(authority: string): string {
  const at = authority.lastIndexOf('@');
  if (at === -1) return authority;
  const user = authority.slice(0, at).split(':', 1)[0];
  return `${user}:***${authority.slice(at)}`;
}

/**
 * Of what was refused, and so may be a URL that cannot be read as one, with `/`, `?` or `#` in its
 * password: nothing before its last `@`, unless that ends an authority.
 */
export function withoutAnySecrets(text: string): string {
  const at = text.lastIndexOf('@');
  const match = url.exec(text);
  if (at === -1) return withoutUrlSecrets(text);
  if (match === null) return `***${text.slice(at)}`;
  const [, scheme = '', authority = ''] = match;
  if (at < scheme.length + authority.length) return withoutUrlSecrets(text);
  return `${scheme}***${text.slice(at).replace(/\?.*$/s, '?***')}`;
}
