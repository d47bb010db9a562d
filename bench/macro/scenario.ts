// The shape every scenario has; `scenarios.ts` lists them, run.ts runs them.

import type { Feature, Profile } from '../peers/peer.ts';
import type { Figure } from './figure.ts';
import type { RunContext } from './run-context.ts';

export interface Scenario {
  readonly name: string;
  readonly title: string;
  /** Brokers that lack one of these are skipped, with the reason. */
  readonly needs: readonly Feature[];
  /** The broker keeps sessions on disk. */
  readonly durable: boolean;
  readonly profile: Profile;
  measure(context: RunContext): Promise<readonly Figure[]>;
}
