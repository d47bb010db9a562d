/** `causeway passwd`: adds, changes and removes users of a password file. */
import { isUtf8 } from 'node:buffer';
import { AccessError } from '../../access/access-error.ts';
import { SCRAM_ITERATIONS_MAX, SCRAM_ITERATIONS_MIN } from '../../access/authn/hash-format.ts';
import {
  defaultCost,
  hashPassword,
  type NewHashAlgorithm,
} from '../../access/authn/hash-password.ts';
import { tenantProblem, userNameProblem } from '../../access/authn/password-file.ts';
import { PasswordFileEdit } from '../../access/authn/password-file-edit.ts';
import { isPrepared } from '../../access/authn/scram-prepare.ts';
import {
  type Command,
  EXIT_FAILED,
  EXIT_OK,
  EXIT_USAGE,
  type Flags,
  readArguments,
  UsageError,
} from '../command.ts';
import { HiddenInput } from '../hidden-input.ts';

const PASSWORD_BYTES_MAX = 0xffff;
const INPUT_BYTES_MAX = 16 * 1024 * 1024;
const WRONG_LINES_SHOWN_MAX = 20;

const costRange: { readonly [algorithm in NewHashAlgorithm]: readonly [number, number] } = {
  scrypt: [10, 17],
  argon2id: [8192, 262_144],
  'scram-sha-256': [SCRAM_ITERATIONS_MIN, SCRAM_ITERATIONS_MAX],
};

interface Choice {
  readonly algorithm: NewHashAlgorithm;
  readonly cost: number;
  readonly tenant: string | null;
  readonly superuser: boolean;
}

interface NewUser {
  readonly user: string;
  readonly password: Buffer;
}

/** Not a wrong command line: said without the hint at `--help`. */
class Refusal extends Error {}

export const command: Command = {
  name: 'passwd',
  summary: 'add, change and remove users of a password file',
  usage: `causeway passwd FILE USER [FLAGS]
causeway passwd FILE USER --delete
causeway passwd FILE --batch < USERS

Asks twice for the password without showing it. When stdin is no terminal, its one line is the
password. A password is never taken from the command line, where other users could read it.

      --create        make FILE when there is none, for its owner only (mode 0600)
      --delete        remove USER
      --algorithm scrypt|argon2id
                      how the password is hashed (default: scrypt)
      --scram         for SCRAM-SHA-256 of MQTT 5, which never sends the password; a client that
                      sends it to the password file is let in as well
      --cost N        scrypt: 10 to 17, each step doubles time and memory (default: 15, some
                      90 ms and 32 MiB); argon2id: KiB of memory, 8192 to 262144 (default: 19456,
                      some 40 ms); SCRAM: iterations of the client, 4096 to 1000000
                      (default: 16384)
      --tenant NAME   tenant of the user
      --superuser     the user may do everything outside $SYS and other $ topics
      --batch         read many users from stdin, one USER:PASSWORD a line; all or none are taken

Tenant and superuser of a user stay when only the password is changed; the file is plain text, to
be edited for the rest: USER:HASH or USER:HASH:tenant=NAME,superuser. Comments, order, owner and
the rights of owner and group stay; others lose theirs. A file with an error is not touched.
The hashes of mosquitto_passwd may stand in the same file.

A running broker reads the file when it reloads (SIGHUP).
`,
  async run(args) {
    const flags = readArguments(
      args,
      {
        create: { type: 'boolean' },
        delete: { type: 'boolean' },
        algorithm: { type: 'string' },
        scram: { type: 'boolean' },
        cost: { type: 'string' },
        tenant: { type: 'string' },
        superuser: { type: 'boolean' },
        batch: { type: 'boolean' },
      },
      3,
    );
    const [file, user, password] = flags.positionals;
    // Said without repeating it.
    if (password !== undefined) {
      throw new UsageError(
        'a password is not taken from the command line, where others can see it',
      );
    }
    if (file === undefined) throw new UsageError('FILE is missing');
    const isBatch = flags.values.has('batch');
    if (isBatch && user !== undefined) throw new UsageError('--batch takes no USER');
    if (!isBatch && user === undefined) throw new UsageError('USER is missing');
    try {
      if (flags.values.has('delete')) return await remove(file, user, flags);
      const choice = readChoice(flags);
      if (user !== undefined) requireUser(user, choice);
      // Before anybody types a password for a file that cannot take it.
      const edit = await PasswordFileEdit.open(file, flags.values.has('create'));
      const users = user === undefined ? await readBatch(choice) : [await readOne(user, choice)];
      return await set(edit, file, users, choice, flags);
    } catch (error) {
      if (error instanceof Refusal) return complain(error.message, EXIT_USAGE);
      if (error instanceof AccessError) return complain(error.message, EXIT_USAGE);
      throw error;
    }
  },
};

