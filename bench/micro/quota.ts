/**
 * What quotas cost a PUBLISH that is within them, against calling the same gate without any. The real
 * clock is read once per turn of 64 messages, as in a busy broker. By itself: node bench/micro/quota.ts
 */
import { bench, do_not_optimize, group, run } from 'mitata';
import {
  type ClientGate,
  type ConnectRequest,
  type GateWaiter,
  type Scheduler,
  WAIT,
} from '../../src/core/ports.ts';
import { systemClock, systemRandom } from '../../src/listeners/scheduler.ts';
import { memoryLimits } from '../../src/quota/flexible-limits.ts';
import { QuotaGate } from '../../src/quota/quota-gate.ts';
import type { QuotaKind, QuotaScope } from '../../src/quota/quota-kinds.ts';
import type { QuotaOptions } from '../../src/quota/quota-options.ts';

const TURN_MESSAGES = 64;
const PLENTY = 1e12;

let endTurn: (() => void) | null = null;
const scheduler: Scheduler = {
  endOfTurn: (task) => {
    endTurn = task;
  },
  nextTurn: () => {},
  every: () => () => {},
};

const waiter: GateWaiter = { resume: () => {} };
const allowAll: ClientGate = {
  publish: () => 1,
  subscribe: () => 1,
  keeps: () => true,
  knows: () => true,
  receive: () => true,
  filtersReceive: false,
  allowsAll: false,
  why: null,
  closeReason: 'quota_exceeded',
  closed: () => {},
};

function quota(of: QuotaKind, per: QuotaScope): QuotaOptions {
  return { name: `${of}-${per}`, of, per, max: PLENTY };
}

function clientOf(quotas: readonly QuotaOptions[], inner: ClientGate | null): ClientGate {
  const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
  const gate = new QuotaGate({
    quotas,
    inner: {
      socket: () => true,
      connect: () => ({ refusal: null, identity: 'user', tenant: 'tenant', client: inner }),
      will: () => true,
      retainedSource: () => true,
      keeps: () => true,
      enhanced: null,
      quotas: null,
    },
    clock: systemClock,
    scheduler,
    log,
    shared: memoryLimits({ clock: systemClock, random: systemRandom }),
    retained: () => [],
    wrapsEveryone: true,
  });
  const request = {
    packet: {},
    clientId: 'client',
    listener: { name: 'listener', transport: 'tcp', limits: {} },
  } as unknown as ConnectRequest;
  const decision = gate.connect(request, () => {});
  if (decision === WAIT || decision.client === null) throw new Error('not let in');
  return decision.client;
}

function publishes(name: string, client: ClientGate): void {
  let left = TURN_MESSAGES;
  bench(name, () => {
    if (--left === 0) {
      left = TURN_MESSAGES;
      endTurn?.();
    }
    do_not_optimize(client.publish('site/berlin/line/4/machine/7', 0, false, 64, waiter));
  });
}

const one = [quota('publishMessagesPerS', 'client')];
const four = [
  ...one,
  quota('publishBytesPerS', 'user'),
  quota('publishMessagesPerS', 'tenant'),
  quota('publishBytesPerS', 'node'),
];

group('a PUBLISH within its quotas', () => {
  publishes('no quota gate', allowAll);
  publishes('gate that no quota concerns, no rules behind', clientOf([], null));
  publishes('gate that no quota concerns', clientOf([], allowAll));
  publishes('1 bucket, no rules behind', clientOf(one, null));
  publishes('1 bucket', clientOf(one, allowAll));
  publishes('4 buckets', clientOf(four, allowAll));
});

if (import.meta.main) await run();
