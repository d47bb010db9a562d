/**
 * What an answer of an HTTP service means. Only what is understood in full lets anybody in: a
 * redirect, an error, HTML of a captive portal, `"ALLOW "` are all nonsense.
 *
 * | Answer | Meaning |
 * |---|---|
 * | 204, or 200 without a body | allow |
 * | 200 with JSON `{"result": "allow" \| "deny" \| "ignore", …}` | that (EMQX) |
 * | 200 with JSON `{"ok": true \| false}`, or text `ok` | allow or deny (mosquitto-go-auth) |
 * | 401, 403 | deny |
 */
import { isUtf8 } from 'node:buffer';
import type { HttpAnswer } from '../../drivers/http/http-client.ts';

/** Own members of a JSON object, by name. */
export type Members = ReadonlyMap<string, unknown>;

export type HttpVerdict =
  | { readonly kind: 'allow'; readonly members: Members }
  | { readonly kind: 'deny' | 'ignore' }
  /** `why` holds nothing of the answer but its status. */
  | { readonly kind: 'nonsense'; readonly why: string };

const NO_MEMBERS: Members = new Map();

export function judge(answer: HttpAnswer): HttpVerdict {
  const { status, body, contentType } = answer;
  if (status === 401 || status === 403) return { kind: 'deny' };
  if (status !== 200 && status !== 204) return nonsense(`HTTP status ${status}`);
  if (body.length === 0) return { kind: 'allow', members: NO_MEMBERS };
  if (!isUtf8(body)) return nonsense('the answer is not UTF-8');
  const text = body.toString();
  if (contentType === 'text/plain' && (text === 'ok' || text === 'OK')) {
    return { kind: 'allow', members: NO_MEMBERS };
  }
  if (contentType !== 'application/json' && !contentType.endsWith('+json')) {
    return nonsense('the answer is neither empty nor application/json');
  }
  const members = membersOf(text);
  if (members === null) return nonsense('the answer is no JSON object');
  const result = members.get('result');
  if (result === 'allow') return { kind: 'allow', members };
  if (result === 'deny' || result === 'ignore') return { kind: result };
  if (members.has('result')) return nonsense('result is none of allow, deny, ignore');
  if (members.get('ok') === true) return { kind: 'allow', members };
  if (members.get('ok') === false) return { kind: 'deny' };
  return nonsense('the answer has no result');
}

export function nonsense(why: string): { readonly kind: 'nonsense'; readonly why: string } {
  return { kind: 'nonsense', why };
}

function membersOf(text: string): Members | null {
  try {
    return asMembers(JSON.parse(text));
  } catch {
    return null;
  }
}

/** Null: it is no object. `__proto__` is a name like any other. */
export function asMembers(value: unknown): Members | null {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null;
  return new Map(Object.entries(value));
}
