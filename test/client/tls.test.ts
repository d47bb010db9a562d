// TLS: whom the client believes, and how it shows who it is. Certificates are made for each run.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import t from 'tap';
import { WebSocketServer } from 'ws';
import { command as pub } from '../../src/cli/commands/pub.ts';
import { Client } from '../../src/client/client.ts';
import type { ClientError } from '../../src/client/client-error.ts';
import type { TlsOptions } from '../../src/client/transport.ts';
import { encodeConnack } from '../../src/wire/connack.ts';
import { FakeServer } from './fake-server.ts';

// A folder of its own: two runs at one time must not write each other's certificates.
const folder = mkdtempSync(join(tmpdir(), 'causeway-tls-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

function openssl(...args: readonly string[]): void {
  execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' });
}

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

function authority(name: string): void {
  const files = ['-keyout', `${name}.key`, '-out', `${name}.pem`];
  openssl('req', '-x509', ...KEY, ...files, '-days', '2', '-subj', `/CN=${name}`);
}

function certificate(name: string, by: string, altName: string): void {
  writeFileSync(join(folder, `${name}.ext`), `subjectAltName=${altName}\n`);
  openssl('req', ...KEY, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`);
  const signer = ['-CA', `${by}.pem`, '-CAkey', `${by}.key`, '-CAcreateserial'];
  const extra = ['-extfile', `${name}.ext`, '-days', '2', '-out', `${name}.pem`];
  openssl('x509', '-req', '-in', `${name}.csr`, ...signer, ...extra);
}

authority('ca');
authority('stranger');
certificate('server', 'ca', 'IP:127.0.0.1,DNS:localhost');
certificate('elsewhere', 'ca', 'DNS:broker.example');
certificate('device', 'ca', 'DNS:device');

const pem = (name: string): string => readFileSync(join(folder, name), 'utf8');
const ca = pem('ca.pem');

async function serve(name = 'server', options = {}): Promise<FakeServer> {
  const own = { key: pem(`${name}.key`), cert: pem(`${name}.pem`), ALPNProtocols: ['mqtt'] };
  const server = await FakeServer.start({ ...own, ...options });
  t.teardown(() => server.stop());
  return server;
}

async function connectError(url: string, tls: TlsOptions): Promise<ClientError> {
  try {
    await new Client({ url, tls, connectTimeoutMs: 5000 }).connect();
  } catch (error) {
    return error as ClientError;
  }
  throw new Error('it connected');
}

t.test('a server is believed when its authority and its name are right', async (t) => {
  const server = await serve();
  for (const tls of [{ ca, alpnProtocol: 'mqtt' }, { insecure: true }]) {
    const client = new Client({ url: server.url, tls });
    const connected = client.connect();
    const peer = await server.peer();
    await peer.accept();
    await connected;
    const asked = (peer.socket as TLSSocket).alpnProtocol;
    t.equal(asked, 'alpnProtocol' in tls ? 'mqtt' : false);
    await client.disconnect();
  }
  for (const tls of [{}, { ca: pem('stranger.pem') }]) {
    const error = await connectError(server.url, tls);
    t.equal(error.code, 'connect_failed');
    t.match(error.message, /certificate of the server (cannot be verified|comes from an unknown)/);
  }
  const other = await serve('elsewhere');
  t.match(
    (await connectError(other.url, { ca })).message,
    /certificate of the server is for another name/,
  );
  const named = new Client({ url: other.url, tls: { ca, serverName: 'broker.example' } });
  const connected = named.connect();
  await (await other.peer()).accept();
  await connected;
  await named.disconnect();
});

t.test('again after a lost connection: the same checks', async (t) => {
  const server = await serve();
  const port = Number(new URL(server.url).port);
  const errors: ClientError[] = [];
  const refused = Promise.withResolvers<void>();
  const client = new Client({
    url: server.url,
    tls: { ca },
    reconnect: { minMs: 20, maxMs: 20 },
    onDisconnected: (error) => {
      if (errors.push(error) > 1 && !/refused/.test(error.message)) refused.resolve();
    },
  });
  t.teardown(() => client.destroy());
  const connected = client.connect();
  await (await server.peer()).accept();
  await connected;
  await server.stop();
  const impostor = await FakeServer.start(
    { key: pem('stranger.key'), cert: pem('stranger.pem') },
    port,
  );
  t.teardown(() => impostor.stop());
  await refused.promise;
  t.match(errors.at(-1), { code: 'connect_failed', message: /certificate of the server/ });
  t.equal(client.isConnected, false);
});

t.test('client certificates', async (t) => {
  const server = await serve('server', { ca, requestCert: true, rejectUnauthorized: true });
  const device = { cert: pem('device.pem'), key: pem('device.key') };
  const client = new Client({ url: server.url, tls: { ca, ...device } });
  const connected = client.connect();
  const peer = await server.peer();
  await peer.accept();
  await connected;
  t.equal((peer.socket as TLSSocket).getPeerCertificate().subject.CN, 'device');
  await client.disconnect();
  const error = await connectError(server.url, { ca });
  t.match(error.code, /connect_failed|connection_lost/);
  const bad = await connectError(server.url, { ca, cert: 'nonsense', key: 'nonsense' });
  t.equal(bad.code, 'connect_failed', 'a certificate that cannot be read is an error, not a crash');
  t.match(bad.message, /^cannot connect: /);
});

t.test('a plain port is no TLS port', async (t) => {
  const plain = await FakeServer.start();
  t.teardown(() => plain.stop());
  const failed = connectError(plain.url.replace('mqtt:', 'mqtts:'), { ca });
  const peer = await plain.peer();
  peer.socket.removeAllListeners('data');
  peer.socket.write('HTTP/1.1 400 Bad Request\r\n\r\n');
  t.match((await failed).message, /does not speak TLS|wrong version|packet length/i);
});

t.test('wss: subprotocol, path, certificate', async (t) => {
  const server = https.createServer({ key: pem('server.key'), cert: pem('server.pem') });
  const sockets = new WebSocketServer({ server, handleProtocols: () => 'mqtt' });
  let asked: { path?: string | undefined; protocol?: string | undefined } = {};
  sockets.on('connection', (socket, request) => {
    asked = { path: request.url, protocol: request.headers['sec-websocket-protocol'] };
    socket.on('message', (data: Buffer) => {
      if (data[0] === 0x10) {
        socket.send(encodeConnack(5, { sessionPresent: false, reasonCode: 0 }));
      }
      if (data[0] === 0x30) socket.send('text');
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets.clients) socket.terminate();
    server.close();
  });
  const url = `wss://127.0.0.1:${(server.address() as AddressInfo).port}/deep/mqtt?x=1`;
  t.match((await connectError(url, {})).code, 'connect_failed');
  const client = new Client({ url, tls: { ca } });
  await client.connect();
  t.strictSame(asked, { path: '/deep/mqtt?x=1', protocol: 'mqtt' });
  await client.publish('a', 'x');
  t.match(await client.closed, {
    code: 'connection_lost',
    message: /the server sent a text frame/,
  });
});

t.test('the flags of the commands', async (t) => {
  const server = await serve('server', { ca, requestCert: true, rejectUnauthorized: true });
  const { port } = new URL(server.url);
  const file = (name: string): string => join(folder, name);
  const identity = ['--cert', file('device.pem'), '--key', file('device.key')];
  for (const trust of [['--cafile', file('ca.pem')], ['--insecure']]) {
    const message = ['-t', 'a', '-m', 'x'];
    const running = pub.run(['-h', '127.0.0.1', '-p', port, ...trust, ...identity, ...message]);
    const peer = await server.peer();
    await peer.accept();
    t.match(await peer.expect('PUBLISH'), { topic: 'a', payload: 'x' });
    t.equal(await running, 0);
  }
});
