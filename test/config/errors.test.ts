// Every error of a configuration, with its place and what was expected: one table of YAML texts.
import fc from 'fast-check';
import t from 'tap';
import { ConfigError, loadConfig } from '../../src/config/load.ts';

/** The lines `causeway check` prints for this text. */
function errorsOf(text: string): string[] {
  try {
    loadConfig({ file: 'edge.yaml', text, environment: {}, flags: [] });
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split('\n');
    throw error;
  }
}

interface Case {
  readonly name: string;
  readonly text: string;
  readonly errors: readonly string[];
}

const bytes = '(bytes, or a size such as 64KiB or 1MiB)';
const known =
  'listeners, allowAnonymousBeyondLoopback, tls, data, store, cluster, cassandra, regions, bridges, steering, ' +
  'admin, log, authentication, authorization, quotas, bans, limits, queueOverflow, ' +
  'sharedSubscriptionStrategy, sysIntervalS, shutdownGraceMs';

const cases: readonly Case[] = [
  {
    name: 'links between regions',
    text: [
      'regions:',
      '  name: EU',
      '  links:',
      '    - region: us',
      '      url: us.example:8883',
      '      allow: [fleet/#, a/#/b]',
      '    - url: mqtts://h:8883',
      '      allow: $SYS/#',
      '      bugdetAgeS: 5',
      '',
    ].join('\n'),
    errors: [
      'edge.yaml:2:9: regions.name: expected 1 to 32 of a-z, 0-9 and -, no - first, found "EU"',
      'edge.yaml:5:12: regions.links[0].url: expected mqtts://HOST:PORT, mqtt://, wss:// or ws://; server URLs start with mqtt:, mqtts:, ws:, wss: or unix:, not with us.example:, found "us.example:8883"',
      'edge.yaml:6:24: regions.links[0].allow[1]: expected a topic filter, found "a/#/b"',
      'edge.yaml:7:7: regions.links[1].region is missing',
      'edge.yaml:8:14: regions.links[1].allow: expected a filter that does not start with $, found "$SYS/#"',
      'edge.yaml:9:7: unknown option regions.links[1].bugdetAgeS, did you mean regions.links[1].budgetAgeS?',
    ],
  },
  {
    name: 'links that do not fit together',
    text: [
      'store: memory',
      'regions:',
      '  name: eu',
      '  links:',
      '    - {region: eu, url: "mqtt://h:1"}',
      '    - {region: us, url: "mqtt://h:1", tls: {certFile: a.pem}}',
      '    - {region: us, url: "mqtt://h:1", passwordFile: p}',
      '  accept:',
      '    - {region: us}',
      '    - {region: us, user: a, certificate: b}',
      '    - {region: eu, user: b}',
      '    - {region: ap, user: a}',
      '',
    ].join('\n'),
    errors: [
      'edge.yaml:5:5: regions.links: needs store: embedded: what has come over a link is kept there',
      'edge.yaml:5:16: regions.links[0].region: is this region itself',
      'edge.yaml:6:44: regions.links[1].tls: expected only with mqtts:// and wss://',
      'edge.yaml:6:55: regions.links[1].tls.certFile: has no effect without keyFile',
      'edge.yaml:7:16: regions.links[2].region: us has a link already',
      'edge.yaml:7:53: regions.links[2].passwordFile: has no effect without username',
      'edge.yaml:9:7: regions.accept[0]: expected user or certificate, one of them',
      'edge.yaml:10:7: regions.accept[1]: expected user or certificate, one of them',
      'edge.yaml:11:16: regions.accept[2].region: is this region itself',
      'edge.yaml:12:7: regions.accept[3]: user a is another region already',
    ],
  },
  {
    name: 'roaming without what it needs',
    text: 'regions:\n  name: eu\n  roaming: true\n',
    errors: [
      'edge.yaml:3:12: regions.roaming: needs the section cassandra: sessions are listed there',
    ],
  },
  {
    name: 'sessions are to be listed without what that needs',
    text: 'regions:\n  name: eu\n  directory: true\n',
    errors: [
      'edge.yaml:3:14: regions.directory: needs the section cassandra: sessions are listed there',
    ],
  },
  {
    name: 'a datacenter lists sessions and sends clients to them',
    text: [
      'cluster: {redis: {url: "redis://h"}}',
      'cassandra: {contactPoints: [h], localDatacenter: d}',
      'regions:',
      '  name: eu',
      '  directory: true',
      '  links: [{region: us, url: "mqtt://us.example:1883"}]',
      'steering: {home: [{region: us, reference: us.example}]}',
    ].join('\n'),
    errors: [],
  },
  { name: 'an empty file', text: '', errors: [] },
  { name: 'comments only', text: '# nothing yet\n', errors: [] },
  { name: 'sections with every line commented out', text: 'limits:\n  # x: 1\nlog:\n', errors: [] },
  {
    name: 'an unknown option with a near name',
    text: 'limits:\n  packetByteMax: 5\n',
    errors: [
      'edge.yaml:2:3: unknown option limits.packetByteMax, did you mean limits.packetBytesMax?',
    ],
  },
  {
    name: 'an option in the wrong section',
    text: 'packetBytesMax: 5000\n',
    errors: ['edge.yaml:1:1: unknown option packetBytesMax, did you mean limits.packetBytesMax?'],
  },
  {
    name: 'an option of listeners in the wrong place of one',
    text: 'listeners:\n  - url: mqtt://127.0.0.1:1\n    certFile: a.pem\n',
    errors: [
      'edge.yaml:3:5: unknown option listeners[0].certFile, did you mean listeners[].tls.certFile?',
    ],
  },
  {
    name: 'an unknown option far from every name',
    text: 'mqttVersion9: 1\n',
    errors: [`edge.yaml:1:1: unknown option mqttVersion9 (known here: ${known})`],
  },
  {
    name: 'names JavaScript gives a meaning to',
    text: '__proto__: {data: x}\nlimits: {constructor: 1}\n',
    errors: [
      `edge.yaml:1:1: unknown option __proto__ (known here: ${known})`,
      'edge.yaml:2:10: unknown option limits.constructor (causeway config lists all)',
    ],
  },
  {
    name: 'several errors at once, in the order of the file',
    text: 'queueOverflow: drop\nlog:\n  level: loud\n  format: 5\nallowAnonymousBeyondLoopback: maybe\n',
    errors: [
      'edge.yaml:1:16: queueOverflow: expected one of drop_oldest, drop_newest, disconnect, found "drop"',
      'edge.yaml:3:10: log.level: expected one of debug, info, warn, error, found "loud"',
      'edge.yaml:4:11: log.format: expected one of auto, json, pretty, found 5',
      'edge.yaml:5:31: allowAnonymousBeyondLoopback: expected true or false, found "maybe"',
    ],
  },
  {
    name: 'numbers out of range, with a wrong unit, not whole, not there',
    text: [
      'limits:',
      '  packetBytesMax: 12',
      '  connectBytesMax: 1MB',
      '  topicLevelsMax: 8.5',
      '  lingerMs: 2h',
      '  queueBytesMax: 1.0001KiB',
      '  keepAliveMaxS:',
      '  outboxBytesMax: [1]',
    ].join('\n'),
    errors: [
      `edge.yaml:2:19: limits.packetBytesMax: expected a whole number from 1024 to 268435460 ${bytes}, found 12`,
      `edge.yaml:3:20: limits.connectBytesMax: expected a whole number from 1024 to 1048576 ${bytes}, found "1MB"`,
      'edge.yaml:4:19: limits.topicLevelsMax: expected a whole number from 8 to 1000 (levels), found 8.5',
      'edge.yaml:5:13: limits.lingerMs: expected a whole number from 0 to 60000 (ms, or a duration such as 500ms, 10s or 2min), found "2h"',
      `edge.yaml:6:18: limits.queueBytesMax: expected a whole number from 0 to 1099511627776 ${bytes}, found "1.0001KiB"`,
      'edge.yaml:7:3: limits.keepAliveMaxS: expected a whole number from 1 to 65535 (s, or a duration such as 10s, 5min or 30d), found nothing',
      `edge.yaml:8:19: limits.outboxBytesMax: expected a whole number from 16384 to 1073741824 ${bytes}, found a list`,
    ],
  },
  {
    name: 'listener URLs',
    text: [
      'listeners:',
      '  - mqttt://127.0.0.1',
      '  - tcp://127.0.0.1',
      '  - 127.0.0.1:1883',
      '  - mqtt://*:1883',
      '  - mqtt://127.0.0.1:65536',
      '  - mqtt://127.0.0.256',
      '  - mqtt://[::1',
      '  - mqtt://127.0.0.1/mqtt',
      '  - mqtt://user:pass@127.0.0.1',
      '  - "unix:"',
    ].join('\n'),
    errors: [
      'edge.yaml:2:5: listeners[0].url: unknown scheme mqttt://, did you mean mqtt? (expected one of mqtt, mqtts, ws, wss, unix), found "mqttt://127.0.0.1"',
      'edge.yaml:3:5: listeners[1].url: unknown scheme tcp:// (expected one of mqtt, mqtts, ws, wss, unix), found "tcp://127.0.0.1"',
      'edge.yaml:4:5: listeners[2].url: expected a URL such as mqtt://127.0.0.1:1883, mqtts://HOST:8883, ws://HOST:8083/mqtt, wss://HOST:8084/mqtt or unix:/run/causeway.sock, found "127.0.0.1:1883"',
      'edge.yaml:5:5: listeners[3].url: expected a host (for every address of the machine 0.0.0.0, or [::] with IPv6), found "mqtt://*:1883"',
      'edge.yaml:6:5: listeners[4].url: expected a port from 0 to 65535, found "mqtt://127.0.0.1:65536"',
      'edge.yaml:7:5: listeners[5].url: expected a host name, an IPv4 address, or an IPv6 address in [], found "mqtt://127.0.0.256"',
      'edge.yaml:8:5: listeners[6].url: expected HOST:PORT after ://, without user, query or fragment, found "mqtt://[::1"',
      'edge.yaml:9:5: listeners[7].url: expected mqtt://HOST:PORT without a path, found "mqtt://127.0.0.1/mqtt"',
      'edge.yaml:10:5: listeners[8].url: expected HOST:PORT after ://, without user, query or fragment, found "mqtt://user:***@127.0.0.1"',
      'edge.yaml:11:5: listeners[9].url: expected the file of the socket, such as unix:/run/causeway.sock, found "unix:"',
    ],
  },
  {
    name: 'shapes of listeners',
    text: 'listeners:\n  - {}\n  - 5\n  - url: mqtt://127.0.0.1:1\n    tls: yes\n',
    errors: [
      'edge.yaml:2:5: listeners[0].url is missing',
      'edge.yaml:3:5: listeners[1]: expected a section with url, name, tls, websocket, proxyProtocol, unixMode, authentication, limits',
      'edge.yaml:5:10: listeners[2].tls: expected a section with certFile, keyFile, caFile, crlFile, clientCertificate, minVersion, psk, ciphers',
    ],
  },
  {
    name: 'no listeners',
    text: 'listeners: []\n',
    errors: ['edge.yaml:1:12: listeners: expected at least one listener'],
  },
  {
    name: 'a section where a list belongs',
    text: 'listeners:\n  url: mqtt://127.0.0.1:1\n',
    errors: [
      'edge.yaml:2:3: listeners: expected a list of listeners, each a URL or a section with url',
    ],
  },
  {
    name: 'lists of addresses and origins point at the entry',
    text: [
      'listeners:',
      '  - url: ws://127.0.0.1:1',
      '    websocket:',
      '      allowedOrigins: [https://a.example, https://b.example/app, ftp://c]',
      '    proxyProtocol:',
      '      trustedAddresses:',
      '        - 10.0.0.0/8',
      '        - 10.0.0.1/33',
      '  - url: ws://127.0.0.1:2',
      '    proxyProtocol: {trustedAddresses: [10.1.2.3/8]}',
      '  - url: ws://127.0.0.1:3',
      '    proxyProtocol: {trustedAddresses: [balancer]}',
    ].join('\n'),
    errors: [
      'edge.yaml:4:43: listeners[0].websocket.allowedOrigins[1]: expected an origin such as https://app.example.org, without a path, or * (did you mean https://b.example?), found "https://b.example/app"',
      'edge.yaml:8:11: listeners[0].proxyProtocol.trustedAddresses[1]: expected a prefix length from 0 to 32 after the slash, found "10.0.0.1/33"',
      'edge.yaml:10:40: listeners[1].proxyProtocol.trustedAddresses[0]: expected no bits set beyond the first 8, found "10.1.2.3/8"',
      'edge.yaml:12:40: listeners[2].proxyProtocol.trustedAddresses[0]: expected an IP address or a CIDR range such as 10.0.0.0/8 or fd00::/8, found "balancer"',
    ],
  },
  {
    name: 'TLS without certificate, and what does not go together',
    text: [
      'listeners:',
      '  - mqtts://127.0.0.1:1',
      '  - url: mqtt://127.0.0.1:2',
      '    tls: {certFile: a, keyFile: b}',
      '    websocket: {allowedOrigins: "*"}',
      '    unixMode: "0660"',
      '  - url: wss://127.0.0.1:3',
      '    tls: {certFile: a, keyFile: b, clientCertificate: required}',
      '  - url: wss://127.0.0.1:4',
      '    tls: {certFile: a, keyFile: b, caFile: c}',
      '  - url: unix:/run/x.sock',
      '    proxyProtocol: {trustedAddresses: 10.0.0.1}',
    ].join('\n'),
    errors: [
      'edge.yaml:2:5: listeners[0].url: needs a certificate: add `tls: { certFile: FILE, keyFile: FILE }` to this listener, or to the top level for all of them',
      'edge.yaml:4:10: listeners[1].tls: expected only at mqtts:// and wss:// listeners',
      'edge.yaml:5:16: listeners[1].websocket: expected only at ws:// and wss:// listeners',
      'edge.yaml:6:15: listeners[1].unixMode: expected only at unix: listeners',
      'edge.yaml:8:55: listeners[2].tls.clientCertificate: required needs caFile, the certificates that sign those of clients',
      'edge.yaml:10:44: listeners[3].tls.caFile: has no effect without `clientCertificate: optional` or `clientCertificate: required`',
      'edge.yaml:12:20: listeners[4].proxyProtocol: a Unix socket has no addresses to trust',
    ],
  },
  {
    name: 'half a certificate',
    text: 'tls:\n  certFile: a.pem\n',
    errors: ['edge.yaml:2:3: tls: has certFile but no keyFile'],
  },
  {
    name: 'one address or name twice',
    text: [
      'listeners:',
      '  - {url: "mqtt://127.0.0.1:7", name: a}',
      '  - {url: "ws://127.0.0.1:7", name: a}',
      '  - mqtt://127.0.0.1:0',
      '  - mqtt://127.0.0.1:0',
      '  - unix:/run/x.sock',
      '  - unix:///run/x.sock',
      'admin: {url: "http://127.0.0.1:7"}',
    ].join('\n'),
    errors: [
      'edge.yaml:3:11: listeners[1].url: 127.0.0.1:7 is taken by listeners[0].url',
      'edge.yaml:3:37: listeners[1].name: expected names that differ, listeners[0].name has it too',
      'edge.yaml:7:5: listeners[5].url: /run/x.sock is taken by listeners[4].url',
      'edge.yaml:8:14: admin.url: 127.0.0.1:7 is taken by listeners[0].url',
    ],
  },
  {
    name: 'the mode of a Unix socket written as a number',
    text: 'listeners: [{url: "unix:/run/x.sock", unixMode: 0660}]\n',
    errors: [
      "edge.yaml:1:49: listeners[0].unixMode: expected octal digits in quotes, such as '0660', found 660",
    ],
  },
  {
    name: 'the admin address',
    text: 'admin: {url: "ftp://127.0.0.1:8080"}\n',
    errors: [
      'edge.yaml:1:14: admin.url: expected http://HOST:PORT, https://HOST:PORT or off, found "ftp://127.0.0.1:8080"',
    ],
  },
  {
    name: 'YAML itself: a key twice, an unknown tag',
    text: 'data: a\ndata: b\nstore: !x memory\n',
    errors: ['edge.yaml:2:1: Map keys must be unique', 'edge.yaml:3:8: Unresolved tag: !x'],
  },
  {
    name: 'two documents',
    text: 'data: a\n---\ndata: b\n',
    errors: ['edge.yaml:2:1: expected one document, found a second'],
  },
  {
    name: 'a text instead of options',
    text: 'start please\n',
    errors: ['edge.yaml:1:1: expected options, such as `data: ./data`'],
  },
];

