// Topics found by their bytes: the same text as without, the same string when they come again, in any order.
import fc from 'fast-check';
import t from 'tap';
import { TopicCache } from '../../src/client/topic-cache.ts';
import { ProtocolError } from '../../src/wire/protocol-error.ts';
import { PublishView, topicText } from '../../src/wire/publish.ts';

function viewOf(topic: Buffer): PublishView {
  const view = new PublishView();
  const field = Buffer.concat([Buffer.from('..'), Buffer.alloc(2), topic, Buffer.from('behind')]);
  field.writeUInt16BE(topic.length, 2);
  view.topicBuffer = field;
  view.topicStart = 2;
  view.topicEnd = 4 + topic.length;
  return view;
}

function textOf(read: () => string): string {
  try {
    return `text ${read()}`;
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    return `${error.reasonCode} ${error.message}`;
  }
}

t.test('as without a cache, also what is refused', async (t) => {
  const topic = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 80 }).map((text) => Buffer.from(text)),
    fc.constantFrom('a', 'b', 'a/b', 'a/c', 'a/#', '', '\0', 'é').map((text) => Buffer.from(text)),
    fc.constantFrom(63, 64, 65).map((bytes) => Buffer.alloc(bytes, 'x')),
    fc.uint8Array({ maxLength: 4 }).map((bytes) => Buffer.from(bytes)),
  );
  const cache = new TopicCache();
  fc.assert(
    fc.property(fc.array(topic, { maxLength: 20 }), (topics) => {
      for (const one of topics) {
        const view = viewOf(one);
        const text = textOf(() => cache.of(view));
        if (text !== textOf(() => topicText(view))) throw new Error(`${text} for ${one}`);
        // What was read may be overwritten.
        view.topicBuffer.fill(0);
      }
    }),
  );
  t.pass('the same text, and the same errors');
});

t.test('far more topics than there is room for', async (t) => {
  const cache = new TopicCache();
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 5000; i++) {
      const topic = `device/${i}/up`;
      if (cache.of(viewOf(Buffer.from(topic))) !== topic) t.fail(topic);
    }
  }
  t.pass('each has its text');
});
