// A configuration of mosquitto and what `causeway import` makes of it: the same clients get the same
// answers. What mosquitto 2.0 answers is written down, and asked again wherever its server is found.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { userInfo } from 'node:os';
import { delimiter, join } from 'node:path';
import t, { type Test } from 'tap';
import { mosquitto } from '../../scripts/provide.ts';
import { issueCertificates } from '../../src/cli/init/certificate.ts';
import { runCli } from '../cli/run.ts';
import { temporaryFolder } from '../config/temporary-folder.ts';
import { Broker } from '../e2e/broker.ts';

const WITHIN_MS = 15_000;
const DEAF_MS = 100;

/** The server is not needed to run the tests of clients, so nobody installs it. */
function findServer(): string | null {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  return (
    folders.map((folder) => join(folder, 'mosquitto')).find((file) => existsSync(file)) ?? null
  );
}

const server = findServer();
if (server === null) t.comment('no mosquitto server here: its answers are taken from the table');

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as { port: number };
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

/** As mosquitto_passwd stores them; written here so that the tool is not needed. */
const users = ['admin', 'alice', 'bob', 'reader'] as const;
const passwords = [
  // Passwords are the names with `-pw`; PBKDF2-SHA512 as mosquitto 2.0 stores it.
  ...users.map((user) => `${user}:${pbkdf2(`${user}-pw`)}`),
].join('\n');

function pbkdf2(password: string): string {
  const script =
    "const c=require('node:crypto');const s=c.randomBytes(12);" +
    "console.log('$7$101$'+s.toString('base64')+'$'+" +
    "c.pbkdf2Sync(process.argv[1],s,101,64,'sha512').toString('base64'))";
  return execFileSync(process.execPath, ['-e', script, password], { encoding: 'utf8' }).trim();
}

const rules = `topic read public/#
topic read end
user admin
topic readwrite #
user alice
topic readwrite a/#
topic deny a/secret
topic read end
user bob
topic read a/#
topic write b
topic read end
user reader
topic read #
user device-1
topic write d/1
pattern readwrite own/%u/#
pattern write id/%c/x
`;

interface Place {
  readonly port: number;
  readonly tlsPort: number;
  readonly folder: string;
}

/** One run of a client: `ok`, or the first thing it complained about. */
function client(name: 'mosquitto_pub' | 'mosquitto_sub', args: readonly string[]): Running {
  return new Running(spawn('stdbuf', ['-oL', mosquitto(name), ...args]));
}

class Running {
  readonly child: ChildProcess;
  readonly ended: Promise<{ readonly code: number | null; readonly lines: readonly string[] }>;
  #output = '';
  #wake: () => void = () => {};

