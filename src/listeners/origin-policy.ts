/**
 * Which web pages may open a WebSocket here. A browser names the page's origin and sends whatever
 * credentials it has, so a page nobody chose could act as its visitor (cross-site WebSocket). Asked
 * once per WebSocket handshake; it knows no socket.
 */
import { isLoopbackAddress, parseIpAddress } from '../util/ip-address.ts';

/** One spelling per origin: lower case, without the default port. Null: not an origin. */
function canonicalOrigin(text: string): string | null {
  if (text === 'null') return text;
  // Of app wrappers too (capacitor://localhost), which URL does not take for origins.
  if (!/^[a-z][a-z0-9+.-]*:\/\/[^/?#@\s]+$/i.test(text)) return null;
  try {
    const { origin } = new URL(text);
    return origin === 'null' ? text.toLowerCase() : origin;
  } catch {
    return null;
  }
}

/** The host of `https://host:port` or `host:port` as `new URL` spells it; null: unreadable. */
function hostOf(text: string): string | null {
  try {
    return new URL(text.includes('://') ? text : `http://${text}`).hostname;
  } catch {
    return null;
  }
}

export class OriginPolicy {
  /** null: the secure default described at `WebSocketOptions.allowedOrigins`. */
  readonly #allowed: ReadonlySet<string> | null;

  constructor(allowed: readonly string[] | null) {
    this.#allowed =
      allowed === null ? null : new Set(allowed.map((origin) => canonicalOrigin(origin) ?? origin));
  }

  /** Whether an entry of the allow-list can ever match. */
  static isOrigin(text: string): boolean {
    // No page is served from a host with a star in its name.
    return text === '*' || (!text.includes('*') && canonicalOrigin(text) !== null);
  }

  /** `origin` and `host` are the request's headers, undefined when it has none. */
  allows(origin: string | undefined, host: string | undefined): boolean {
    if (origin === undefined) return true;
    const canonical = canonicalOrigin(origin);
    if (this.#allowed !== null) {
      return this.#allowed.has('*') || (canonical !== null && this.#allowed.has(canonical));
    }
    if (canonical === null || !/^https?:/.test(canonical)) return false;
    const page = hostOf(canonical);
    if (page === null) return false;
    if (page === 'localhost' || page.endsWith('.localhost')) return true;
    const address = parseIpAddress(page.replace(/^\[(.*)\]$/, '$1'));
    if (address === null) return false;
    return isLoopbackAddress(address) || (host !== undefined && hostOf(host) === page);
  }
}
