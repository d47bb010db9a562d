/**
 * Where messages belong that are for a session that goes from region to region, by the region they are published
 * in, or the life of a node there (docs/adr/0023): what each of those has said last. Data plane.
 */
import { isSource, regionOfSource } from './link-names.ts';
import type { Stream } from './roaming-record.ts';

export class RoamingStreams {
  /** What regions have said, and lives of their nodes that have said something later. */
  readonly #said: Map<string, Stream> = new Map();
  /** How many of them are of lives of nodes. */
  #sources = 0;

  copy(): RoamingStreams {
    const copy = new RoamingStreams();
    for (const [origin, { to, epoch }] of this.#said) copy.say(origin, to, epoch);
    return copy;
  }

  all(): readonly (readonly [string, string, number])[] {
    return [...this.#said].map(([origin, { to, epoch }]) => [origin, to, epoch] as const);
  }

  get hasSources(): boolean {
    return this.#sources > 0;
  }

  /** Undefined: nothing was. */
  saidOf(origin: string): Stream | undefined {
    return this.#said.get(origin);
  }

  /** Of a region, or of one life of a node there; undefined: neither has said anything. */
  homeOf(origin: string): string | undefined {
    return (this.#said.get(origin) ?? this.#said.get(regionOfSource(origin)))?.to;
  }

  /** What lives of nodes of a region have said. */
  *homesOfSources(region: string): Iterable<string> {
    if (this.#sources === 0) return;
    for (const [origin, { to }] of this.#said) if (isOf(origin, region)) yield to;
  }

  /** False: that region, or life, has said something later already, or its region has. */
  redirect(origin: string, to: string, epoch: number): boolean {
    const known = this.#said.get(origin);
    if (known !== undefined && known.epoch >= epoch) return false;
    const region = regionOfSource(origin);
    const whole = region === origin ? undefined : this.#said.get(region);
    if (whole !== undefined && isIn(to, epoch, whole)) return false;
    this.say(origin, to, epoch);
    if (region === origin)
      this.#dropSources((stream) => isIn(stream.to, stream.epoch, { to, epoch }), region);
    return true;
  }

  /** Whatever has been said there. */
  claim(region: string, to: string, epoch: number): void {
    this.say(region, to, epoch);
    this.#dropSources(() => true, region);
  }

  say(origin: string, to: string, epoch: number): void {
    if (!this.#said.has(origin) && isSource(origin)) this.#sources++;
    this.#said.set(origin, { to, epoch });
  }

  unsay(source: string): void {
    if (this.#said.delete(source)) this.#sources--;
  }

  clear(): void {
    this.#said.clear();
    this.#sources = 0;
  }

  #dropSources(isOver: (stream: Stream) => boolean, region: string): void {
    if (this.#sources === 0) return;
    for (const [origin, stream] of this.#said) {
      if (!isOf(origin, region) || !isOver(stream)) continue;
      this.#said.delete(origin);
      this.#sources--;
    }
  }
}

/** What a life of a node says is in what its region says as a whole, as late or later. */
function isIn(to: string, epoch: number, whole: Stream): boolean {
  return whole.epoch > epoch || (whole.epoch === epoch && whole.to === to);
}

/** Whether it is a life of a node of that region. */
function isOf(origin: string, region: string): boolean {
  return isSource(origin) && regionOfSource(origin) === region;
}
