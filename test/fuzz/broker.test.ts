/** The short form of the fuzzer of whole brokers, and proof that it looks at the answers. */
import t from 'tap';
import { Client, connectClient, openSocket } from '../conformance/client.ts';
import { Broker } from '../e2e/broker.ts';
import { seedOr } from '../support/seed.ts';
import { fuzzBroker } from './broker.ts';

t.test('a seed, for some seconds', { timeout: 60_000 }, async (t) => {
  const seed = seedOr(1);
  const report = await fuzzBroker({ seed, durationMs: 6000 });
  t.equal(report.problem, null, `seed ${seed}: ${report.text}`);
  t.ok(report.cases > 200 && report.answers > report.cases / 2, report.text);
});

t.test('an answer that is malformed is found', { timeout: 60_000 }, async (t) => {
  const tamper = (answer: Buffer): Buffer => {
    const copy = Buffer.from(answer);
    // Reserved flags of a SUBACK.
    if (copy[0] === 0x90) copy[0] = 0x91;
    return copy;
  };
  const report = await fuzzBroker({ seed: 1, durationMs: 6000, caseCount: 200, tamper });
  t.match(report.problem, /reserved flags of SUBACK/);
});

t.test('found before: a padded length of a 3.1.1 client was passed on as it came', async (t) => {
  const broker = await Broker.start();
  t.teardown(() => broker.kill());
  const clients = await Promise.all(
    ([4, 5] as const).map(async (version) => {
      const clientId = `reader-${version}`;
      const client = new Client(await openSocket('127.0.0.1', broker.port()), version, clientId);
      await connectClient(client, { version, clientId });
      await client.subscribed('a/b');
      return client;
    }),
  );
  // Seven bytes follow, said with four bytes of length where one is enough.
  clients[0]!.send(Buffer.from('30878080000003612f626869', 'hex'));
  for (const client of clients) {
    const { bytes } = await client.expect('PUBLISH', { topic: 'a/b', payload: 'hi' });
    t.equal(bytes[1], client.version === 5 ? 8 : 7);
    client.destroy();
  }
});