  constructor(child: ChildProcess) {
    this.child = child;
    child.stdout?.on('data', (chunk: Buffer) => {
      this.#output += chunk.toString();
      this.#wake();
    });
    child.stderr?.on('data', (chunk: Buffer) => {
      this.#output += chunk.toString();
      this.#wake();
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), WITHIN_MS);
    this.ended = new Promise((resolve) => {
      child.once('close', (code) => {
        clearTimeout(timer);
        this.#wake();
        resolve({ code, lines: this.#output.split('\n').filter((line) => line !== '') });
      });
    });
  }

  async said(text: string): Promise<this> {
    while (!this.#output.includes(text)) {
      if (this.child.exitCode !== null) throw new Error(`it ended: ${this.#output}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this;
  }
}

/** What one broker answers to everything below; the same shape for both. */
interface Answers {
  /** By what was tried: `ok`, or why not. */
  readonly tried: Readonly<Record<string, string>>;
  /** By who listened to `#`: topic and payload. */
  readonly heard: Readonly<Record<string, readonly string[]>>;
}

function as(user: string): string[] {
  return ['-u', user, '-P', `${user}-pw`];
}

async function ask(place: Place, withTls: boolean): Promise<Answers> {
  const tcp = ['-h', '127.0.0.1', '-p', String(place.port)];
  const tls = ['-h', 'localhost', '-p', String(place.tlsPort)];
  const cafile = ['--cafile', join(place.folder, 'ca.pem')];
  const card = (name: string): string[] => [
    ...['--cert', join(place.folder, `${name}.pem`), '--key', join(place.folder, `${name}.key`)],
  ];
  const listeners: [string, Running][] = [];
  for (const [who, credentials] of [
    ['reader', as('reader')],
    ['alice', as('alice')],
    ['bob', as('bob')],
    ['anonymous', []],
  ] as const) {
    const args = [...tcp, ...credentials, '-q', '1', '-d', '-F', '%t %p %r', '-t', '#'];
    const listening = client('mosquitto_sub', args);
    const isIn = await listening.said('Subscribed (mid').then(
      () => true,
      () => false,
    );
    if (isIn) listeners.push([who, listening]);
  }

  const tried: Record<string, string> = {};
  const publish = async (what: string, args: readonly string[]): Promise<void> => {
    const { code, lines } = await client('mosquitto_pub', args).ended;
    const failure = lines.find((line) => /refused|not authori|failed|error/i.test(line)) ?? '';
    const why = /bad user name|not authori[sz]ed/i.exec(failure)?.[0].toLowerCase() ?? '';
    tried[what] = code === 0 && failure === '' ? 'ok' : why === '' ? 'not connected' : why;
  };
  const text = (topic: string, payload: string, qos = '1'): string[] => [
    ...['-t', topic, '-m', payload, '-q', qos],
  ];
  await publish('wrong password', [...tcp, '-u', 'alice', '-P', 'x', ...text('a/1', 'wrong')]);
  await publish('no password', [...tcp, '-u', 'alice', ...text('a/1', 'none')]);
  await publish('unknown user', [...tcp, '-u', 'eve', '-P', 'x', ...text('a/1', 'eve')]);
  await publish('anonymous', [...tcp, ...text('public/1', 'anonymous')]);
  await publish('allowed', [...tcp, ...as('alice'), ...text('a/1', 'allowed')]);
  await publish('allowed, QoS 2', [...tcp, ...as('alice'), ...text('a/2', 'twice', '2')]);
  await publish('denied within what is allowed', [
    ...tcp,
    ...as('alice'),
    ...text('a/secret', 'x'),
  ]);
  await publish('denied', [...tcp, ...as('alice'), ...text('c', 'x')]);
  await publish('denied, version 5', [...tcp, '-V', '5', ...as('alice'), ...text('c', 'x')]);
  await publish('read only', [...tcp, ...as('bob'), ...text('a/1', 'from bob')]);
  await publish('write only', [...tcp, ...as('bob'), ...text('b', 'from bob')]);
  await publish('own topic', [...tcp, ...as('bob'), ...text('own/bob/x', 'own')]);
  await publish("another's topic", [...tcp, ...as('bob'), ...text('own/alice/x', 'not own')]);
  await publish('by client id', [...tcp, ...as('bob'), '-i', 'c7', ...text('id/c7/x', 'id')]);
  await publish('by another id', [...tcp, ...as('bob'), '-i', 'c8', ...text('id/c7/x', 'x')]);
  await publish('a wildcard as id', [...tcp, ...as('bob'), '-i', '+', ...text('id/c7/x', 'x')]);
  await publish('retained', [...tcp, ...as('alice'), '-r', ...text('a/kept', 'kept')]);
  await publish('public', [...tcp, ...as('admin'), ...text('public/2', 'public')]);
  if (withTls) {
    await publish('certificate', [...tls, ...cafile, ...card('device-1'), ...text('d/1', 'card')]);
    await publish('certificate, elsewhere', [
      ...tls,
      ...cafile,
      ...card('device-1'),
      ...text('d/2', 'x'),
    ]);
    await publish('certificate beats a name', [
      ...[...tls, ...cafile, ...card('device-1'), '-u', 'admin', '-P', 'x'],
      ...text('d/2', 'x'),
    ]);
    await publish('no certificate', [...tls, ...cafile, ...as('admin'), ...text('d/1', 'x')]);
    await publish('of another authority', [
      ...tls,
      ...cafile,
      ...card('stranger'),
      ...text('d/1', 'x'),
    ]);
  }
  // What is retained goes to who may read it.
  const late: Record<string, readonly string[]> = {};
  for (const user of ['bob', 'admin']) {
    const args = [...tcp, ...as(user), '-F', '%t %p %r', '-t', 'a/#', '-W', '2', '-C', '1'];
    late[`${user}, retained`] = (await client('mosquitto_sub', args).ended).lines;
  }
  await publish('the end', [...tcp, ...as('admin'), ...text('end', 'end')]);
  const heard: Record<string, readonly string[]> = { ...late };
  for (const [who, listening] of listeners) {
    await listening.said('end end 0');
    // Whatever else was on its way.
    await new Promise((resolve) => setTimeout(resolve, DEAF_MS));
    listening.child.kill('SIGTERM');
    const { lines } = await listening.ended;
    heard[who] = lines.filter((line) => !/^(Client|Subscribed)/.test(line));
  }
  return { tried, heard };
}

/** What mosquitto 2.0.11 answers with passwords, rules and certificates. */
const expected: Answers = {
  tried: {
    'wrong password': 'not authorised',
    'no password': 'not authorised',
    'unknown user': 'not authorised',
    anonymous: 'not authorised',
    allowed: 'ok',
    'allowed, QoS 2': 'ok',
    'denied within what is allowed': 'ok',
    denied: 'ok',
    'denied, version 5': 'not authorized',
    'read only': 'ok',
    'write only': 'ok',
    'own topic': 'ok',
    "another's topic": 'ok',
    'by client id': 'ok',
    'by another id': 'ok',
    'a wildcard as id': 'ok',
    retained: 'ok',
    public: 'ok',
    'the end': 'ok',
  },
  heard: {
    reader: [
      'a/1 allowed 0',
      'a/2 twice 0',
      'b from bob 0',
      'own/bob/x own 0',
      'id/c7/x id 0',
      'a/kept kept 0',
      'public/2 public 0',
      'end end 0',
    ],
    alice: ['a/1 allowed 0', 'a/2 twice 0', 'a/kept kept 0', 'end end 0'],
    bob: ['a/1 allowed 0', 'a/2 twice 0', 'own/bob/x own 0', 'a/kept kept 0', 'end end 0'],
    'bob, retained': ['a/kept kept 1'],
    'admin, retained': ['a/kept kept 1'],
  },
};

const withCertificates: Answers = {
  tried: {
    ...expected.tried,
    certificate: 'ok',
    'certificate, elsewhere': 'ok',
    'certificate beats a name': 'ok',
    'no certificate': 'not connected',
    'of another authority': 'not connected',
  },
  heard: {
    ...expected.heard,
    reader: expected.heard.reader!.toSpliced(-1, 0, 'd/1 card 0'),
  },
};

const withAnonymous: Answers = {
  tried: { ...expected.tried, anonymous: 'ok' },
  heard: { ...expected.heard, anonymous: ['public/2 public 0', 'end end 0'] },
};

/** The files of one broker in a folder of its own, and its mosquitto.conf. */
async function prepare(t: Test, options: readonly string[], withTls: boolean): Promise<Place> {
  const folder = temporaryFolder(t, { pw: `${passwords}\n`, acl: rules });
  const [port, tlsPort] = [await freePort(), await freePort()];
  const lines = [
    `user ${userInfo().username}`,
    `password_file ${join(folder, 'pw')}`,
    `acl_file ${join(folder, 'acl')}`,
    ...options,
    `listener ${port} 127.0.0.1`,
  ];
  if (withTls) {
    const issued = issueCertificates(['localhost', '127.0.0.1'], Date.now());
    writeFileSync(join(folder, 'ca.pem'), issued.authority.certificate);
    writeFileSync(join(folder, 'ca.key'), issued.authority.key);
    writeFileSync(join(folder, 'server.pem'), issued.server.certificate);
    writeFileSync(join(folder, 'server.key'), issued.server.key);
    issueCard(folder, 'device-1', 'ca');
    const other = issueCertificates(['stranger'], Date.now());
    writeFileSync(join(folder, 'other.pem'), other.authority.certificate);
    writeFileSync(join(folder, 'other.key'), other.authority.key);
    issueCard(folder, 'stranger', 'other');
    lines.push(
      `listener ${tlsPort} 127.0.0.1`,
      `cafile ${join(folder, 'ca.pem')}`,
      `certfile ${join(folder, 'server.pem')}`,
      `keyfile ${join(folder, 'server.key')}`,
      'require_certificate true',
      'use_identity_as_username true',
    );
  }
  writeFileSync(join(folder, 'mosquitto.conf'), `${lines.join('\n')}\n`);
  return { port, tlsPort, folder };
}

function issueCard(folder: string, name: string, by: string): void {
  const openssl = (...args: string[]): void => {
    execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' });
  };
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const request = ['-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`];
  openssl('req', ...key, ...request);
  const signer = ['-CA', `${by}.pem`, '-CAkey', `${by}.key`, '-CAcreateserial'];
  openssl('x509', '-req', '-in', `${name}.csr`, ...signer, '-days', '2', '-out', `${name}.pem`);
}

async function askMosquitto(t: Test, place: Place, withTls: boolean): Promise<Answers> {
  const child = spawn(server!, ['-c', join(place.folder, 'mosquitto.conf')]);
  const ended = new Promise((resolve) => child.once('close', resolve));
  t.teardown(async () => {
    child.kill('SIGKILL');
    await ended;
  });
  await new Running(child).said('running');
  return ask(place, withTls);
}

async function askOurs(t: Test, place: Place, withTls: boolean): Promise<Answers> {
  const { folder } = place;
  const args = ['import', 'mosquitto', 'mosquitto.conf', '--dir', join(folder, 'ours')];
  const imported = await runCli(args, { cwd: folder });
  t.equal(imported.code, 0, imported.stderr);
  const broker = await Broker.start({ config: join(folder, 'ours', 'causeway.yaml') });
  t.teardown(() => broker.kill());
  const answers = await ask(place, withTls);
  t.strictSame(broker.errors, []);
  return answers;
}

/** One says `bad user name` for a wrong password, the other `not authorised`: both refuse. */
function plain(answers: Answers): Answers {
  const tried = Object.entries(answers.tried).map(([what, answer]) => [
    what,
    answer === 'bad user name' ? 'not authorised' : answer,
  ]);
  return { ...answers, tried: Object.fromEntries(tried) as Answers['tried'] };
}

for (const [name, options, withTls, answers] of [
  ['users, rules and certificates', ['allow_anonymous false'], true, withCertificates],
  ['anonymous clients with rules of their own', ['allow_anonymous true'], false, withAnonymous],
] as const) {
  t.test(name, async (t) => {
    const places = [
      await prepare(t, options, withTls),
      await prepare(t, options, withTls),
    ] as const;
    const [ours, theirs] = await Promise.all([
      askOurs(t, places[0], withTls),
      server === null ? answers : askMosquitto(t, places[1], withTls),
    ]);
    t.strictSame(plain(theirs), answers, 'mosquitto, as it is written down');
    t.strictSame(plain(ours), answers, 'ours, with what was imported');
  });
}
