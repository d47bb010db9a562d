/**
 * Memory and CPU of a TLS connection: the broker's resident memory from a first thousand clients that
 * say nothing to a second, what their handshakes cost, without and with resumption, and what a QoS 1
 * message of 200 bytes costs when each client sends one now and then. TLS 1.3, P-256.
 *
 *   node bench/micro/tls-idle.ts [clients]
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { connect, type TLSSocket } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { makeCertificates } from '../macro/access/certificates.ts';
import { cpuSeconds, residentBytes } from '../macro/process-usage.ts';

const COUNT = Number(process.argv[2] ?? 1000);
const AT_ONCE = 20;
const SETTLE_MS = 4000;
const root = fileURLToPath(new URL('../..', import.meta.url));

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

const folder = mkdtempSync(join(tmpdir(), 'causeway-tls-idle-'));
const { ca } = makeCertificates(folder);
const config = join(folder, 'causeway.yaml');
const file = (name: string): string => join(folder, name);
writeFileSync(
  config,
  [
    'listeners:',
    '  - url: mqtts://127.0.0.1:0',
    '    tls:',
    `      certFile: ${file('server.pem')}`,
    `      keyFile: ${file('server.key')}`,
  ].join('\n'),
);
const program = [join(root, 'src', 'cli', 'main.ts'), 'start', '--config', config, '--ephemeral'];
const broker = spawn(process.execPath, [...program, '--set', 'log.format=json'], {
  stdio: ['ignore', 'pipe', 'inherit'],
});
process.once('exit', () => {
  broker.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

async function portOf(): Promise<number> {
  for await (const line of createInterface({ input: broker.stdout })) {
    const match = /mqtts:\/\/127\.0\.0\.1:(\d+)/.exec(line);
    if (match !== null) return Number(match[1]);
  }
  throw new Error('the broker did not start');
}

const port = await portOf();
broker.stdout.resume();
const sockets: TLSSocket[] = [];
let session: Buffer | undefined;

/** An MQTT 5 client without keep alive, once it has its CONNACK. */
function open(index: number, resumes: boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    const name = `t${index}`.padEnd(8, '-');
    const head = Buffer.from('10150004' + '4d515454' + '0502' + '0000' + '00' + '0008', 'hex');
    const socket = connect({
      ...{ host: '127.0.0.1', port, ca, servername: '' },
      ...(resumes ? { session } : {}),
    });
    socket.on('session', (one) => {
      session = one;
    });
    socket.once('error', reject);
    socket.once('data', (bytes: Buffer) => {
      if (bytes[0] === 0x20 && bytes[3] === 0) resolve();
      else reject(new Error('refused'));
    });
    socket.write(Buffer.concat([head, Buffer.from(name)]));
    sockets.push(socket);
  });
}

async function openMore(resumes: boolean): Promise<{ kib: number; handshakeUs: number }> {
  await pause(SETTLE_MS);
  const [bytes, cpuS] = [residentBytes(broker.pid!), cpuSeconds(broker.pid!)];
  for (let done = 0; done < COUNT; done += AT_ONCE) {
    const some = Array.from({ length: AT_ONCE }, () => open(sockets.length, resumes));
    await Promise.all(some);
  }
  const handshakeUs = ((cpuSeconds(broker.pid!) - cpuS) / COUNT) * 1e6;
  await pause(SETTLE_MS);
  return { kib: (residentBytes(broker.pid!) - bytes) / COUNT / 1024, handshakeUs };
}

/** CPU of one message and its PUBACK; nobody subscribes. */
async function publishUs(rounds: number): Promise<number> {
  const head = [Buffer.from([0, 8]), Buffer.from('device/0'), Buffer.from([0, 7, 0])];
  const body = Buffer.concat([...head, Buffer.alloc(200, 0x78)]);
  const packet = Buffer.concat([
    Buffer.from([0x32, 0x80 | (body.length & 127), body.length >> 7]),
    body,
  ]);
  let acks = 0;
  let wake: () => void = () => {};
  for (const socket of sockets) {
    socket.on('data', () => {
      acks++;
      wake();
    });
  }
  const cpuS = cpuSeconds(broker.pid!);
  let sent = 0;
  for (let round = 0; round < rounds; round++) {
    for (const socket of sockets) {
      socket.write(packet);
      if (++sent % AT_ONCE === 0) await pause(4);
    }
  }
  while (acks < sent) {
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
  return ((cpuSeconds(broker.pid!) - cpuS) / sent) * 1e6;
}

await openMore(false);
for (const [what, resumes] of [
  ['whole handshakes', false],
  ['resumed', true],
  ['whole handshakes', false],
] as const) {
  const { kib, handshakeUs } = await openMore(resumes);
  console.log(
    `${what}: ${kib.toFixed(1)} KiB a connection, ${Math.round(handshakeUs)} µs a connect`,
  );
}
console.log(`${Math.round(await publishUs(5))} µs a message`);
process.exit(0);
