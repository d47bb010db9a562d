/** Gates that allow everything; tests override what they are about. */
import {
  ALLOW,
  type ClientGate,
  type ConnectDecision,
  type ConnectRequest,
  type EnhancedAuth,
  type Gate,
  type GateWaiter,
  type Quotas,
  type Verdict,
  type WAIT,
} from '../../src/core/ports.ts';
import type { Principal } from '../../src/core/principal.ts';

export class FakeGate implements Gate {
  readonly enhanced: EnhancedAuth | null = null;
  readonly quotas: Quotas | null = null;

  socket(_remoteAddress: string): boolean {
    return true;
  }

  connect(
    request: ConnectRequest,
    _decide: (decision: ConnectDecision) => void,
  ): ConnectDecision | typeof WAIT {
    return accepted(request.packet?.username ?? null, new FakeClientGate());
  }

  /** As the client's gate says of a publish to that topic; without it: yes. */
  will(
    _principal: Principal,
    client: ClientGate | null,
    will: { readonly topic: string; readonly qos: 0 | 1 | 2; readonly retain: boolean },
    _decide: (allowed: boolean) => void,
  ): boolean | typeof WAIT {
    const waiter = { resume: () => {} };
    return client === null || client.publish(will.topic, will.qos, will.retain, 0, waiter) === 1;
  }

  retainedSource(_principal: Principal, _topic: string): boolean {
    return true;
  }

  keeps(_principal: Principal, _filter: string, _qos: 0 | 1 | 2): boolean {
    return true;
  }
}

export class FakeClientGate implements ClientGate {
  filtersReceive = false;
  readonly allowsAll: boolean = false;
  why: string | null = null;
  closeReason: ClientGate['closeReason'] = 'quota_exceeded';

  publish(
    _topic: string,
    _qos: number,
    _retain: boolean,
    _bytes: number,
    _waiter: GateWaiter,
  ): Verdict {
    return ALLOW;
  }

  subscribe(_filter: string, _qos: number, _waiter: GateWaiter): Verdict {
    return ALLOW;
  }

  keeps(_filter: string, _qos: number): boolean {
    return true;
  }

  knows(
    _subscriptions: Iterable<{ readonly filter: string; readonly qos: number }>,
    _decide: (known: boolean) => void,
  ): boolean | typeof WAIT {
    return true;
  }

  receive(_topic: string): boolean {
    return true;
  }

  closed(): void {}
}

export function accepted(identity: string | null, client: ClientGate | null): ConnectDecision {
  return { refusal: null, identity, client };
}
