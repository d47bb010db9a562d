/** Matching a topic against wildcard filters: the cost of a miss in the match cache. */
import { bench, do_not_optimize, group } from 'mitata';
import { TopicTree } from '../../src/core/topic-tree.ts';
import { TOPIC } from './packets.ts';

group('topic tree', () => {
  for (const filters of [100, 10_000]) {
    const tree = new TopicTree<number>();
    for (let i = 0; i < filters; i++) {
      tree.add(`site/${i % 50}/line/+/machine/${i}/#`, i);
    }
    tree.add('site/+/line/+/machine/+/vibration', 1);
    tree.add('site/berlin/#', 2);
    tree.add('#', 3);
    bench(`match 3 of ${filters}`, () => {
      const out: number[] = [];
      tree.match(TOPIC, out);
      do_not_optimize(out);
    });
  }
  const tree = new TopicTree<number>();
  bench('add and remove', () => {
    tree.add('site/+/line/+/machine/+/vibration', 1);
    tree.remove('site/+/line/+/machine/+/vibration', 1);
  });
});
