/** Peer links over real sockets: floods, torn connections, strangers, and those who mean harm. */
import net from 'node:net';
import tls from 'node:tls';
import t from 'tap';
import { encodeNeedSession } from '../../../src/cluster/link/frame-codec.ts';
import { FrameSplitter } from '../../../src/cluster/link/frame-splitter.ts';
import { FRAME_HEADER_BYTES } from '../../../src/cluster/link/frame-writer.ts';
import {
  decodeRefused,
  decodeWelcome,
  encodeHello,
  encodeProof,
  type Hello,
  LinkType,
  PROTOCOL_MAJOR,
  PROTOCOL_MINOR,
  proofOf,
} from '../../../src/cluster/link/handshake.ts';
import {
  type PeerTls,
  parseEndpoint,
  TcpTransport,
} from '../../../src/cluster/link/tcp-transport.ts';
import { Certificates } from '../../listeners/certificates.ts';
import { LIMITS } from './mesh-world.ts';
import { makeMeshes, TcpMesh, Tearable, type Teardown, until } from './tcp-meshes.ts';

const certificates = new Certificates();
for (const name of ['ours', 'theirs']) {
  certificates.authority(name);
  certificates.issue(`node-${name}`, name, 'DNS:somewhere.else');
}

function tlsOf(authority: string, signer = authority): PeerTls {
  const node = `node-${signer}`;
  return {
    ca: certificates.pem(`${authority}.pem`),
    cert: certificates.pem(`${node}.pem`),
    key: certificates.pem(`${node}.key`),
  };
}

