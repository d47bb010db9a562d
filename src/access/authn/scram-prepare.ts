/**
 * The part of SASLprep (RFC 4013) that changes nothing: a text that the profile leaves as it is comes
 * back, any other is refused. Clients prepare names and passwords in full, half or not at all; where
 * all of them agree is the only safe ground. Right-to-left scripts are refused too, as their rules
 * need tables that JavaScript does not have. Used for SCRAM users and by `causeway passwd --scram`.
 */

/** Control, format, private, unassigned; separators other than the plain space. */
const forbidden: RegExp = /\p{C}|\p{Zl}|\p{Zp}|(?! )\p{Zs}/u;

/** Joiners and variation selectors that the profile drops, and symbols about text it forbids. */
const dropped: RegExp =
  /\u034f|\u1806|[\u180b-\u180d]|[\ufe00-\ufe0f]|[\u2ff0-\u2ffb]|[\ufff9-\ufffd]/u;

/** The blocks Unicode sets apart for right-to-left scripts. */
const rightToLeft: RegExp =
  /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/** Whether SCRAM can use this name or password without changing it. */
export function isPrepared(text: string): boolean {
  if (text === '' || !text.isWellFormed() || text.normalize('NFKC') !== text) return false;
  return !forbidden.test(text) && !dropped.test(text) && !rightToLeft.test(text);
}
