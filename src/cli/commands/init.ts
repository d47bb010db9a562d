/** `causeway init`: a working, secure configuration in a new folder, and how to use it. */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { defaultCost, hashPassword } from '../../access/authn/hash-password.ts';
import { userNameProblem } from '../../access/authn/password-file.ts';
import { TokenStore } from '../../admin/api/token-store.ts';
import { formatProblem } from '../../config/layer.ts';
import {
  type Command,
  EXIT_FAILED,
  EXIT_OK,
  type Flags,
  readArguments,
  UsageError,
} from '../command.ts';
import { problemsOf } from '../config-problems.ts';
import { HiddenInput } from '../hidden-input.ts';
import { issueCertificates } from '../init/certificate.ts';
import {
  AUTHORITY_FILE,
  AUTHORITY_KEY_FILE,
  CERTIFICATE_FILE,
  CONFIG_FILE,
  DATA_FOLDER,
  KEY_FILE,
  planFiles,
  TOKENS_FILE,
} from '../init/plan.ts';
import { thisMachine } from '../machine.ts';

const PASSWORD_BYTES = 16;
const PASSWORD_CHARACTERS_MIN = 8;
const TOKEN_NAME = 'init';

/** Why it is not done; not a wrong command line. */
class Refusal extends Error {}

export const command: Command = {
  name: 'init',
  summary: 'write a working, secure configuration: TLS, one user, one rule, an API token',
  usage: `causeway init [--dir DIR] [--user NAME] [--host NAME]... [FLAGS]

Writes into DIR (default ./causeway): causeway.yaml, users, rules, certificates, an empty data folder
and the first API token. Other machines have to use TLS, nobody gets in without a password, the API
listens on this machine only. Password and token are shown once; files keep hashes of them. Nothing
is overwritten.

      --dir DIR            where to write
      --user NAME          the first user (default: device)
      --generate           make up the password instead of asking for it; without a terminal it is
                           always made up
      --host NAME          name or address by which clients reach this machine, for the certificate;
                           may be repeated (default: its host name and addresses)
      --tls self-signed    make an authority and a certificate signed by it (default), or
      --tls CERT,KEY       use these PEM files
      --port PORT          of MQTT with TLS (default 8883)
      --local-port PORT    of MQTT for this machine (default 1883)
      --admin-port PORT    of the API (default 8080)
`,
  async run(args) {
    const flags = readArguments(args, {
      dir: { type: 'string' },
      user: { type: 'string' },
      generate: { type: 'boolean' },
      host: { type: 'string', multiple: true },
      tls: { type: 'string' },
      port: { type: 'string' },
      'local-port': { type: 'string' },
      'admin-port': { type: 'string' },
    });
    try {
      process.stdout.write(await initialize(new Choices(flags)));
      return EXIT_OK;
    } catch (error) {
      const isOurs =
        error instanceof Refusal || (error as NodeJS.ErrnoException).code !== undefined;
      if (error instanceof UsageError || !isOurs) throw error;
      process.stderr.write(`causeway init: ${(error as Error).message}\n`);
      return EXIT_FAILED;
    }
  },
};

/** The flags, checked. */
class Choices {
  readonly folder: string;
  readonly user: string;
  readonly mayAsk: boolean;
  readonly hosts: readonly string[];
  /** Null: a new certificate. */
  readonly files: { readonly certFile: string; readonly keyFile: string } | null;
  readonly port: number;
  readonly localPort: number;
  readonly adminPort: number;

  constructor(flags: Flags) {
    const single = (name: string): string | undefined => flags.values.get(name)?.[0];
    const port = (name: string, fallback: number): number => {
      const text = single(name) ?? String(fallback);
      const number = /^\d{1,5}$/.test(text) ? Number(text) : 0;
      if (number < 1 || number > 65_535) throw new UsageError(`--${name} is a port, 1 to 65535`);
      return number;
    };
    this.folder = resolve(single('dir') ?? 'causeway');
    this.user = single('user') ?? 'device';
    const problem = userNameProblem(this.user);
    if (problem !== null) throw new UsageError(`--user: ${problem}`);
    this.mayAsk = !flags.values.has('generate');
    this.hosts = readHosts(flags.values.get('host') ?? []);
    this.files = readFiles(single('tls') ?? 'self-signed');
    this.port = port('port', 8883);
    this.localPort = port('local-port', 1883);
    this.adminPort = port('admin-port', 8080);
  }
}

function readHosts(given: readonly string[]): string[] {
  for (const host of given) {
    const isName = /^[a-z0-9_*]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_-]+)*$/i.test(host);
    if (isIP(host) === 0 && (!isName || host.length > 253 || /^[\d.]+$/.test(host))) {
      throw new UsageError(`--host: ${JSON.stringify(host)} is neither a name nor an IP address`);
    }
  }
  const { hostName, addresses } = thisMachine;
  const own = given.length > 0 ? given : [hostName, ...addresses];
  return [...new Set([...own, 'localhost', '127.0.0.1', '::1'])];
}

function readFiles(text: string): Choices['files'] {
  if (text === 'self-signed') return null;
  const [certFile, keyFile, more] = text.split(',');
  if (!certFile || !keyFile || more !== undefined) {
    throw new UsageError('--tls is self-signed, or CERT,KEY with the names of two PEM files');
  }
  return { certFile: resolve(certFile), keyFile: resolve(keyFile) };
}

