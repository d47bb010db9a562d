/**
 * The configuration a running node has after a reload: what can be taken over comes from the new one,
 * the rest stays. Pure; `node.ts` applies it.
 */
import type { Config, ListenerConfig } from '../config/config.ts';

export function mergeReloadable(current: Config, next: Config): Config {
  const unused = [...next.listeners];
  const listeners = current.listeners.map((listener): ListenerConfig => {
    const index = unused.findIndex(({ url }) => url === listener.url);
    const [found] = index === -1 ? [] : unused.splice(index, 1);
    return found === undefined ? listener : { ...found, name: listener.name };
  });
  return {
    ...current,
    listeners,
    tls: next.tls,
    limits: next.limits,
    log: { ...current.log, level: next.log.level },
    sysIntervalS: next.sysIntervalS,
    shutdownGraceMs: next.shutdownGraceMs,
  };
}
