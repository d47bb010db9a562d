// The shape of a scenario of clusters. run.ts runs them, in turns over the clusters.

import type { Columns } from '../macro/access/table.ts';
import type { ClusterContext, Measured } from './cluster-context.ts';

/** Sizes that a short run makes smaller. */
export interface ClusterSizes {
  readonly pairs: number;
  readonly fanOut: number;
  /** Messages queued for sessions whose clients are away. */
  readonly away: number;
  readonly subscribes: number;
  readonly takeovers: number;
  /** Sessions of a node that is killed. */
  readonly sessions: number;
  readonly routes: number;
}

export interface ClusterScenario {
  readonly name: string;
  readonly title: string;
  readonly columns: Columns;
  /** Measures once, against a cluster that has just been started. */
  measure(context: ClusterContext, sizes: ClusterSizes): Promise<Measured>;
}
