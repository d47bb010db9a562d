#!/usr/bin/env node
// Finds, or installs, the programs that tests need from outside: mosquitto's command-line clients and
// paho for Python, which judge us, mosquitto's server, a Redis server, and HAProxy (Cassandra:
// provide-cassandra.ts). Called by
// scripts/test.ts; tests ask for paths.
// What it installs itself goes to node_modules/.cache, except that root lets apt-get install.
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { aptInstall, ask, mayInstall, onPath } from './programs.ts';
import { provideCassandra } from './provide-cassandra.ts';

export type MosquittoClient = 'mosquitto_pub' | 'mosquitto_sub' | 'mosquitto_rr';

/** Where clients that were not installed for the whole machine are. */
export const foreignBin: string = fileURLToPath(
  new URL('../node_modules/.cache/foreign/bin', import.meta.url),
);
const cache = fileURLToPath(new URL('../node_modules/.cache/foreign', import.meta.url));
const clients: readonly MosquittoClient[] = ['mosquitto_pub', 'mosquitto_sub', 'mosquitto_rr'];
/** What the clients need beyond a plain Debian, when they are unpacked instead of installed. */
const clientPackages = ['mosquitto-clients', 'libmosquitto1', 'libcjson1'];
const serverPackages = [
  ...[
    'mosquitto',
    'libcap2',
    'libcjson1',
    'libdlt2',
    'libnsl2',
    'libssl3',
    'libsystemd0',
    'libwrap0',
  ],
  ...[
    'libtirpc3',
    'libgssapi-krb5-2',
    'libkrb5-3',
    'libk5crypto3',
    'libkrb5support0',
    'libkeyutils1',
  ],
];
const howServer = 'mosquitto: not found; run: apt-get install mosquitto';
/** The server itself comes with the tools. */
const redisPackages = ['redis-server', 'redis-tools', 'libjemalloc2', 'liblzf1'];
const howRedis = 'redis-server: not found; run: apt-get install redis-server';
const haproxyPackages = [
  ...['haproxy', 'liblua5.3-0', 'libopentracing-c-wrapper0', 'libopentracing1'],
  ...['libpcre2-8-0', 'libssl3', 'libsystemd0', 'libcrypt1'],
];
const howHaproxy = 'haproxy: not found; run: apt-get install haproxy';
const pahoPackage = 'paho-mqtt>=2,<3';
const howClients = 'mosquitto clients: not found; run: apt-get install mosquitto-clients';
const howPaho = `paho: needs python3 with venv; run: python3 -m pip install '${pahoPackage}'`;

/** Absolute path of one of mosquitto's clients, or undefined when there is none yet. */
export function findMosquitto(name: MosquittoClient): string | undefined {
  const own = join(foreignBin, name);
  return onPath(name) ?? (existsSync(own) ? own : undefined);
}

/** Absolute path of one of mosquitto's clients; throws with the command that installs it. */
export function mosquitto(name: MosquittoClient): string {
  const found = findMosquitto(name);
  if (found === undefined) throw new Error(howClients);
  return found;
}

function hasPaho(python: string): boolean {
  const test = 'import sys, paho.mqtt as p; sys.exit(p.__version__.split(".")[0] != "2")';
  return ask(python, ['-c', test]).isOk;
}

let pahoFound: string | undefined;

/** A Python that can import paho 2, or undefined when there is none yet. */
export function findPahoPython(): string | undefined {
  if (pahoFound !== undefined) return pahoFound;
  const own = join(cache, 'paho', 'bin', 'python');
  if (existsSync(own)) pahoFound = own;
  else {
    const system = onPath('python3');
    if (system !== undefined && hasPaho(system)) pahoFound = system;
  }
  return pahoFound;
}

/** A Python that can import paho 2; throws with the command that installs it. */
export function pahoPython(): string {
  const found = findPahoPython();
  if (found === undefined) throw new Error(howPaho);
  return found;
}

