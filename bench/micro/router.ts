/** From the topic's bytes to its receivers: hits and misses of the match cache. */
import { bench, do_not_optimize, group } from 'mitata';
import { Router } from '../../src/core/router.ts';
import { Session, Subscription } from '../../src/core/session.ts';
import { Stats } from '../../src/core/stats.ts';
import type { PublishView } from '../../src/wire/publish.ts';
import { publishPacket, TOPIC, viewOf } from './packets.ts';

group('router', () => {
  const router = new Router(new Stats(), 1_000_000);
  const views: PublishView[] = [];
  for (let i = 0; i < 10_000; i++) {
    const topic = `${TOPIC}/${i}`;
    const session = new Session(`c${i}`, i, null, '');
    router.add(new Subscription(session, topic, 1, false, false, 0, null, null), null);
    views.push(viewOf(publishPacket(4, topic, 16, 0), 4));
  }
  const first = views[0]!;
  const entry = router.lookup(first);
  bench('the topic of the packet before', () => {
    if (entry.isTopicOf(first)) router.refresh(entry);
    do_not_optimize(entry.route);
  });
  let next = 0;
  bench('cache hit, 10,000 topics', () => {
    next = (next + 1) % views.length;
    do_not_optimize(router.lookup(views[next]!));
  });
  bench('match without the cache, 10,000 exact filters', () => {
    do_not_optimize(router.match(`${TOPIC}/77`));
  });
});