async function remove(file: string, user: string | undefined, flags: Flags): Promise<number> {
  const others = [...flags.values.keys()].filter((name) => name !== 'delete');
  if (others.length > 0) throw new UsageError(`--delete does not go with --${others[0]}`);
  if (user === undefined) throw new UsageError('USER is missing');
  const edit = await PasswordFileEdit.open(file, false);
  if (!edit.delete(user)) throw new Refusal(`${file}: there is no user ${JSON.stringify(user)}`);
  if (!(await save(edit))) return EXIT_FAILED;
  process.stdout.write(`${file}: removed ${JSON.stringify(user)}\n`);
  if (edit.size === 0) {
    process.stderr.write(`${file}: holds no user now; a broker does not start with it\n`);
  }
  return EXIT_OK;
}

async function set(
  edit: PasswordFileEdit,
  file: string,
  users: readonly NewUser[],
  choice: Choice,
  flags: Flags,
): Promise<number> {
  let added = 0;
  for (const { user, password } of users) {
    const known = edit.get(user);
    if (known === null) added += 1;
    const hash = await hashPassword(password, choice.algorithm, choice.cost);
    password.fill(0);
    edit.set(user, {
      hash,
      tenant: flags.values.has('tenant') ? choice.tenant : (known?.tenant ?? null),
      superuser: choice.superuser || (known?.superuser ?? false),
    });
  }
  const { isNew } = edit;
  if (!(await save(edit))) return EXIT_FAILED;
  const [first] = users;
  const who = users.length === 1 ? JSON.stringify(first?.user) : `${users.length} users`;
  const did = added === 0 ? 'changed' : added === users.length ? 'added' : 'added and changed';
  process.stdout.write(`${file}: ${isNew ? 'made, ' : ''}${did} ${who}\n`);
  return EXIT_OK;
}

/** False: it could not be written, which was said. */
async function save(edit: PasswordFileEdit): Promise<boolean> {
  try {
    await edit.save();
    return true;
  } catch (error) {
    if (!(error instanceof AccessError)) throw error;
    complain(error.message, EXIT_FAILED);
    return false;
  }
}

function readChoice(flags: Flags): Choice {
  const value = (name: string): string | undefined => flags.values.get(name)?.[0];
  const named = value('algorithm');
  const isScram = flags.values.has('scram');
  if (isScram && named !== undefined) {
    throw new UsageError('--scram does not go with --algorithm');
  }
  if (named !== undefined && named !== 'scrypt' && named !== 'argon2id') {
    throw new UsageError(`--algorithm is scrypt or argon2id, found ${named}`);
  }
  const algorithm = isScram ? 'scram-sha-256' : (named ?? 'scrypt');
  const tenant = value('tenant') ?? null;
  const wrong = tenant === null ? null : tenantProblem(tenant);
  if (wrong !== null) throw new UsageError(`--tenant: ${wrong}`);
  const cost = readCost(value('cost'), algorithm);
  return { algorithm, cost, tenant, superuser: flags.values.has('superuser') };
}

function readCost(text: string | undefined, algorithm: NewHashAlgorithm): number {
  if (text === undefined) return defaultCost[algorithm];
  const [min, max] = costRange[algorithm];
  const cost = /^\d{1,7}$/.test(text) ? Number(text) : Number.NaN;
  if (!(cost >= min && cost <= max)) {
    throw new UsageError(`--cost of ${algorithm} is a number from ${min} to ${max}, found ${text}`);
  }
  return cost;
}

function requireUser(user: string, { algorithm }: Choice): void {
  const wrong = userNameProblem(user);
  if (wrong !== null) throw new UsageError(wrong);
  if (algorithm === 'scram-sha-256' && !isPrepared(user)) {
    throw new UsageError('SCRAM clients would write this user name in several ways');
  }
}

