// `causeway import mosquitto`: what each option becomes, what is named as not carried, what shuts.
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { parse } from 'yaml';
import { convert } from '../../src/cli/import/convert.ts';
import { modelOf } from '../../src/cli/import/mosquitto-config.ts';
import { ImportError, readDirectives } from '../../src/cli/import/mosquitto-lines.ts';
import { optionNames, scopeOf } from '../../src/cli/import/mosquitto-options.ts';
import { formatNote, Notes } from '../../src/cli/import/note.ts';
import type { Machine } from '../../src/cli/machine.ts';
import { loadConfig } from '../../src/config/load.ts';
import { temporaryFolder } from '../config/temporary-folder.ts';
import type { Outcome } from './run.ts';
import { runMany } from './run-many.ts';

type Sextet = [Outcome, Outcome, Outcome, Outcome, Outcome, Outcome];

const machine: Machine = {
  hasIpv6: true,
  hostName: 'box',
  addresses: [],
  addressOf: (device) => (device === 'eth1' ? '10.9.8.7' : null),
};

interface Result {
  readonly tree: Record<string, unknown>;
  /** Without the notes about defaults. */
  readonly notes: readonly string[];
  readonly copies: Record<string, string>;
  readonly needsLockedUser: boolean;
}

/** Converts a text; `folder` is where relative names are. */
function imported(t: Test, text: string, on: Machine = machine): Result {
  const folder = temporaryFolder(t, { 'm.conf': text });
  const notes = new Notes();
  const directives = readDirectives(join(folder, 'm.conf'), folder);
  const result = convert(modelOf(directives, notes), folder, on, notes);
  const shown = notes.all
    .filter(({ where }) => where !== '')
    .map((note) => formatNote(note).replaceAll(`${folder}/`, ''));
  const copies = [...result.copies].map(([from, to]) => [from.replace(`${folder}/`, ''), to]);
  const { tree, needsLockedUser } = result;
  return {
    tree: JSON.parse(JSON.stringify(tree).replaceAll(`${folder}/`, '')) as Result['tree'],
    notes: shown,
    copies: Object.fromEntries(copies) as Result['copies'],
    needsLockedUser,
  };
}

t.test('listeners: addresses as mosquitto takes them', async (t) => {
  const cases: [string, string[]][] = [
    ['persistence false', ['mqtt://127.0.0.1:1883', 'mqtt://[::1]:1883']],
    ['port 2883', ['mqtt://[::]:2883']],
    ['port 2883\nbind_address 10.0.0.1', ['mqtt://10.0.0.1:2883']],
    ['max_connections 9', ['mqtt://[::]:1883']],
    ['listener 1884', ['mqtt://[::]:1884']],
    ['listener 1884 localhost', ['mqtt://127.0.0.1:1884', 'mqtt://[::1]:1884']],
    ['listener 1884 fd00::1', ['mqtt://[fd00::1]:1884']],
    ['listener 1884\nsocket_domain ipv4', ['mqtt://0.0.0.0:1884']],
    ['listener 1884\nbind_interface eth1', ['mqtt://10.9.8.7:1884']],
    ['listener 1884 # devices', ['mqtt://[::]:1884']],
    ['listener 0 /run/m.sock', ['unix:/run/m.sock']],
    ['listener 8080\nprotocol websockets', ['ws://[::]:8080/mqtt']],
    [
      'port 1\nlistener 2\nlistener 3 127.0.0.1',
      ['mqtt://[::]:1', 'mqtt://[::]:2', 'mqtt://127.0.0.1:3'],
    ],
  ];
  for (const [text, urls] of cases) {
    const { tree } = imported(t, text);
    const listeners = tree.listeners as { url: string }[];
    t.strictSame(
      listeners.map(({ url }) => url),
      urls,
      text,
    );
  }
  const old = imported(t, 'listener 1884', { ...machine, hasIpv6: false });
  t.match(old.tree, { listeners: [{ url: 'mqtt://0.0.0.0:1884' }] });
});

