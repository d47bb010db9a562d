/** One filter against one topic or another filter, without a tree. Data plane: no recursion, no copies. */

const SLASH = 0x2f;
const PLUS = 0x2b;
const HASH = 0x23;

/**
 * Whether a valid filter matches a valid topic name [MQTT5-4.7.1]. Wildcards at the first level leave `$`
 * topics out [MQTT5-4.7.2-1].
 */
export function filterMatches(filter: string, topic: string): boolean {
  const first = filter.charCodeAt(0);
  if (topic.charCodeAt(0) === 0x24 && (first === PLUS || first === HASH)) return false;
  return covers(filter, topic);
}

/**
 * Whether everything that `inner` (a filter, or a topic) matches is matched by `outer`. `+` is a level like
 * any other for `+` and `#`, and nothing else covers it.
 */
export function covers(outer: string, inner: string): boolean {
  let o = 0;
  let i = 0;
  for (;;) {
    const wild = outer.charCodeAt(o);
    if (wild === HASH) return true;
    if (wild === PLUS) {
      // `#` is more than one level.
      if (inner.charCodeAt(i) === HASH) return false;
      o++;
      while (i < inner.length && inner.charCodeAt(i) !== SLASH) i++;
    } else {
      while (o < outer.length && outer.charCodeAt(o) !== SLASH) {
        if (outer.charCodeAt(o) !== inner.charCodeAt(i)) return false;
        o++;
        i++;
      }
      if (i < inner.length && inner.charCodeAt(i) !== SLASH) return false;
    }
    const outerEnds = o >= outer.length;
    const innerEnds = i >= inner.length;
    if (outerEnds) return innerEnds;
    if (innerEnds) return outer.length === o + 2 && outer.charCodeAt(o + 1) === HASH;
    o++;
    i++;
  }
}

/**
 * What both match, where that is one filter: for each level the narrower one. Null: nothing. Exact, as of two
 * levels one is always the other's, or they have nothing in common.
 */
export function intersection(left: string, right: string): string | null {
  const a = left.split('/');
  const b = right.split('/');
  const levels: string[] = [];
  for (let at = 0; ; at++) {
    const one = a[at];
    const other = b[at];
    if (one === '#') return join(levels, b, at);
    if (other === '#') return join(levels, a, at);
    if (one === undefined && other === undefined) return levels.join('/');
    // `a/#` matches `a` too: seen above when it is the longer one's turn.
    if (one === undefined || other === undefined) return null;
    if (one === '+') levels.push(other);
    else if (other === '+' || one === other) levels.push(one);
    else return null;
  }
}

function join(levels: string[], rest: readonly string[], from: number): string {
  for (let at = from; at < rest.length; at++) levels.push(rest[at]!);
  return levels.join('/');
}
