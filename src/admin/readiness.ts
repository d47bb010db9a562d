/**
 * `/health/ready`: whether this node should be given clients. From what the composition root knows to
 * one line per check, with the reason of each that fails.
 */

export interface Readiness {
  readonly isDraining: boolean;
  readonly isStoreOpen: boolean;
  /** False while the store refuses durable messages, as when the disk is full. */
  readonly isStoreWritable: boolean;
  readonly listenersUp: number;
  readonly listenersConfigured: number;
}

export interface ReadinessCheck {
  readonly name: 'store' | 'listeners' | 'draining';
  readonly ok: boolean;
  /** Why not; absent when it is well. */
  readonly reason?: string;
}

export function readinessChecks(state: Readiness): ReadinessCheck[] {
  return [
    check('store', storeReason(state)),
    check('listeners', listenersReason(state)),
    check('draining', state.isDraining ? 'the node is stopping' : null),
  ];
}

function check(name: ReadinessCheck['name'], reason: string | null): ReadinessCheck {
  return reason === null ? { name, ok: true } : { name, ok: false, reason };
}

function storeReason(state: Readiness): string | null {
  if (!state.isStoreOpen) return 'the store is not open';
  if (!state.isStoreWritable) return 'the store refuses durable messages; the log says why';
  return null;
}

function listenersReason({ listenersUp, listenersConfigured }: Readiness): string | null {
  if (listenersUp === listenersConfigured && listenersUp > 0) return null;
  return `${listenersUp} of ${listenersConfigured} listeners accept connections`;
}
