// Unix sockets: the file's rights, what may be in its place, what is left behind.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { temporaryFolder } from './certificates.ts';
import { listen } from './transports.ts';

const folder = temporaryFolder();
let count = 0;

/** A path nobody has used. */
function freshPath(): string {
  count += 1;
  return join(folder, `${count}.sock`);
}

function modeOf(path: string): string {
  return (lstatSync(path).mode & 0o777).toString(8);
}

const base = { limits: {}, handshakeTimeoutMs: 1000 };

t.test('the file has its mode, and goes with the listener', async (t) => {
  for (const [unixMode, wanted] of [
    [undefined, '660'],
    [0o600, '600'],
    [0o666, '666'],
  ] as const) {
    const path = freshPath();
    const { listener } = await listen(t, { url: `unix:${path}`, unixMode });
    t.equal(listener.address, `unix:${path}`);
    t.ok(lstatSync(path).isSocket());
    t.equal(modeOf(path), wanted);
    await listener.stop();
    t.notOk(existsSync(path), 'removed');
  }
  const hidden = readdirSync(folder).filter((name) => name.startsWith('.'));
  t.strictSame(hidden, [], 'nothing else is left');
});

t.test('both spellings of the URL', async (t) => {
  const path = freshPath();
  const { listener, client, acceptor } = await listen(t, { url: `unix://${path}` }).then(
    (harness) => ({ ...harness, listener: harness.listener, client: () => harness.client() }),
  );
  t.equal(listener.address, `unix:${path}`);
  const peer = await client();
  peer.send('x');
  const connection = await acceptor.next();
  await connection.receivedBytes(1);
  t.strictSame(connection.listener, { name: `unix://${path}`, transport: 'unix', limits: {} });
});

t.test('a reload changes the mode', async (t) => {
  const path = freshPath();
  const { listener } = await listen(t, { url: `unix:${path}` });
  await listener.reload({ ...base, url: `unix:${path}`, unixMode: 0o640 });
  t.equal(modeOf(path), '640');
});

t.test('the file of a killed process is replaced', async (t) => {
  const path = freshPath();
  const program = `require('net').createServer().listen(${JSON.stringify(path)}, () => {
    process.kill(process.pid, 'SIGKILL');
  });`;
  const env = { ...process.env, NODE_OPTIONS: '' };
  const { signal } = spawnSync(process.execPath, ['-e', program], { env, timeout: 15_000 });
  t.equal(signal, 'SIGKILL');
  t.ok(lstatSync(path).isSocket(), 'it left its file');
  const harness = await listen(t, { url: `unix:${path}` });
  const [client, connection] = await harness.pair();
  client.send('x');
  await connection.receivedBytes(1);
});

t.test('the file of a living process is not', async (t) => {
  const path = freshPath();
  const other = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => other.listen(path, resolve));
  t.teardown(() => other.close());
  await t.rejects(listen(t, { url: `unix:${path}` }), {
    code: 'LISTENER_ADDRESS',
    message: /another process answers there.*choose another path.*EADDRINUSE/,
  });
  t.ok(lstatSync(path).isSocket());
  const mine = freshPath();
  await listen(t, { url: `unix:${mine}` });
  await t.rejects(listen(t, { url: `unix:${mine}` }), { code: 'LISTENER_ADDRESS' });
  t.ok(lstatSync(mine).isSocket(), 'the first one keeps its file');
});

t.test('anything but a socket is left alone', async (t) => {
  const file = freshPath();
  writeFileSync(file, 'precious');
  const linked = freshPath();
  symlinkSync(file, linked);
  const directory = freshPath();
  mkdirSync(directory);
  for (const path of [file, linked, directory]) {
    await t.rejects(listen(t, { url: `unix:${path}` }), {
      code: 'LISTENER_ADDRESS',
      message: /no socket/,
    });
    t.ok(lstatSync(path));
  }
  const hidden = readdirSync(folder).filter((name) => name.startsWith('.'));
  t.strictSame(hidden, [], 'nothing is left of the attempts');
});

t.test('a file that is not ours any more is not removed', async (t) => {
  const path = freshPath();
  const { listener } = await listen(t, { url: `unix:${path}` });
  renameSync(path, `${path}.moved`);
  writeFileSync(path, 'somebody else');
  await listener.stop();
  t.ok(existsSync(path));
  const gone = freshPath();
  const second = await listen(t, { url: `unix:${gone}` });
  unlinkSync(gone);
  await second.listener.stop();
  t.pass('and one that is gone is no error');
});

t.test('places where nothing can be made', async (t) => {
  await t.rejects(listen(t, { url: `unix:${folder}/nowhere/x.sock` }), {
    code: 'LISTENER_ADDRESS',
    message: /the folder of .*nowhere\/x\.sock is not there; make it first \(ENOENT\)/,
  });
  await t.rejects(listen(t, { url: `unix:${folder}/${'x'.repeat(120)}` }), {
    code: 'LISTENER_ADDRESS',
    message: /bytes.*ENAMETOOLONG/,
  });
  const deep = join(folder, 'd'.repeat(100 - folder.length - 1));
  mkdirSync(deep);
  await t.rejects(listen(t, { url: `unix:${deep}/s` }), {
    code: 'LISTENER_ADDRESS',
    message: /its folder may have at most 93 bytes \(ENAMETOOLONG\)/,
  });
  t.strictSame(readdirSync(deep), []);
});

const isRoot = process.getuid?.() === 0;

t.test(
  'a folder this user may not write',
  {
    skip: isRoot ? 'root may write everywhere' : false,
  },
  async (t) => {
    const closed = join(folder, 'closed');
    mkdirSync(closed);
    chmodSync(closed, 0o500);
    await t.rejects(listen(t, { url: `unix:${closed}/x.sock` }), {
      code: 'LISTENER_ADDRESS',
      message: /may not make .*give this user write access/,
    });
  },
);