async function readOne(user: string, choice: Choice): Promise<NewUser> {
  const password = process.stdin.isTTY ? await askTwice(user) : await readLine();
  const wrong = passwordProblem(password, choice);
  if (wrong !== null) throw new Refusal(wrong);
  return { user, password };
}

async function askTwice(user: string): Promise<Buffer> {
  const input = new HiddenInput(process.stdin, process.stderr);
  const first = await input.ask(`Password of ${JSON.stringify(user)}: `);
  const again = first === null ? null : await input.ask('Again: ');
  if (first === null || again === null) throw new Refusal('no password given; nothing is changed');
  if (!first.equals(again)) throw new Refusal('the two differ; nothing is changed');
  return first;
}

async function readLine(): Promise<Buffer> {
  const [line, ...more] = linesIn(await readInput());
  if (line === undefined) throw new Refusal('stdin holds no password; nothing is changed');
  if (more.length > 0) {
    throw new Refusal('stdin holds more than one line; nothing is changed (--batch takes many)');
  }
  return line;
}

/** All lines of stdin as `USER:PASSWORD`, or a Refusal that names the wrong ones by number. */
async function readBatch(choice: Choice): Promise<NewUser[]> {
  if (process.stdin.isTTY) throw new Refusal('--batch reads from a file or a pipe, not a terminal');
  const users = new Map<string, NewUser>();
  const wrong: string[] = [];
  for (const [index, line] of linesIn(await readInput()).entries()) {
    const read = readBatchLine(line, choice);
    if (typeof read === 'string') wrong.push(`line ${index + 1}: ${read}`);
    else if (users.has(read.user)) wrong.push(`line ${index + 1}: the user is named twice`);
    else users.set(read.user, read);
  }
  if (wrong.length > 0) {
    const shown = wrong.slice(0, WRONG_LINES_SHOWN_MAX);
    if (wrong.length > shown.length) shown.push(`and ${wrong.length - shown.length} more`);
    throw new Refusal(`stdin: ${shown.join('\nstdin: ')}\nnothing is changed`);
  }
  if (users.size === 0) throw new Refusal('stdin holds no users; nothing is changed');
  return [...users.values()];
}

/** The user, or what is wrong; that never holds a part of the line. */
function readBatchLine(line: Buffer, choice: Choice): NewUser | string {
  const colon = line.indexOf(0x3a);
  if (colon === -1) return 'expected USER:PASSWORD';
  const name = line.subarray(0, colon);
  if (!isUtf8(name)) return 'the user name is not UTF-8';
  const user = name.toString('utf8');
  const password = line.subarray(colon + 1);
  const wrong = userNameProblem(user) ?? passwordProblem(password, choice);
  if (wrong !== null) return wrong;
  if (choice.algorithm === 'scram-sha-256' && !isPrepared(user)) {
    return 'SCRAM clients would write this user name in several ways';
  }
  return { user, password };
}

function passwordProblem(password: Buffer, { algorithm }: Choice): string | null {
  if (password.length === 0) return 'the password is empty';
  if (password.at(-1) === 0) return 'the password ends with NUL';
  if (password.length > PASSWORD_BYTES_MAX) return 'the password is over 65535 bytes';
  if (algorithm !== 'scram-sha-256') return null;
  if (isUtf8(password) && isPrepared(password.toString('utf8'))) return null;
  return 'SCRAM clients would write this password in several ways; use plain letters and digits';
}

/** Lines without their ends; an empty last one is none. */
function linesIn(bytes: Buffer): Buffer[] {
  const lines: Buffer[] = [];
  let start = 0;
  while (start < bytes.length) {
    const feed = bytes.indexOf(0x0a, start);
    const end = feed === -1 ? bytes.length : feed;
    const isPair = feed !== -1 && end > start && bytes[end - 1] === 0x0d;
    lines.push(bytes.subarray(start, isPair ? end - 1 : end));
    start = end + 1;
  }
  return lines;
}

async function readInput(): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > INPUT_BYTES_MAX) throw new Refusal(`stdin holds over ${INPUT_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function complain(message: string, code: number): number {
  process.stderr.write(`${message}\n`);
  return code;
}