t.test('who gets in: never more than before', async (t) => {
  const locked = { authentication: { chain: ['password'], anonymous: false } };
  const cases: [string, object, boolean][] = [
    // Only this machine: mosquitto asks nobody.
    [
      'persistence false',
      { authentication: undefined, allowAnonymousBeyondLoopback: undefined },
      false,
    ],
    ['allow_anonymous false', locked, true],
    // mosquitto before 2.0.12 opened this one to everybody.
    ['max_connections 9', locked, true],
    ['listener 1883', locked, true],
    ['listener 1883\nallow_anonymous true', { allowAnonymousBeyondLoopback: true }, false],
    [
      'listener 1883 127.0.0.1\nallow_anonymous true',
      { allowAnonymousBeyondLoopback: undefined },
      false,
    ],
    [
      'listener 1883\npassword_file pw\nallow_anonymous true',
      {
        allowAnonymousBeyondLoopback: true,
        authentication: { chain: ['password'], anonymous: true, password: { file: 'passwords' } },
      },
      false,
    ],
    [
      'listener 1883\npassword_file pw',
      { ...locked, allowAnonymousBeyondLoopback: undefined },
      false,
    ],
    // What the plugin would have said nobody knows.
    ['listener 1883\nallow_anonymous true\nplugin /usr/lib/x.so', locked, true],
  ];
  for (const [text, expected, needsLockedUser] of cases) {
    const result = imported(t, text);
    t.match(result.tree, expected, text);
    t.equal(result.needsLockedUser, needsLockedUser, text);
  }
});

t.test('per_listener_settings, and files that cannot be shared', async (t) => {
  const { tree, notes, copies } = imported(
    t,
    `per_listener_settings true
allow_anonymous true
listener 1883 127.0.0.1
allow_anonymous true
listener 1884
password_file one
acl_file rules
listener 1885
password_file two
acl_file rules
listener 1886
password_file one
acl_file others
listener 1887
password_file one
acl_file rules
`,
  );
  t.match(tree.listeners, [
    { url: 'mqtt://127.0.0.1:1883' },
    { url: 'mqtt://[::]:1884' },
    { url: 'mqtt://[::]:1887' },
  ]);
  t.equal((tree.listeners as object[]).length, 3);
  t.strictSame(copies, { one: 'passwords', rules: 'mosquitto.acl' }, 'those most listeners have');
  t.match(notes, [
    'm.conf:2: note: allow_anonymous stands before the first listener: it has no effect',
    /^m\.conf:3: not carried: this listener had no acl_file/,
    /^m\.conf:9: not carried, shut: password_file: another listener/,
    /^m\.conf:13: not carried, shut: acl_file/,
  ]);
  const shared = imported(
    t,
    `per_listener_settings true
listener 1884
password_file one
acl_file rules
listener 1885
password_file two
acl_file rules
listener 1886 127.0.0.1
allow_anonymous true
acl_file rules
`,
  );
  t.strictSame(shared.copies, { one: 'passwords', rules: 'mosquitto.acl' });
  t.match(shared.notes, [/^m\.conf:6: not carried, shut: password_file/]);
  t.strictSame(shared.tree.listeners, [
    { url: 'mqtt://[::]:1884', authentication: { chain: ['password'], anonymous: false } },
    { url: 'mqtt://127.0.0.1:1886' },
  ]);
  t.match(shared.tree, {
    authentication: { chain: undefined, password: { file: 'passwords' } },
    authorization: { rulesFile: 'mosquitto.acl' },
    allowAnonymousBeyondLoopback: undefined,
  });
});

