/**
 * Texts with placeholders for what is sent to a backend: `%c` client id, `%u` user name, `%P`
 * password, `%{certificate.common_name}` and so on. Cut into parts once, when the broker starts; what
 * a client is called is never read again as a placeholder.
 */

/** The value of a placeholder by its name (`u`, `certificate.serial`); null: the client has none. */
export type Lookup = (name: string) => string | null;

export type TemplatePart =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'value'; readonly name: string };

const CERTIFICATE = [
  'common_name',
  'organization',
  'organizational_unit',
  'issuer',
  'serial',
  'fingerprint',
] as const;
export type CertificatePlaceholder = (typeof CERTIFICATE)[number];

/** Known wherever a client is: at login and when it asks for a topic. */
export const clientPlaceholders: readonly string[] = [
  'c',
  'u',
  'a',
  'l',
  ...CERTIFICATE.map((field) => `certificate.${field}`),
];

/** Throws a TypeError that names what is wrong. `claim.NAME` is known when `claim.` is in `known`. */
export function parseTemplate(text: string, known: readonly string[]): TemplatePart[] {
  const parts: TemplatePart[] = [];
  let literal = '';
  for (let i = 0; i < text.length; i += 1) {
    const char = text[i] as string;
    if (char !== '%') {
      literal += char;
      continue;
    }
    i += 1;
    let name = text[i] ?? '';
    if (name === '%') {
      literal += '%';
      continue;
    }
    if (name === '{') {
      const end = text.indexOf('}', i);
      name = end === -1 ? '' : text.slice(i + 1, end);
      i = end === -1 ? text.length : end;
    }
    const isClaim = name.startsWith('claim.') && name.length > 6 && known.includes('claim.');
    if (!isClaim && !known.includes(name)) {
      const list = known.map((one) => (one.length === 1 ? `%${one}` : `%{${one}}`)).join(' ');
      throw new TypeError(
        `unknown placeholder %${name}; known: ${list}, and %% for a percent sign`,
      );
    }
    if (literal !== '') parts.push({ kind: 'text', text: literal });
    literal = '';
    parts.push({ kind: 'value', name });
  }
  if (literal !== '') parts.push({ kind: 'text', text: literal });
  return parts;
}

/** Names of the placeholders in it. */
export function namesIn(parts: readonly TemplatePart[]): string[] {
  return parts.flatMap((part) => (part.kind === 'value' ? [part.name] : []));
}
