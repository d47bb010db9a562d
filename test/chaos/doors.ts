/**
 * Where clients of a chaos run connect when there are several nodes: to some node that may be tried, and
 * elsewhere when theirs went silent, as a keep-alive would make them. Used by run-cluster-chaos.ts and
 * run-region-chaos.ts; knows no client.
 */
import type { Dial } from './line.ts';
import { Link } from './link.ts';
import type { Prng } from './prng.ts';

/** A client that hears nothing for so long believes that its node is dead. */
const DEAF_MS = 2500;

export class Doors {
  readonly dial: Dial;
  readonly #lines: Set<{ close: () => void; heardMs: number }> = new Set();

  /** `ports` are asked for at each connect. */
  constructor(ports: () => readonly number[], prng: Prng) {
    this.dial = (version, events) => {
      const now = ports();
      const port = now.length === 0 ? 1 : prng.pick(now);
      const open = { close: () => link.close(), heardMs: performance.now() };
      const link = new Link(port, version, {
        ...events,
        packet: (packet) => {
          open.heardMs = performance.now();
          events.packet(packet);
        },
        closed: () => {
          this.#lines.delete(open);
          events.closed();
        },
      });
      this.#lines.add(open);
      return link;
    };
  }

  /** Called often. */
  closeDeaf(nowMs: number): void {
    for (const open of this.#lines) if (nowMs - open.heardMs > DEAF_MS) open.close();
  }
}