t.test('TLS', async (t) => {
  const files = 'certfile /etc/c.pem\nkeyfile /etc/c.key\ncafile /etc/ca.pem\n';
  const mutual = imported(
    t,
    `listener 8883\n${files}require_certificate true\nuse_identity_as_username true\ncrlfile /etc/crl.pem
tls_version tlsv1.3\nciphers_tls1.3 TLS_AES_128_GCM_SHA256\ndhparamfile /etc/dh.pem\npassword_file pw\n`,
  );
  t.strictSame(mutual.tree.listeners, [
    {
      url: 'mqtts://[::]:8883',
      tls: {
        certFile: '/etc/c.pem',
        keyFile: '/etc/c.key',
        clientCertificate: 'required',
        caFile: '/etc/ca.pem',
        crlFile: '/etc/crl.pem',
        minVersion: 'TLSv1.3',
        ciphers: 'TLS_AES_128_GCM_SHA256:DEFAULT',
      },
    },
  ]);
  t.strictSame(mutual.tree.authentication, {
    chain: ['certificate'],
    anonymous: false,
    certificate: { identity: 'common_name' },
  });
  t.strictSame(mutual.notes, []);

  const plain = imported(
    t,
    `listener 8883\n${files}tls_version tlsv1.1\nciphers HIGH\npassword_file pw`,
  );
  t.match(plain.tree.listeners, [
    { tls: { caFile: undefined, clientCertificate: undefined, ciphers: 'HIGH' } },
  ]);
  t.match(plain.notes, [/^m\.conf:5: not carried: tls_version/]);

  const psk = imported(
    t,
    'listener 8883\npsk_hint x\npsk_file keys\nuse_identity_as_username true\nlistener 1883 ::1\nallow_anonymous true',
  );
  t.match(psk.tree.listeners, [
    { url: 'mqtts://[::]:8883', tls: { psk: true }, authentication: { chain: ['psk'] } },
    { url: 'mqtt://[::1]:1883', authentication: undefined },
  ]);
  t.match(psk.tree.authentication, { psk: { file: 'psk' } });
  t.strictSame(psk.copies, { keys: 'psk' });

  const shut = 'listener 1883 127.0.0.1\n';
  for (const [option, why] of [
    ['use_subject_as_username true', /use_subject_as_username: a subject is no user name here/],
    ['tls_keyform engine', /tls_keyform: a key inside an engine/],
    ['mount_point a/', /mount_point: topics of a listener cannot be moved/],
    ['max_connections 0', /max_connections: it lets nobody in/],
    ['bind_interface eth7', /bind_interface: this machine has no such interface/],
    ['enable_proxy_protocol 2', /enable_proxy_protocol: say whom to trust/],
    ['protocol quic', /protocol: mqtt and websockets are served/],
  ] as const) {
    const { tree, notes } = imported(t, `${shut}listener 8883\n${files}${option}\n`);
    t.match(tree.listeners, [{ url: 'mqtt://127.0.0.1:1883' }], option);
    t.match(notes.at(-1), new RegExp(`^m\\.conf:6: not carried, shut: ${why.source}`), option);
  }
  const half = imported(t, `${shut}listener 8883\nkeyfile /etc/c.key\n`);
  t.match(half.notes, [
    'm.conf:2: not carried, shut: certfile: certfile and keyfile go together; the listener is left out',
  ]);
  t.equal((half.tree.listeners as object[]).length, 1);
  t.throws(() => imported(t, `listener 8883\n${files}mount_point x`), ImportError);
  t.throws(
    () => imported(t, 'listener 1883\nclientid_prefixes secure-'),
    /clientid_prefixes cannot be carried/,
  );
});

t.test('limits, persistence, log', async (t) => {
  const { tree, notes } = imported(
    t,
    `listener 1883 127.0.0.1
max_connections 500
max_topic_alias 5
max_inflight_messages 0
max_queued_messages 0
max_queued_bytes 5000
max_packet_size 100
max_keepalive 300
persistent_client_expiration 2m
retain_available false
sys_interval 7200
persistence true
persistence_location /var/lib/mosquitto/
log_type error
log_type warning
log_dest stdout
global_max_connections 10
global_max_clients -1
`,
  );
  t.strictSame(tree, {
    listeners: [
      { url: 'mqtt://127.0.0.1:1883', limits: { connectionsMax: 500, topicAliasMax: 5 } },
    ],
    authentication: {
      chain: ['password'],
      anonymous: false,
      password: { file: 'passwords' },
    },
    data: '/var/lib/mosquitto/causeway',
    log: { level: 'warn' },
    limits: {
      inflightMessagesMax: 32_768,
      receiveMaximum: 65_535,
      queueMessagesMax: 1_000_000_000,
      queueBytesMax: 5000,
      packetBytesMax: 1024,
      keepAliveMaxS: 300,
      sessionExpiryMaxS: 60 * 86_400,
      retainedMessagesMax: 0,
      connectionsMax: 10,
    },
    sysIntervalS: 3600,
    queueOverflow: 'drop_newest',
  });
  t.match(notes, [
    /^m\.conf:12: note: what mosquitto has stored/,
    /^m\.conf:7: note: max_packet_size: limits\.packetBytesMax is 1024/,
    /^m\.conf:10: note: retain_available false/,
    /^m\.conf:11: note: sys_interval: at most 3600 s/,
  ]);
  const size = imported(t, 'message_size_limit 1000\nlog_type all\nlog_dest topic');
  t.match(size.tree, {
    limits: { packetBytesMax: 66_536 },
    log: { level: 'debug' },
    store: 'memory',
  });
  t.match(size.notes, [
    /^m\.conf:3: not carried: log_dest topic/,
    /^m\.conf:1: note: message_size_limit/,
  ]);
});

