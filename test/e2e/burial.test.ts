// A node whose process is gone, over real sockets: its machine refuses connections, so nobody waits until its lease
// must be over (ADR 0010).
import t from 'tap';
import { sleep, TestCluster } from './cluster-kit.ts';

const LEASE_MS = 8000;

t.test(
  'kill -9 of one of three: buried before its lease is over, and its client served',
  async (t) => {
    const flags = ['--set', `cluster.leaseMs=${LEASE_MS}`];
    const cluster = await TestCluster.start(t, { names: ['a', 'b', 'c'], flags });
    await cluster.durable('c', 'reader');
    // Heartbeats: one that was never heard may have an address that is wrong, and is waited for.
    await sleep(LEASE_MS / 2);
    const beganMs = performance.now();
    await cluster.node('c').kill();
    const told = ['a', 'b'].map((name) => cluster.node(name).entry('its process is gone: buried'));
    await Promise.any(told);
    const buriedMs = performance.now() - beganMs;
    t.ok(buriedMs < LEASE_MS, `after ${Math.round(buriedMs)} ms`);
    await cluster.resumed('a', 'reader');
    const servedMs = performance.now() - beganMs;
    t.ok(servedMs < LEASE_MS, `served after ${Math.round(servedMs)} ms`);
  },
);
