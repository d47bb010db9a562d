/** Encoding PUBLISH for a receiver: forwarded, written anew, and per receiver. */
import { bench, do_not_optimize, group } from 'mitata';
import { Outbox } from '../../src/core/outbox.ts';
import { Outlet } from '../../src/core/outlet.ts';
import { Publication } from '../../src/core/publication.ts';
import { PublishEncoder } from '../../src/core/publish-encoder.ts';
import { Stats } from '../../src/core/stats.ts';
import { systemClock } from '../../src/listeners/scheduler.ts';
import { bodyStart } from '../../src/wire/framing.ts';
import { decodePublish } from '../../src/wire/publish.ts';
import { HandScheduler, SwallowingSink } from './bare-broker.ts';
import { publishPacket, TOPIC } from './packets.ts';

group('encode PUBLISH, 64-byte payload', () => {
  const outbox = new Outbox(new HandScheduler(), systemClock, new Stats());
  const encoder = new PublishEncoder(outbox);
  const owner = { outletDrained: () => {} };
  const one = (
    name: string,
    from: 4 | 5,
    to: 4 | 5,
    qos: 0 | 1,
    ids: readonly number[] | null,
    isCached: boolean,
  ): void => {
    const publication = new Publication();
    const packet = publishPacket(from, TOPIC, 64, qos);
    const body = bodyStart(packet, 0);
    decodePublish(publication.view, from, packet[0]!, packet, body, packet.length, 64);
    publication.topic = TOPIC;
    publication.wireVersion = from;
    publication.wireEnd = packet.length;
    const outlet = new Outlet(new SwallowingSink(), owner);
    outlet.version = to;
    encoder.begin();
    bench(name, () => {
      if (!isCached) encoder.begin();
      do_not_optimize(encoder.encode(publication, outlet, qos, false, false, qos, ids));
    });
  };
  one('forward 3.1.1 to 3.1.1, QoS 0', 4, 4, 0, null, false);
  one('forward 3.1.1 to 3.1.1, QoS 1', 4, 4, 1, null, false);
  one('write 3.1.1 to 5, QoS 1', 4, 5, 1, null, false);
  one('write 5 with a subscription id, QoS 1', 5, 5, 1, [7], false);
  one('same layout again', 4, 4, 1, null, true);
});