t.test('every line that is not carried is named; secrets are not', async (t) => {
  const { notes, tree } = imported(
    t,
    `# a comment
listener 1883 127.0.0.1
password_file pw
max_qos 1
upgrade_outgoing_qos true
queue_qos0_messages true
check_retain_source false
memory_limit 100
autosave_interval 5
pid_file /run/m.pid
user mosquitto
alow_anonymous true
auth_plugin /usr/lib/auth.so
auth_opt_db_password s3cret
connection cloud
address broker.example:8883
remote_username me
remote_password s3cret
topic # both 1
`,
  );
  t.match(tree.authentication, { chain: ['password'], anonymous: false });
  const wheres = notes.map((note) => note.split(' ')[0]);
  t.strictSame(
    wheres.toSorted(),
    [4, 5, 6, 7, 8, 12, 13, 14, 15].map((line) => `m.conf:${line}:`).toSorted(),
  );
  t.ok(
    notes.includes(
      'm.conf:12: not carried: mosquitto has no option alow_anonymous, did you mean allow_anonymous?',
    ),
  );
  t.ok(
    notes.some((note) =>
      note.startsWith('m.conf:13: not carried, shut: auth_plugin /usr/lib/auth.so: plugins'),
    ),
  );
  t.notMatch(notes.join(), /s3cret/);
});

t.test('what may wait for a bridge', async (t) => {
  const bridge = 'connection a\naddress b\nnotifications false\nremote_clientid c\ntopic #\n';
  const bridgeOf = (lines: string): Pick<Result, 'tree' | 'notes'> => {
    const { tree, notes } = imported(t, `listener 1883 127.0.0.1\n${lines}${bridge}`);
    const [only] = tree.bridges as Result['tree'][];
    return { tree: only!, notes: notes.filter((note) => /bridge|max_queued/.test(note)) };
  };
  t.notOk('budgetBytes' in bridgeOf('').tree);
  const bounded = bridgeOf('max_queued_messages 5\nmax_queued_bytes 100000\n');
  t.equal(bounded.tree.budgetBytes, 100_000);
  t.match(bounded.notes, [/^m\.conf:2: note: max_queued_messages: what waits for a bridge/]);
  t.equal(bounded.notes.length, 1);
  t.equal(bridgeOf('max_inflight_messages 50\n').tree.inFlightMax, 50);
  t.equal(
    bridgeOf('max_inflight_messages 0\n').tree.inFlightMax,
    65_000,
    'as many as there can be',
  );
  t.equal(bridgeOf('max_queued_bytes 0\n').tree.budgetBytes, 1024 ** 4, 'without a bound');
  const small = bridgeOf('max_queued_bytes 5000\n');
  t.equal(small.tree.budgetBytes, 65_536);
  t.match(small.notes, [/^m\.conf:2: note: max_queued_bytes: budgetBytes of bridges is 65536/]);
});

