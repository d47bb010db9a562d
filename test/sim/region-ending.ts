/**
 * The end of a run of regions: sessions are ended where their clients are, and then nobody has any of them, and no
 * region wants anything of others or for them. Used by region-run.ts and roaming-run.ts.
 */
import type { Ledger } from '../chaos/ledger.ts';
import { connect, disconnect } from '../conformance/packets.ts';
import { flowUntil } from './flowing.ts';
import type { Kernel } from './kernel.ts';
import type { SimRegion } from './region-life.ts';
import type { RegionSite } from './region-site.ts';

const LOOK_MS = 250;

export class RegionEnding {
  readonly #kernel: Kernel;
  readonly #site: RegionSite;
  readonly #ledger: Ledger;

  constructor(kernel: Kernel, site: RegionSite, ledger: Ledger) {
    this.#kernel = kernel;
    this.#site = site;
    this.#ledger = ledger;
  }

  /** The client comes once more, and leaves nothing. */
  endSession(region: SimRegion, clientId: string): void {
    const line = this.#site.dialTo(region)?.(5, {
      opened: () =>
        line?.send(
          connect({
            version: 5,
            clientId,
            clean: true,
            keepAliveSec: 0,
            properties: [['sessionExpiryInterval', 0]],
          }),
        ),
      packet: () => line?.end(disconnect()),
      closed: () => {},
      fault: (text) => this.#ledger.fault(`${clientId}: ${text}`),
    });
  }

  /** Waits for so long at most until nothing is left; what is goes into the books. */
  async nothingLeft(withinMs: number, faultsMax: number): Promise<void> {
    if (!this.#site.isReady) return;
    await flowUntil(this.#kernel, withinMs, () => this.#left().length === 0, LOOK_MS);
    for (const text of this.#left().slice(0, faultsMax)) this.#ledger.fault(text);
  }

  #left(): string[] {
    const left: string[] = [];
    for (const { region, links, broker } of this.#site.ready) {
      for (const [filter, regions] of links.wanted.entries()) {
        left.push(`${region} still wants ${filter} for '${[...regions].join("', '")}'`);
      }
      for (const { clientId, queuedMessages } of broker.admin.sessions()) {
        const isLink = clientId.startsWith('$link/');
        if (!isLink) left.push(`${region} still has the session ${clientId}`);
        else if (queuedMessages > 0) left.push(`${region}: ${clientId} still has messages`);
      }
    }
    return left;
  }
}
