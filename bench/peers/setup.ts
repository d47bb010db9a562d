// `node bench/peers/setup.ts [NAME…]`: obtains the brokers we compare with, ahead of a run, and
// says of each which version it is or why it cannot be had.

import { brokers } from './table.ts';

const wanted = process.argv.slice(2);
for (const peer of brokers({})) {
  if (peer.name === 'causeway' || (wanted.length > 0 && !wanted.includes(peer.name))) {
    continue;
  }
  const reason = peer.prepare();
  process.stdout.write(
    `${peer.name}: ${reason === undefined ? peer.version() : `skipped, ${reason}`}\n`,
  );
}