t.test('errors by text', async (t) => {
  for (const { name, text, errors } of cases) t.strictSame(errorsOf(text), errors, name);
});

t.test('aliases that multiply are refused', async (t) => {
  const text = ['a: &a [1,1,1,1,1,1,1,1,1,1]'];
  for (let depth = 1; depth < 9; depth += 1) {
    const above = String.fromCharCode(96 + depth);
    const here = String.fromCharCode(97 + depth);
    text.push(`${here}: &${here} [${Array(10).fill(`*${above}`).join(',')}]`);
  }
  t.match(errorsOf(text.join('\n')), [/edge\.yaml: .*alias/]);
});

t.test('no text brings anything but errors with a place', async (t) => {
  const piece = fc.constantFrom(
    'listeners',
    'limits',
    'url',
    'tls',
    'data',
    ':',
    ': ',
    '\n',
    '  ',
    '- ',
    '[',
    ']',
    '{',
    '}',
    'mqtt://',
    '127.0.0.1',
    ':1883',
    '*',
    '&a ',
    '!!set',
    '"',
    "'",
    '|',
    '? ',
    '~',
    '0',
    '<<',
  );
  const text = fc.array(fc.oneof(piece, fc.string({ maxLength: 4 })), { maxLength: 24 });
  fc.assert(
    fc.property(text, (pieces) => {
      return errorsOf(pieces.join('')).every((line) => line.startsWith('edge.yaml'));
    }),
    { numRuns: 500 },
  );
  t.pass('500 texts');
});
