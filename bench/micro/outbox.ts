/** Collecting packets for outlets and one write for each at the end of the turn. */
import { bench, group } from 'mitata';
import { Outbox } from '../../src/core/outbox.ts';
import { Outlet } from '../../src/core/outlet.ts';
import { Stats } from '../../src/core/stats.ts';
import { systemClock } from '../../src/listeners/scheduler.ts';
import { HandScheduler, SwallowingSink } from './bare-broker.ts';
import { publishPacket, TOPIC } from './packets.ts';

const PACKET = publishPacket(4, TOPIC, 64, 0);

group('outbox, 64-byte payload', () => {
  const one = (outlets: number, packets: number, isInterleaved: boolean): void => {
    const scheduler = new HandScheduler();
    const outbox = new Outbox(scheduler, systemClock, new Stats());
    const owner = { outletDrained: () => {} };
    const all = Array.from({ length: outlets }, () => new Outlet(new SwallowingSink(), owner));
    const way = isInterleaved ? 'in turns' : 'one after the other';
    bench(`${outlets} x ${packets}, ${way}, and flush`, () => {
      if (isInterleaved) {
        for (let i = 0; i < packets; i++) for (const to of all) outbox.appendBytes(to, PACKET);
      } else {
        for (const to of all) for (let i = 0; i < packets; i++) outbox.appendBytes(to, PACKET);
      }
      scheduler.turn();
    });
  };
  one(1, 1, false);
  one(1, 100, false);
  one(50, 16, false);
  one(50, 16, true);
});