t.test('bridges', async (t) => {
  const { tree, notes } = imported(
    t,
    `listener 1883 127.0.0.1
allow_anonymous true
connection cloud one
address broker.example:8883 other.example
bridge_cafile /etc/ca.pem
bridge_protocol_version mqttv50
remote_username me
remote_password s3cret
remote_clientid site-7
cleansession true
local_cleansession false
keepalive_interval 30
notifications false
try_private false
start_type lazy
bridge_outgoing_retain false
bridge_alpn mqtt
topic up/# out 1 site/ plant/7/
topic both/# both 2
topic $SYS/# in 0 far/ ""
topic "" out 1 a b
topic $SYS/# out
connection bare
address [::1]
topic #
connection none
address somewhere
connection keyed
address somewhere
bridge_psk s3cret
topic #
`,
  );
  t.strictSame(tree.bridges, [
    {
      name: 'cloud-one',
      url: 'mqtts://broker.example:8883',
      protocolVersion: '5',
      tls: { caFile: '/etc/ca.pem', alpnProtocol: 'mqtt' },
      clientId: 'site-7',
      username: 'me',
      passwordFile: 'bridge-cloud-one.password',
      cleanStart: true,
      keepaliveS: 30,
      tryPrivate: false,
      topics: [
        {
          filter: 'up/#',
          direction: 'out',
          localPrefix: 'site/',
          remotePrefix: 'plant/7/',
          qos: 1,
          retain: 'clear',
        },
        { filter: 'both/#', direction: 'in', qos: 2 },
        { filter: 'both/#', direction: 'out', qos: 2, retain: 'clear' },
        { filter: '$SYS/#', direction: 'in', localPrefix: 'far/', qos: 0 },
        {
          filter: '',
          direction: 'out',
          localPrefix: 'a',
          remotePrefix: 'b',
          qos: 1,
          retain: 'clear',
        },
      ],
    },
    {
      name: 'bare',
      url: 'mqtt://[::1]:1883',
      protocolVersion: '3.1.1',
      notifications: 'both',
      topics: [{ filter: '#', direction: 'out', qos: 0 }],
    },
  ]);
  for (const line of [3, 4, 15, 22, 26, 30]) {
    t.ok(
      notes.some((note) => note.startsWith(`m.conf:${line}: `)),
      `line ${line} is named`,
    );
  }
  t.notMatch(notes.join(), /s3cret/);
  const ruled = imported(
    t,
    'listener 1883 127.0.0.1\npassword_file pw\nacl_file acl\nconnection a\naddress b\nlocal_username u\ntopic #\n',
  );
  t.equal(ruled.tree.bridges, undefined);
  t.match(ruled.notes.join('\n'), /m\.conf:6: not carried, shut: local_username/);
});

t.test(
  'include_dir: byte order, upper case first, and each file with the default listener',
  async (t) => {
    const folder = temporaryFolder(t, {
      'm.conf': 'listener 1883 127.0.0.1\ninclude_dir d\nmax_topic_alias 3\n',
    });
    mkdirSync(join(folder, 'd'));
    const texts = { 'b.conf': '2', 'A.conf': '1', 'a.conf': '1', '00.conf': '9', 'note.txt': '77' };
    for (const [name, value] of Object.entries(texts)) {
      writeFileSync(join(folder, 'd', name), `include_dir ..\nmax_queued_messages ${value}\n`);
    }
    writeFileSync(
      join(folder, 'd', 'z.conf'),
      'port 2000\nmax_connections 4\nallow_anonymous true\n',
    );
    const directives = readDirectives(join(folder, 'm.conf'), folder);
    const order = directives.map(({ file }) => file.replace(`${folder}/`, ''));
    t.strictSame(
      order.filter((name, index) => order[index - 1] !== name),
      ['m.conf', 'd/00.conf', 'd/A.conf', 'd/a.conf', 'd/b.conf', 'd/z.conf', 'm.conf'],
    );
    const notes = new Notes();
    const { tree } = convert(modelOf(directives, notes), folder, machine, notes);
    t.match(tree, {
      listeners: [
        { url: 'mqtt://[::]:2000', limits: { connectionsMax: 4 } },
        { url: 'mqtt://127.0.0.1:1883', limits: { topicAliasMax: 3, connectionsMax: undefined } },
      ],
      limits: { queueMessagesMax: 2 },
    });
  },
);

