/**
 * P3, watched while a run goes on: no two lives are given one session under the same epoch, and whoever is
 * given one gets it after everybody else who may still serve has let go of it. Put between core and
 * bus of every life; used by cluster-run.ts and by scenarios.
 */
import type { SimLife, SimSite } from './sim-site.ts';

export class OwnerWatch {
  readonly broken: string[] = [];
  readonly #site: SimSite;
  /** Of client id and epoch: who was given it. */
  readonly #given: Map<string, string> = new Map();

  constructor(site: SimSite) {
    this.#site = site;
  }

  /** From `SimSiteOptions.onLife`. */
  watch(life: SimLife): void {
    const { bus } = life.cluster;
    const open = bus.open.bind(bus);
    bus.open = (request, done) =>
      open(request, (answer) => {
        if (answer.kind === 'opened') this.#opened(life, request.clientId, answer.record.epoch);
        done(answer);
      });
  }

  #opened(life: SimLife, clientId: string, epoch: number): void {
    const key = `${epoch} ${clientId}`;
    const { incarnation } = life.membership;
    const before = this.#given.get(key);
    if (before !== undefined) {
      this.broken.push(
        `${clientId} was given twice under epoch ${epoch}: ${before}, ${incarnation}`,
      );
    }
    this.#given.set(key, incarnation);
    for (const { life: other } of this.#site.machines) {
      if (other === null || other === life || !other.membership.mayServe()) continue;
      if (other.broker.remote!.queueOf(clientId) === null) continue;
      // Whoever is too late is fenced, and finds out.
      if (other.broker.remote!.knownSession(clientId)!.epoch > epoch) continue;
      const names = `${life.node.name}, while ${other.node.name}`;
      this.broken.push(`${clientId} was given to ${names} has it and may serve, epoch ${epoch}`);
    }
  }
}
