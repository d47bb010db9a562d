// Appends of messages that the holder of the links has noted (docs/adr/0022): given up, each would be taken for
// known when it comes again under its name, behind those that were noted after it.
import t from 'tap';
import { linkIdentity, OWN_IDENTITY, SharedAppend } from '../../../src/core/shared-append.ts';
import { textMessage, textOf } from '../../contract/store-recorder.ts';
import { numbered, World, type WorldNode } from './redis-world.ts';

function put(node: WorldNode, texts: readonly string[], isNoted: boolean): void {
  node.act(() => {
    for (const [index, text] of texts.entries()) {
      const identity = isNoted ? linkIdentity(7, index + 1) : OWN_IDENTITY;
      const append = new SharedAppend(textMessage(text), 1, false, null, null, identity);
      append.comesAgain = true;
      node.store.enqueue(1, append);
    }
  });
}

t.test('Redis refuses it many times: what is noted is there in the end', async (t) => {
  const world = new World(1);
  const node = world.join('node');
  world.take(node, 1, 'c');
  world.redis.refuse('ERR', ['session_append_1']);
  put(node, ['one', 'two'], true);
  world.pass(20_000);
  t.strictSame(node.node.told, []);
  world.redis.refuse(null);
  world.until(() => node.node.told.length === 2);
  t.strictSame(world.texts(node, 1), ['one', 'two']);
});

t.test('what waits is bounded but for what is noted, which is not noted then', async (t) => {
  const world = new World(2);
  const node = world.join('node', { waitingMessagesMax: 50 });
  world.take(node, 1, 'c');
  world.redis.down();
  world.pass(50);
  put(node, numbered('m', 60), true);
  world.pass(10);
  t.ok(node.store.isFull);
  put(node, ['later'], false);
  world.pass(10);
  t.strictSame(
    node.node.told.map(({ append, why }) => [textOf(append.message), why]),
    [['later', 'failed']],
  );
  world.redis.up(true);
  world.until(() => node.node.told.length === 61);
  t.strictSame(world.texts(node, 1), numbered('m', 60));
});