/** Builds a folder under another name first, so that nobody ever sees half of it. */
function settle(name: string, build: (folder: string) => string | undefined): string | undefined {
  const target = join(cache, name);
  const folder = `${target}.${process.pid}`;
  mkdirSync(folder, { recursive: true });
  try {
    const problem = build(folder);
    if (problem !== undefined) return problem;
    if (!existsSync(target)) renameSync(folder, target);
    return undefined;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Without root: fetch Debian's packages and unpack them, with wrappers that find the libraries. */
function unpack(
  place: string,
  packages: readonly string[],
  names: readonly string[],
  proof: { readonly args: readonly string[]; readonly says: (name: string) => string },
  programs: 'bin' | 'sbin' = 'bin',
): string | undefined {
  const problem = settle(place, (folder) => {
    const fetched = ask('apt-get', ['download', ...packages], folder);
    if (!fetched.isOk) return fetched.output;
    for (const file of readdirSync(folder).filter((name) => name.endsWith('.deb'))) {
      const unpacked = ask('dpkg-deb', ['-x', file, '.'], folder);
      if (!unpacked.isOk) return unpacked.output;
    }
    return undefined;
  });
  if (problem !== undefined) return problem;
  const triple = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
  const folders = [join('usr', 'lib', triple), join('lib', triple)];
  const libraries = folders.map((folder) => join(cache, place, folder)).join(':');
  mkdirSync(foreignBin, { recursive: true });
  for (const name of names) {
    const real = join(cache, place, 'usr', programs, name);
    const wrapper = join(foreignBin, `.${name}.${process.pid}`);
    writeFileSync(wrapper, `#!/bin/sh\nLD_LIBRARY_PATH='${libraries}' exec '${real}' "$@"\n`);
    chmodSync(wrapper, 0o755);
    const answer = ask(wrapper, proof.args);
    if (!answer.output.includes(proof.says(name))) {
      rmSync(wrapper);
      return `${name} does not start: ${answer.output}`;
    }
    renameSync(wrapper, join(foreignBin, name));
  }
  return undefined;
}

function unpackClients(): string | undefined {
  const says = (name: string): string => `${name} version`;
  return unpack('debian', clientPackages, clients, { args: ['--help'], says });
}

/** Absolute path of a Redis server, or undefined when there is none yet. */
export function findRedisServer(): string | undefined {
  const own = join(foreignBin, 'redis-server');
  return onPath('redis-server') ?? (existsSync(own) ? own : undefined);
}

/** Absolute path of a Redis server; throws with the command that installs it. */
export function redisServer(): string {
  const found = findRedisServer();
  if (found === undefined) throw new Error(howRedis);
  return found;
}

/** Makes a Redis server available; answers with what is wrong, and how to get it. */
export function provideRedis(): string | undefined {
  if (findRedisServer() !== undefined) return undefined;
  if (onPath('apt-get') === undefined) return howRedis;
  console.log('        getting redis-server');
  const proof = { args: ['--version'], says: () => 'Redis server v=' };
  const problem =
    process.getuid?.() === 0
      ? aptInstall('redis-server').output
      : unpack('redis', redisPackages, ['redis-server'], proof);
  return findRedisServer() !== undefined ? undefined : `${howRedis}\n${problem ?? ''}`;
}

/** Absolute path of HAProxy, or undefined when there is none yet. Debian has it where few paths look. */
export function findHaproxy(): string | undefined {
  const own = [join(foreignBin, 'haproxy'), '/usr/sbin/haproxy'];
  return onPath('haproxy') ?? own.find((file) => existsSync(file));
}

/** Absolute path of HAProxy; throws with the command that installs it. */
export function haproxy(): string {
  const found = findHaproxy();
  if (found === undefined) throw new Error(howHaproxy);
  return found;
}

/** Makes HAProxy available; answers with what is wrong, and how to get it. */
export function provideHaproxy(): string | undefined {
  if (findHaproxy() !== undefined) return undefined;
  if (onPath('apt-get') === undefined) return howHaproxy;
  console.log('        getting haproxy');
  const proof = { args: ['-v'], says: () => 'HAProxy version' };
  const problem =
    process.getuid?.() === 0
      ? aptInstall('haproxy').output
      : unpack('haproxy', haproxyPackages, ['haproxy'], proof, 'sbin');
  return findHaproxy() !== undefined ? undefined : `${howHaproxy}\n${problem ?? ''}`;
}

/** Absolute path of mosquitto's server, or undefined when there is none yet. */
export function findMosquittoServer(): string | undefined {
  const own = [join(foreignBin, 'mosquitto'), '/usr/sbin/mosquitto', '/usr/local/sbin/mosquitto'];
  return onPath('mosquitto') ?? own.find((file) => existsSync(file));
}

/** Absolute path of mosquitto's server; throws with the command that installs it. */
export function mosquittoServer(): string {
  const found = findMosquittoServer();
  if (found === undefined) throw new Error(howServer);
  return found;
}

/** Unpacked for root, too: installed, Debian would start it as a service at port 1883. */
function provideMosquittoServer(): string | undefined {
  if (findMosquittoServer() !== undefined) return undefined;
  if (onPath('apt-get') === undefined) return howServer;
  console.log('        getting mosquitto');
  const proof = { args: ['-h'], says: () => 'mosquitto version' };
  const once = (): string | undefined =>
    unpack('mosquitto', serverPackages, ['mosquitto'], proof, 'sbin');
  let problem = once();
  // Lists of packages may be missing or old.
  if (problem !== undefined && mayInstall() && ask('apt-get', ['update']).isOk) problem = once();
  return findMosquittoServer() !== undefined ? undefined : `${howServer}\n${problem ?? ''}`;
}

function provideClients(): string | undefined {
  const isThere = (): boolean => clients.every((name) => findMosquitto(name) !== undefined);
  if (isThere()) return undefined;
  if (onPath('apt-get') === undefined) return howClients;
  console.log('        getting mosquitto-clients');
  const problem =
    process.getuid?.() === 0 ? aptInstall('mosquitto-clients').output : unpackClients();
  return isThere() ? undefined : `${howClients}\n${problem ?? ''}`;
}

/** A virtual environment knows its own path, so it is built under a name of its own and linked. */
function makeVenv(python: string): string | undefined {
  const folder = join(cache, `paho.${process.pid}`);
  const made = ask(python, ['-m', 'venv', '--clear', folder]);
  const pip = ['install', '--disable-pip-version-check', pahoPackage];
  const installed = made.isOk ? ask(join(folder, 'bin', 'pip'), pip) : made;
  if (installed.isOk && !existsSync(join(cache, 'paho'))) {
    symlinkSync(folder, join(cache, 'paho'));
    return undefined;
  }
  rmSync(folder, { recursive: true, force: true });
  return installed.isOk ? undefined : installed.output;
}

function providePaho(): string | undefined {
  if (findPahoPython() !== undefined) return undefined;
  const isRoot = process.getuid?.() === 0 && onPath('apt-get') !== undefined;
  console.log('        getting paho-mqtt');
  if (isRoot && onPath('python3') === undefined) aptInstall('python3', 'python3-venv');
  const python = onPath('python3');
  if (python === undefined) return howPaho;
  mkdirSync(cache, { recursive: true });
  let problem = makeVenv(python);
  if (problem !== undefined && isRoot && aptInstall('python3-venv').isOk)
    problem = makeVenv(python);
  return problem === undefined ? undefined : `${howPaho}\n${problem}`;
}

/** Makes every foreign client, and mosquitto's server, available. Answers with what could not be had, and how to get it. */
export function provide(): string[] {
  return [provideClients(), provideMosquittoServer(), providePaho()].filter(
    (problem) => problem !== undefined,
  );
}

if (import.meta.main) {
  const problems = [...provide(), provideRedis(), provideHaproxy(), provideCassandra()];
  const lacking = problems.filter((problem) => problem !== undefined);
  for (const problem of lacking) console.error(problem);
  process.exitCode = lacking.length === 0 ? 0 : 1;
}
