/**
 * The configuration a running node has after a reload: what can be taken over comes from the new one,
 * the rest stays. Pure; `node.ts` applies it.
 */
import type { Config, ListenerConfig } from '../config/config.ts';
import type { RegionsConfig } from '../config/regions-config.ts';

export function mergeReloadable(current: Config, next: Config): Config {
  const unused = [...next.listeners];
  const listeners = current.listeners.map((listener): ListenerConfig => {
    const index = unused.findIndex(({ url }) => url === listener.url);
    const [found] = index === -1 ? [] : unused.splice(index, 1);
    if (found === undefined) return listener;
    return { ...found, name: listener.name, authentication: listener.authentication };
  });
  return {
    ...current,
    listeners,
    tls: next.tls,
    limits: next.limits,
    quotas: next.quotas,
    bans: next.bans,
    steering: next.steering,
    bridges: next.bridges,
    authorization: {
      ...current.authorization,
      revokedSubscription: next.authorization.revokedSubscription,
    },
    regions: regionsAfter(current.regions, next.regions),
    admin: {
      ...current.admin,
      tls: next.admin.tls,
    },
    log: { ...current.log, level: next.log.level },
    sysIntervalS: next.sysIntervalS,
    shutdownGraceMs: next.shutdownGraceMs,
  };
}

/** Links come and go; that there are regions, and which one this is, does not. */
function regionsAfter(
  current: RegionsConfig | undefined,
  next: RegionsConfig | undefined,
): RegionsConfig | undefined {
  if (current === undefined || next === undefined) return current;
  return { ...next, name: current.name };
}
