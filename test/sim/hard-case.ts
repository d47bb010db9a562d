/**
 * An interleaving that breaks a promise when its rule is missing, as a scene that plays it. The scenes are in
 * hard-cases-nodes.ts and hard-cases-sessions.ts; hard-cases.test.ts runs them.
 */
import type { Planted } from './planting.ts';
import type { Scene } from './scene.ts';
import type { SimSiteOptions } from './sim-site.ts';

export interface HardCase {
  readonly number: number;
  readonly title: string;
  /** Was it kept? */
  readonly promise: (scene: Scene) => Promise<boolean>;
  readonly options?: SimSiteOptions;
  /** What it is without the rule, in words. */
  readonly without: string;
  readonly planted: Planted;
}

export const DURABLE = { expiryS: 3600 };
export const FLEETING = { expiryS: 0 };