/** Sends so many each way, in turns as a broker would. */
async function exchange(a: TcpMesh, b: TcpMesh, frames: number, bytes: number): Promise<void> {
  for (let sent = 0; sent < frames; ) {
    for (let i = 0; i < 500 && sent < frames; i++, sent++) {
      a.publish(b.name, bytes);
      b.publish(a.name, bytes);
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  const isThere = (): boolean => a.heard.get(b.name) === frames && b.heard.get(a.name) === frames;
  await until(`${frames} frames each way`, isThere, 30_000);
  await until('acks', () => a.link(b.name).unackedFrames + b.link(a.name).unackedFrames === 0);
}

for (const material of [null, tlsOf('ours')]) {
  const kind = material === null ? 'TCP' : 'TLS';
  t.test(`100,000 frames over ${kind}`, async (t) => {
    const options = { tls: material };
    const [a, b] = (await makeMeshes(t, options, options)) as [TcpMesh, TcpMesh];
    await exchange(a, b, 50_000, 64);
    t.strictSame([a.wrong, b.wrong], [[], []]);
    t.equal(a.mesh.applied('b'), a.mesh.position('b'));
    t.equal(a.mesh.position('b'), 50_002);
    t.strictSame([a.tables, b.tables], [1, 1]);
    const state = a.link('b');
    t.match(state, { isUp: true, framesTotal: 50_002, reconnects: 0, unackedBytes: 0 });
    t.equal(b.link('a', 'in').framesTotal, 50_002);
    t.equal(a.mesh.linksUp, 1);
  });
}

t.test('frames larger than any read, and than the buffer', async (t) => {
  const limits = { ...LIMITS, frameBytesMax: 32 * 1024 * 1024, bufferBytesMax: 4 * 1024 * 1024 };
  const [a, b] = (await makeMeshes(t, { limits }, { limits })) as [TcpMesh, TcpMesh];
  await until('link', () => a.link('b').isUp);
  a.publish('b', 20 * 1024 * 1024);
  t.equal(a.mesh.audience('b')!.pressed, true);
  a.publish('b', 10);
  await until('both', () => b.heard.get('a') === 2);
  await until('acks', () => a.link('b').unackedBytes === 0);
  t.equal(a.lostMessages, 0);
  t.equal(a.mesh.audience('b')!.pressed, false);
});

t.test('connections torn in the middle lose and repeat nothing', async (t) => {
  const [a, b] = (await makeMeshes(t, {}, {})) as [TcpMesh, TcpMesh];
  const proxy = new Tearable(() => b.port);
  await proxy.open();
  t.teardown(() => proxy.close());
  const { member } = b;
  // Another life of b as far as a knows addresses: the link is made anew, through the proxy.
  a.mesh.setMembers('a', []);
  a.mesh.setMembers('a', [{ ...member, address: `127.0.0.1:${proxy.port}` }]);
  b.mesh.setMembers('b', []);
  b.mesh.setMembers('b', [a.member]);
  await until('link through the proxy', () => a.link('b').isUp && b.link('a').isUp);
  const exchanged = exchange(a, b, 50_000, 200);
  await until('much of it', () => (b.heard.get('a') ?? 0) > 10_000);
  t.ok(b.heard.get('a')! < 50_000, 'in the middle');
  proxy.tear();
  await exchanged;
  for (let i = 0; i < 2; i++) {
    const { reconnects } = a.link('b');
    await until('link', () => a.link('b').isUp);
    a.publish('b', 64);
    proxy.tear();
    await until('another connection', () => a.link('b').reconnects > reconnects);
  }
  await until('the last', () => b.heard.get('a') === 50_002);
  t.strictSame([a.wrong, b.wrong], [[], []]);
  t.equal(a.lostMessages, 0);
  t.ok(proxy.torn >= 3, `${proxy.torn} torn`);
  t.ok(a.link('b').reconnects >= 3, `${a.link('b').reconnects} reconnects`);
});

t.test('a peer with another secret is not talked to', async (t) => {
  const [a, b] = (await makeMeshes(t, {}, { secret: 'another' })) as [TcpMesh, TcpMesh];
  a.publish('b', 10);
  const why = 'it does not know the secret';
  await until('both find out', () => a.warnings.includes(why) && b.warnings.includes(why));
  t.equal(a.link('b').isUp, false);
  t.equal(b.heard.get('a'), undefined);
});

t.test('certificates of another authority are refused, on either side', async (t) => {
  const pairs = [
    // It trusts us, we do not trust it; and the other way round.
    [{ tls: tlsOf('ours') }, { tls: tlsOf('ours', 'theirs') }],
    [{ tls: tlsOf('ours') }, { tls: tlsOf('theirs', 'ours') }],
  ] as const;
  for (const [ours, theirs] of pairs) {
    const [a, b] = (await makeMeshes(t, ours, theirs)) as [TcpMesh, TcpMesh];
    a.publish('b', 10);
    b.publish('a', 10);
    await until('both fail', () => a.warnings.length > 0 && b.warnings.length > 0);
    t.strictSame([a.heard.size, b.heard.size], [0, 0]);
    t.strictSame([a.link('b').isUp, b.link('a').isUp], [false, false]);
  }
});

t.test('without a certificate nobody gets to HELLO', async (t) => {
  const [a] = (await makeMeshes(t, { tls: tlsOf('ours') })) as [TcpMesh];
  const socket = tls.connect({ port: a.port, host: '127.0.0.1', rejectUnauthorized: false });
  const error = await new Promise<Error>((resolve) => socket.on('error', resolve));
  t.match(error.message, /certificate required/i);
  const plain = await say(a.port, encodeHello(hello('a')));
  t.equal(plain.types.length, 0, 'nor without TLS');
});

t.test('certificates can be renewed', async (t) => {
  const [a, b] = (await makeMeshes(t, { tls: tlsOf('ours') }, { tls: tlsOf('theirs') })) as [
    TcpMesh,
    TcpMesh,
  ];
  b.transport.renew(tlsOf('ours'));
  await until('links', () => a.link('b').isUp && b.link('a').isUp);
  t.throws(() => b.transport.renew({ ...tlsOf('ours'), key: 'no key' }));
});

// ---------------------------------------------------------------------------------- by hand

function hello(to: string, changes: Partial<Hello> = {}): Hello {
  return {
    major: PROTOCOL_MAJOR,
    minor: PROTOCOL_MINOR,
    generation: 'generation',
    from: 'x',
    to,
    release: '1.0.0',
    session: '0011223344556677',
    attempt: 1,
    nonce: '00'.repeat(16),
    ...changes,
  };
}

interface Answer {
  /** Of the frames that came. */
  readonly types: number[];
  refusal: string;
  closedAfterMs: number;
}

/** Connects, says this, and listens until it is hung up on. `then` may answer a frame. */
function say(
  port: number,
  bytes: Buffer,
  then: (type: number, body: Buffer, socket: net.Socket) => void = () => {},
): Promise<Answer> {
  return new Promise((resolve) => {
    const startMs = Date.now();
    const answer: Answer = { types: [], refusal: '', closedAfterMs: 0 };
    const socket = net.connect(port, '127.0.0.1', () => socket.write(bytes));
    const splitter = new FrameSplitter(65_536);
    const sink = {
      frame: (type: number, buffer: Buffer, start: number, end: number): boolean => {
        answer.types.push(type);
        if (type === LinkType.REFUSED) answer.refusal = decodeRefused(buffer, start, end);
        then(type, Buffer.from(buffer.subarray(start, end)), socket);
        return true;
      },
    };
    socket.on('data', (chunk: Buffer) => {
      // Alerts of a TLS server are no frames.
      if (chunk[0] === 0x15) return;
      splitter.feed(chunk, 0, chunk.length, sink);
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      answer.closedAfterMs = Date.now() - startMs;
      resolve(answer);
    });
  });
}

/** As a member x that knows the secret; `frames` follow the proof. */
function sayAsMember(port: number, frames: Buffer, changes: Partial<Hello> = {}): Promise<Answer> {
  const first = encodeHello(hello('a', changes));
  return say(port, first, (type, body, socket) => {
    if (type !== LinkType.WELCOME) return;
    const { proven } = decodeWelcome(body, 0, body.length);
    const proof = proofOf('the secret', 'dialler', first.subarray(FRAME_HEADER_BYTES), proven);
    socket.write(Buffer.concat([encodeProof(proof), frames]));
  });
}

/** A mesh that knows x as a member, who is nowhere. */
async function alone(test: Teardown): Promise<TcpMesh> {
  const [a] = (await makeMeshes(test, {})) as [TcpMesh];
  const x = { ...a.member, incarnation: 'x', nodeId: 'x', address: '127.0.0.1:9' };
  a.mesh.setMembers('a', [a.member, x]);
  return a;
}

t.test('what is no HELLO is hung up on', async (t) => {
  const a = await alone(t);
  const noise = Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  const random = Buffer.alloc(5000);
  for (let i = 0; i < random.length; i++) random[i] = (i * 7919) >> 3;
  const proof = encodeProof(Buffer.alloc(32));
  const short = encodeHello(hello('a')).subarray(0, 40);
  short.writeUInt32BE(36, 0);
  for (const bytes of [noise, random, Buffer.alloc(100), proof, encodeNeedSession('c'), short]) {
    const answer = await say(a.port, bytes);
    t.strictSame(answer.types, []);
    t.ok(answer.closedAfterMs < 4000);
  }
});

t.test('HELLOs that do not fit are refused with a reason', async (t) => {
  const a = await alone(t);
  const refusal = async (changes: Partial<Hello>): Promise<string> =>
    (await say(a.port, encodeHello(hello('a', changes)))).refusal;
  t.match(await refusal({ major: 9 }), /protocol version/);
  const [stranger, generation, other] = await Promise.all([
    refusal({ from: 'somebody' }),
    refusal({ generation: 'another' }),
    refusal({ to: 'a before' }),
  ]);
  t.match(stranger, /not know this node as a member/);
  t.match(generation, /another generation/);
  t.match(other, /not the member that was meant/);
  t.ok(a.strangers.includes('somebody'), 'membership is told');
});

t.test('a stranger is held until it is a member', async (t) => {
  const a = await alone(t);
  const first = encodeHello(hello('a', { from: 'y' }));
  const heard = say(a.port, first, (type, _body, socket) => {
    if (type === LinkType.WELCOME) socket.destroy();
  });
  await until('it is noticed', () => a.strangers.length > 0);
  const y = { ...a.member, incarnation: 'y', address: '127.0.0.1:9' };
  a.mesh.setMembers('a', [a.member, y]);
  t.strictSame((await heard).types, [LinkType.WELCOME]);
});

t.test('B3: a node that has no name yet does not refuse who means it', async (t) => {
  const a = new TcpMesh('a', {});
  await a.open();
  t.teardown(() => a.close());
  const heard = say(a.port, encodeHello(hello('a')), (type, _body, socket) => {
    if (type === LinkType.WELCOME) socket.destroy();
  });
  await new Promise((resolve) => setTimeout(resolve, 1300));
  const x = { ...a.member, incarnation: 'x', nodeId: 'x', address: '127.0.0.1:9' };
  a.mesh.setMembers('a', [a.member, x]);
  const { types, refusal } = await heard;
  t.strictSame([types, refusal], [[LinkType.WELCOME], '']);
});

t.test('a wrong proof is refused, and nothing behind it is heard', async (t) => {
  const a = await alone(t);
  const answer = await say(a.port, encodeHello(hello('a')), (type, _body, socket) => {
    if (type !== LinkType.WELCOME) return;
    socket.write(Buffer.concat([encodeProof(Buffer.alloc(32)), encodeNeedSession('c')]));
  });
  t.match(answer.refusal, /secrets differ/);
  t.equal(a.link('x', 'in').framesTotal, 0);
});

t.test('slow handshakes end after three seconds, and crowd nobody out', async (t) => {
  const a = await alone(t);
  const whole = encodeHello(hello('a'));
  const slow = say(a.port, whole.subarray(0, 10));
  const unproven = say(a.port, whole);
  const crowd = Array.from({ length: 200 }, () => say(a.port, whole.subarray(0, 4)));
  const big = Buffer.alloc(5, 0xff);
  big.writeUInt32BE(65_537, 0);
  t.ok((await say(a.port, big)).closedAfterMs < 4000, 'no large frame before the proof');
  const member = sayAsMember(a.port, encodeNeedSession('c'));
  await until('a member gets through', () => a.link('x', 'in').framesTotal === 1);
  const ends = await Promise.all([slow, unproven, ...crowd]);
  for (const { closedAfterMs } of ends) t.ok(closedAfterMs < 5000);
  a.mesh.setMembers('a', [a.member]);
  t.ok((await member).types.includes(LinkType.ACK));
});

t.test('a member that sends nonsense is hung up on, and may begin anew', async (t) => {
  const a = await alone(t);
  const unknown = Buffer.from([0, 0, 0, 1, 99]);
  const tooLarge = Buffer.alloc(9, 1);
  tooLarge.writeUInt32BE(LIMITS.frameBytesMax + 1, 0);
  const outOfPlace = encodeHello(hello('a'));
  let attempt = 0;
  for (const bytes of [unknown, tooLarge, Buffer.alloc(4), outOfPlace]) {
    const answer = await sayAsMember(a.port, Buffer.concat([encodeNeedSession('c'), bytes]), {
      attempt: ++attempt,
    });
    t.ok(answer.types.includes(LinkType.WELCOME));
    t.ok(answer.closedAfterMs < 4000);
    t.equal(a.link('x', 'in').framesTotal, attempt, 'what came before it was applied');
  }
  t.equal(a.warnings.filter((why) => why !== 'ECONNREFUSED').length, 4, 'and it is said');
});

t.test('a connection that was dialled before the one in use comes too late', async (t) => {
  const a = await alone(t);
  const early = sayAsMember(a.port, Buffer.alloc(0), { attempt: 4 });
  await until('one that is up', () => a.link('x', 'in').isUp);
  let prove: (() => void) | null = null as (() => void) | null;
  const first = encodeHello(hello('a', { attempt: 5 }));
  const late = say(a.port, first, (type, body, socket) => {
    if (type !== LinkType.WELCOME) return;
    const { proven } = decodeWelcome(body, 0, body.length);
    const proof = proofOf('the secret', 'dialler', first.subarray(FRAME_HEADER_BYTES), proven);
    prove = () => socket.write(Buffer.concat([encodeProof(proof), encodeNeedSession('late')]));
  });
  await until('its WELCOME', () => prove !== null);
  const session = '7766554433221100';
  void sayAsMember(a.port, encodeNeedSession('c'), { attempt: 6, session });
  await until('the later one', () => a.link('x', 'in').framesTotal === 1);
  prove!();
  t.strictSame((await late).types, [LinkType.WELCOME], 'no ack');
  t.strictSame((await early).types, [LinkType.WELCOME, LinkType.ACK], 'replaced, and closed');
  t.match(a.link('x', 'in'), { framesTotal: 1, isUp: true, reconnects: 1 });
  a.mesh.setMembers('a', [a.member]);
});

t.test('a member of a later minor version may send what is not known yet', async (t) => {
  const a = await alone(t);
  const unknown = Buffer.from([0, 0, 0, 3, 99, 1, 2]);
  const frames = Buffer.concat([unknown, encodeNeedSession('c')]);
  void sayAsMember(a.port, frames, { minor: PROTOCOL_MINOR + 1 });
  await until('both are applied', () => a.link('x', 'in').framesTotal === 2);
  a.mesh.setMembers('a', [a.member]);
});

t.test('addresses', async (t) => {
  t.strictSame(parseEndpoint('10.0.0.1:7001'), { host: '10.0.0.1', port: 7001 });
  t.strictSame(parseEndpoint('[::1]:1'), { host: '::1', port: 1 });
  t.strictSame(parseEndpoint('node-1.example:65535'), { host: 'node-1.example', port: 65_535 });
  for (const text of [
    '',
    'host',
    'host:',
    ':80',
    'host:0',
    'host:65536',
    'host:1e3',
    'host:-1',
    '::1:80',
    'host:0x50',
    '[]:80',
    'host: 80',
  ]) {
    t.equal(parseEndpoint(text), null, text);
  }
});

t.test('nowhere to dial and nowhere to listen are told', async (t) => {
  const transport = new TcpTransport({
    host: '127.0.0.1',
    port: 0,
    tls: null,
    connectTimeoutMs: 200,
  });
  const whyOf = (address: string): Promise<string> =>
    new Promise((resolve) => {
      const closed = (why: string, isRefused: boolean): void =>
        resolve(isRefused ? `${why}: nothing listens there` : why);
      transport.dial(address, { opened() {}, bytes() {}, drained() {}, closed });
    });
  t.equal(await whyOf('nonsense'), 'its address is none');
  t.equal(await whyOf('127.0.0.1:9'), 'ECONNREFUSED: nothing listens there');
  const [a] = (await makeMeshes(t, {})) as [TcpMesh];
  const taken = new TcpTransport({
    host: '127.0.0.1',
    port: a.port,
    tls: null,
    connectTimeoutMs: 200,
  });
  const error = await new Promise<Error | null>((resolve) => taken.open(resolve));
  t.equal((error as NodeJS.ErrnoException).code, 'EADDRINUSE');
  await new Promise<void>((resolve) => taken.close(resolve));
  t.throws(
    () =>
      new TcpTransport({
        host: '127.0.0.1',
        port: 0,
        connectTimeoutMs: 1,
        tls: { ca: '', cert: 'x', key: 'y' },
      }),
  );
});
