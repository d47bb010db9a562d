// Options of a listener: what a URL means, and that what does not fit together is refused in words.
import t from 'tap';
import type { ListenerOptions } from '../../src/listeners/listener.ts';
import { assertSameAddress, infoOf, planListener } from '../../src/listeners/listener-plan.ts';

const base = { limits: {}, handshakeTimeoutMs: 1000 };
const tls = { certFile: 'a', keyFile: 'b', clientCertificate: 'none' as const };

function plan(options: Partial<ListenerOptions> & { readonly url: string }) {
  return planListener({ ...base, ...options });
}

t.test('URLs', async (t) => {
  const urls: [string, object][] = [
    ['mqtt://127.0.0.1:1884', { transport: 'tcp', host: '127.0.0.1', port: 1884 }],
    ['mqtt://127.0.0.1', { transport: 'tcp', port: 1883 }],
    ['mqtt://127.0.0.1:0', { port: 0 }],
    ['mqtt://[::1]:1884', { host: '::1', port: 1884 }],
    ['mqtt://[::]', { host: '::', port: 1883 }],
    ['mqtt://localhost/', { host: 'localhost', websocketPath: '' }],
    ['mqtts://0.0.0.0', { transport: 'tls', port: 8883 }],
    ['ws://127.0.0.1', { transport: 'ws', port: 80, websocketPath: '/mqtt' }],
    ['ws://127.0.0.1:80/x', { port: 80, websocketPath: '/x' }],
    ['ws://127.0.0.1:8083/', { port: 8083, websocketPath: '/mqtt' }],
    ['wss://127.0.0.1/a/b', { transport: 'wss', port: 443, websocketPath: '/a/b' }],
    ['unix:/run/x.sock', { transport: 'unix', host: '', port: 0, unixPath: '/run/x.sock' }],
    ['unix:///run/x.sock', { unixPath: '/run/x.sock', unixMode: 0o660 }],
    ['unix:/run/with space?and#', { unixPath: '/run/with space?and#' }],
  ];
  for (const [url, wanted] of urls) {
    const isTls = /^(?:mqtts|wss):/.test(url);
    t.match(
      plan({ url, tls: isTls ? tls : undefined }),
      { name: url, proxies: null, ...wanted },
      url,
    );
  }
});

t.test('defaults and what is handed in', async (t) => {
  const usual = plan({ url: 'mqtt://127.0.0.1' });
  t.match(usual, { backlog: 4096, handshakesMax: 10_000 });
  const limits = { connectionsMax: 5, packetBytesMax: 100 };
  const own = plan({ url: 'mqtt://[::1]', name: 'own', limits, backlog: 7, handshakesMax: 8 });
  t.match(own, { name: 'own', backlog: 7, handshakesMax: 8 });
  t.strictSame(infoOf(own), { name: 'own', transport: 'tcp', limits });
  t.equal(infoOf(own).limits, limits, 'the same object');
});