interface Password {
  readonly bytes: Buffer;
  readonly isMadeUp: boolean;
}

async function readPassword({ user, mayAsk }: Choices): Promise<Password> {
  const { stdin } = process;
  if (mayAsk && stdin.isTTY === true) {
    const input = new HiddenInput(stdin, process.stderr);
    const first = await input.ask(`Password of ${user} (empty: one is made up): `);
    if (first === null) throw new Refusal('no password was given; nothing was written');
    if (first.length > 0) {
      if (first.length < PASSWORD_CHARACTERS_MIN) {
        throw new Refusal(`a password has at least ${PASSWORD_CHARACTERS_MIN} characters`);
      }
      const second = await input.ask('Once more: ');
      if (second === null || !first.equals(second)) {
        throw new Refusal('the two passwords differ; nothing was written');
      }
      return { bytes: first, isMadeUp: false };
    }
  }
  const bytes = Buffer.from(randomBytes(PASSWORD_BYTES).toString('hex'));
  return { bytes, isMadeUp: true };
}

/** Writes everything; gives what to tell. */
async function initialize(choices: Choices): Promise<string> {
  const { folder, hosts, files } = choices;
  for (const file of files === null ? [] : [files.certFile, files.keyFile]) readFileSync(file);
  const texts = new Map<string, string>();
  const nowMs = Date.now();
  const issued = files === null ? issueCertificates(hosts, nowMs) : null;
  if (issued !== null) {
    texts.set(AUTHORITY_FILE, issued.authority.certificate);
    texts.set(AUTHORITY_KEY_FILE, issued.authority.key);
    texts.set(CERTIFICATE_FILE, issued.server.certificate);
    texts.set(KEY_FILE, issued.server.key);
  }
  refuseOverwriting(folder, [...texts.keys(), CONFIG_FILE, TOKENS_FILE, DATA_FOLDER]);
  const password = await readPassword(choices);
  const plan = planFiles({
    ...choices,
    passwordHash: await hashPassword(password.bytes, 'scrypt', defaultCost.scrypt),
    certFile: files?.certFile ?? CERTIFICATE_FILE,
    keyFile: files?.keyFile ?? KEY_FILE,
    anyHost: thisMachine.hasIpv6 ? '[::]' : '0.0.0.0',
  });
  for (const [name, text] of plan) texts.set(name, text);
  refuseOverwriting(folder, [...texts.keys()]);
  mkdirSync(join(folder, DATA_FOLDER), { recursive: true, mode: 0o700 });
  for (const [name, text] of texts) {
    const file = join(folder, name);
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    // `wx`: also what appeared since it was looked for.
    writeFileSync(file, text, { flag: 'wx', mode: 0o600 });
  }
  const tokens = new TokenStore({ file: join(folder, TOKENS_FILE), wallMs: () => nowMs });
  const { token } = await tokens.create({ name: TOKEN_NAME, role: 'admin', expiresInS: null });
  const problems = await problemsOf(join(folder, CONFIG_FILE));
  if (problems.length > 0) {
    throw new Refusal(`it was written, but: ${problems.map(formatProblem).join('\n')}`);
  }
  return toldOf(choices, password, token, issued?.serverExpiresAtMs ?? null);
}

function refuseOverwriting(folder: string, names: readonly string[]): void {
  const there = names.map((name) => join(folder, name)).find((file) => existsSync(file));
  if (there !== undefined) throw new Refusal(`${there} is there already; nothing was written`);
}

function toldOf(
  choices: Choices,
  password: Password,
  token: string,
  expiresAtMs: number | null,
): string {
  const { folder, user, hosts, port, localPort, adminPort } = choices;
  const config = quote(join(folder, CONFIG_FILE));
  const secret = password.isMadeUp ? password.bytes.toString() : 'PASSWORD';
  const who = `-u ${quote(user)} -P ${quote(secret)}`;
  const authority = expiresAtMs === null ? '' : ` --cafile ${quote(join(folder, AUTHORITY_FILE))}`;
  const url = adminPort === 8080 ? '' : ` --url http://127.0.0.1:${adminPort}`;
  const shown = password.isMadeUp
    ? `  user ${user}, password ${secret}\n`
    : `  user ${user}, the password you gave\n`;
  const expiry =
    expiresAtMs === null
      ? ''
      : `The certificate is for ${hosts.join(', ')},\nuntil ${new Date(expiresAtMs).toISOString().slice(0, 10)}. ` +
        `Clients need ${join(folder, AUTHORITY_FILE)}; keep ca.key to yourself.\n`;
  return `Written to ${folder}. These are shown once:

${shown}  API token ${token}

${expiry}
Start:
  causeway start --config ${config}

From another machine (this one too), with TLS:
  mosquitto_sub -h ${quote(hosts[0]!)} -p ${port}${authority} ${who} -t 'test/#' -v
  mosquitto_pub -h ${quote(hosts[0]!)} -p ${port}${authority} ${who} -t test/hello -m hi

On this machine:
  mosquitto_pub -h 127.0.0.1 -p ${localPort} ${who} -t test/hello -m hi
  CAUSEWAY_API_TOKEN=${token} causeway ctl${url} clients
`;
}

/** For a shell. */
function quote(text: string): string {
  return /^[A-Za-z0-9_./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
