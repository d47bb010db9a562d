/** A hard case of regions as a scene that plays it, and what it is without its rule; see hard-case.ts. */
import type { RegionLife } from './region-life.ts';
import type { RegionScene } from './region-scene.ts';
import type { RegionSiteOptions } from './region-site.ts';

export interface RegionCase {
  readonly number: number;
  readonly title: string;
  /** Was it kept? */
  readonly promise: (scene: RegionScene) => Promise<boolean>;
  readonly options: RegionSiteOptions;
  /** What it is without the rule, in words. */
  readonly without: string;
  readonly sabotage: (life: RegionLife) => void;
}

/** Notes whose keys begin so are not kept. */
export function forgetting(prefix: string): (life: RegionLife) => void {
  return ({ notes }) => {
    const putNote = notes.putNote.bind(notes);
    notes.putNote = (key, value) => (key.startsWith(prefix) ? 0 : putNote(key, value));
  };
}

const ID = Buffer.from('causeway-id');

/** Copies for links count as durable as soon as they are handed over. */
export function notWaitingForLinks({ store }: RegionLife): void {
  const append = store.append.bind(store);
  store.append = (sessionNumber, entry) => {
    const ticket = append(sessionNumber, entry);
    if (entry.message.properties.includes(ID)) entry.durable = true;
    return ticket;
  };
}