t.test('what is refused', async (t) => {
  const url = 'mqtt://127.0.0.1';
  const ws = 'ws://127.0.0.1';
  const origins = (origin: string) => ({ allowedOrigins: [origin] });
  const wrong: [Partial<ListenerOptions> & { readonly url: string }, RegExp][] = [
    [{ url: 'http://127.0.0.1' }, /must begin with mqtt:\/\//],
    [{ url: 'constructor://127.0.0.1' }, /must begin with mqtt:\/\//],
    [{ url: '127.0.0.1:1883' }, /must begin with mqtt:\/\//],
    [{ url: '' }, /must begin with mqtt:\/\//],
    [{ url: 'mqtt://::1' }, /cannot be read/],
    [{ url: 'mqtt://127.0.0.1:99999' }, /cannot be read/],
    [{ url: 'mqtt://:1883' }, /cannot be read|names no host/],
    [{ url: 'mqtt://' }, /names no host/],
    [{ url: 'mqtt://me@127.0.0.1' }, /user name or password/],
    [{ url: 'mqtt://:secret@127.0.0.1' }, /user name or password/],
    [{ url: 'mqtt://127.0.0.1/path' }, /only ws:\/\/ and wss:\/\/ URLs have a path/],
    [{ url: 'ws://127.0.0.1/x?y' }, /must end with its path/],
    [{ url: 'ws://127.0.0.1/x#y' }, /must end with its path/],
    [{ url: 'unix:relative.sock' }, /absolute path/],
    [{ url: 'unix://host/x' }, /absolute path/],
    [{ url: 'unix:/run/' }, /does not name a file/],
    [{ url: 'unix:/run/x\0y' }, /does not name a file/],
    [{ url: 'mqtts://127.0.0.1' }, /needs tls\.certFile and tls\.keyFile/],
    [{ url: 'wss://127.0.0.1' }, /needs tls\.certFile/],
    [{ url, tls }, /must be mqtts:\/\/ or wss:\/\//],
    [
      { url: 'mqtts://127.0.0.1', tls: { ...tls, clientCertificate: 'required' } },
      /clientCertificate is required: needs tls\.caFile/,
    ],
    [
      { url: 'mqtts://127.0.0.1', tls: { ...tls, clientCertificate: 'optional' } },
      /clientCertificate is optional: needs tls\.caFile/,
    ],
    [{ url, websocket: { allowedOrigins: null } }, /must be ws:\/\/ or wss:\/\//],
    [{ url: `${ws}/a`, websocket: { path: '/b', allowedOrigins: null } }, /give one of them/],
    [{ url: ws, websocket: { path: 'b', allowedOrigins: null } }, /must begin with \//],
    [{ url: ws, websocket: { path: '/a?b', allowedOrigins: null } }, /no \? or #/],
    [{ url: ws, websocket: origins('app.example.com') }, /"app\.example\.com", which is no origin/],
    [{ url: ws, websocket: origins('https://*.example.com') }, /which is no origin/],
    [{ url, proxyProtocol: { trustedAddresses: [] } }, /trustedAddresses is empty/],
    [
      { url, proxyProtocol: { trustedAddresses: ['10.0.0.1/8'] } },
      /"10\.0\.0\.1\/8".*no host bits/,
    ],
    [{ url, proxyProtocol: { trustedAddresses: ['lb.example'] } }, /"lb\.example"/],
    [{ url: 'unix:/x', proxyProtocol: { trustedAddresses: ['::1'] } }, /Unix sockets do not have/],
    [{ url, unixMode: 0o600 }, /unixMode is for unix: listeners only/],
    [{ url: 'unix:/x', unixMode: 0o1777 }, /unixMode must be/],
    [{ url: 'unix:/x', unixMode: -1 }, /unixMode must be/],
    [{ url: 'unix:/x', unixMode: 0.5 }, /unixMode must be/],
    [{ url, handshakeTimeoutMs: 0 }, /handshakeTimeoutMs must be above 0/],
    [{ url, handshakeTimeoutMs: Number.NaN }, /handshakeTimeoutMs must be above 0/],
    [{ url, handshakesMax: 0 }, /handshakesMax must be/],
    [{ url, backlog: 0 }, /backlog must be/],
  ];
  for (const [options, message] of wrong) {
    t.throws(() => plan(options), { name: 'ListenerError', code: 'LISTENER_OPTIONS', message });
  }
  t.throws(() => plan({ url: 'http://x', name: 'devices' }), { message: /^listener devices: / });
});

t.test('what only a restart can change', async (t) => {
  const old = plan({ url: 'ws://127.0.0.1:1' });
  t.doesNotThrow(() => assertSameAddress(old, plan({ url: 'ws://127.0.0.1:1', handshakesMax: 3 })));
  const changes = [
    [{ url: 'ws://127.0.0.1:2' }, /url cannot change while it runs \(to ws:\/\/127\.0\.0\.1:2\)/],
    [{ url: 'ws://127.0.0.1:1', name: 'new' }, /name cannot change while it runs \(to new\)/],
    [
      { url: 'ws://127.0.0.1:1', websocket: { path: '/new', allowedOrigins: null } },
      /websocket\.path cannot change while it runs \(to \/new\)/,
    ],
  ] as const;
  for (const [options, message] of changes) {
    const named = 'name' in options ? options : { ...options, name: 'ws://127.0.0.1:1' };
    t.throws(() => assertSameAddress(old, plan(named)), { code: 'LISTENER_RESTART', message });
  }
});
