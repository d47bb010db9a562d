/** Paho for Python over TCP, TLS and WebSocket; the cases themselves are in paho-client.py. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { pahoPython } from '../../scripts/provide.ts';
import { openVenue } from './venue.ts';

/** Five cases for MQTT 3.1.1 and seven for MQTT 5, over three transports. */
const CASES = (5 + 7) * 3;
const script = fileURLToPath(new URL('paho-client.py', import.meta.url));

const venue = await openVenue();
t.teardown(() => venue.close());

t.test('paho', { timeout: 240_000 }, async (t) => {
  const ports = (['mqtt', 'mqtts', 'ws'] as const).map((one) => String(venue.port(one)));
  const child = spawn(pahoPython(), [script, '127.0.0.1', venue.caFile, ...ports], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  let noise = '';
  child.stderr.on('data', (chunk: Buffer) => {
    noise += chunk.toString();
  });
  let count = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    const { name, problem } = JSON.parse(line) as { name: string; problem: string | null };
    t.equal(problem, null, name);
    count++;
  }
  t.equal(count, CASES, `every case was run\n${noise}`);
});

t.test('nothing of this made the broker complain', async (t) => {
  t.strictSame(venue.broker.errors, []);
  t.equal(venue.broker.exit, null);
});
