/** Makes a listener from its options; throws a ListenerError that names what is wrong with them. */
import type { Acceptor, Log } from '../core/ports.ts';
import type { Listener, ListenerOptions } from './listener.ts';
import { planListener } from './listener-plan.ts';
import { rawTcpSupported } from './raw-tcp.ts';
import { RawTcpListener } from './raw-tcp-listener.ts';
import { StreamListener } from './stream-listener.ts';

export function createListener(options: ListenerOptions, acceptor: Acceptor, log: Log): Listener {
  const plan = planListener(options);
  const isRaw = plan.transport === 'tcp' && plan.proxies === null && rawTcpSupported;
  return isRaw ? new RawTcpListener(plan, acceptor, log) : new StreamListener(plan, acceptor, log);
}