t.test('every option has its place, once', async (t) => {
  t.equal(new Set(optionNames).size, optionNames.length);
  t.equal(scopeOf('plugin_opt_x'), 'plugin');
  t.equal(scopeOf('constructor'), null);
});

t.test('the command: exit codes, modes, nothing overwritten', async (t) => {
  const hash = `$7$101$AAAAAAAAAAAAAAAA$${Buffer.alloc(64, 1).toString('base64')}`;
  const folder = temporaryFolder(t, {
    'whole.conf': 'listener 1883 127.0.0.1\npassword_file pw\nacl_file acl\n',
    'part.conf': 'listener 1883 127.0.0.1\nallow_anonymous true\nmax_qos 1\n',
    'lost.conf': 'listener 1883\npassword_file nothing-here\n',
    'locked.conf': 'listener 1883\n',
    'broken.conf': 'listener 8883\ncertfile none.pem\nkeyfile none.key\npassword_file pw\n',
    'weak.conf': 'listener 1883 127.0.0.1\npassword_file plain\nacl_file odd\n',
    plain: 'alice:in the clear\n',
    odd: 'user alice\ntopik a\n',
    pw: `alice:${hash}\n`,
    acl: 'user alice\ntopic readwrite a/#\n',
  });
  const line = (name: string, dir: string) => ['import', 'mosquitto', name, '--dir', dir];
  const names = ['whole', 'part', 'lost', 'locked', 'broken', 'none'];
  const outcomes = await runMany(
    [
      ...names.map((name) => line(`${name}.conf`, `out/${name}`)),
      line('part.conf', 'out/whole'),
      line('weak.conf', 'out/weak'),
    ],
    { cwd: folder },
  );
  const [whole, part, lost, locked, broken, none] = outcomes as Sextet;
  const again = outcomes[6];
  t.equal(whole.code, 0, whole.stderr);
  t.equal(whole.stdout.split('\n')[0], join(folder, 'out/whole/causeway.yaml'));
  t.equal(readFileSync(join(folder, 'out/whole/passwords'), 'utf8'), `alice:${hash}\n`);
  for (const name of ['causeway.yaml', 'passwords', 'mosquitto.acl']) {
    t.equal(statSync(join(folder, 'out/whole', name)).mode & 0o777, 0o600, name);
  }
  t.equal(statSync(join(folder, 'out/whole')).mode & 0o777, 0o700);
  const config = join(folder, 'out/whole/causeway.yaml');
  t.match(loadConfig({ file: config, environment: {}, flags: [] }).config, {
    authentication: {
      chain: ['password'],
      password: { file: join(folder, 'out/whole/passwords') },
    },
    authorization: { rulesFile: join(folder, 'out/whole/mosquitto.acl') },
  });
  t.equal(part.code, 3);
  t.match(part.stderr, /^part\.conf:3: not carried: max_qos/m);
  t.match(
    readFileSync(join(folder, 'out/part/causeway.yaml'), 'utf8'),
    /^# part\.conf:3: not carried/m,
  );
  t.match(lost, { code: 2, stderr: /nothing-here.*nothing was written/ });
  t.throws(() => statSync(join(folder, 'out/lost')));
  t.equal(locked.code, 0, locked.stderr);
  t.match(readFileSync(join(folder, 'out/locked/passwords'), 'utf8'), /^nobody-yet:\$/m);
  t.match(broken, { code: 2, stderr: /none\.pem.*\n.*\n.*does not start as it is/ });
  const weak = outcomes[7];
  t.match(weak, { code: 2, stderr: /out\/weak\/passwords:1:\d+: .*\n.*mosquitto\.acl:2:1: / });
  t.notMatch(weak?.stderr, 'in the clear');
  t.match(none, { code: 2, stderr: /none\.conf: cannot be read: ENOENT; nothing was written/ });

  t.match(again, { code: 2, stderr: /causeway\.yaml is there already; nothing was written/ });
  t.match(parse(readFileSync(config, 'utf8')), { store: 'memory' });
});
