/** What changes something for the whole datacenter waits until the node is a member that may serve. */
import type { ClusterView } from '../../cluster-view.ts';
import { stateTexts } from '../../readiness.ts';
import { ApiError } from '../api-error.ts';
import { noBody } from '../route.ts';

const RETRY_AFTER_S = 2;

/** Of routes that ask `checkMember`. */
export const noMember: ReturnType<typeof noBody> = noBody(
  'The node is no member of its datacenter now; `Retry-After` says when to try again.',
);

/** Status 503 while the other nodes would not hear of it; `cluster` null: the node is alone. */
export function checkMember(cluster: ClusterView | null): void {
  if (cluster === null) return;
  const { state } = cluster.report().node;
  if (state !== 'ready') throw new ApiError(503, stateTexts[state], [], RETRY_AFTER_S);
}
