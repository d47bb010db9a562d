#!/usr/bin/env node
// Finds, or fetches, what a Cassandra of one's own is made of: a Java that it runs on, and its jars
// from Maven Central, kept per user outside every checkout. Called by scripts/test.ts before tests
// that need one; scripts/cassandra-node.ts starts servers of it.
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { aptInstall, ask, mayInstall, onPath } from './programs.ts';

export const CASSANDRA_VERSION = '5.0.6';

export interface CassandraKit {
  /** The program. */
  readonly java: string;
  /** The folder. */
  readonly jars: string;
}

interface Jar {
  readonly bytes: number;
  readonly sha256: string;
}

/** What Cassandra 5 says it runs on. */
const JAVA_VERSIONS: readonly number[] = [17, 11];
const JAVA_PACKAGE = 'openjdk-17-jre-headless';
const MAVEN_PACKAGE = 'maven';
const COPY_GOAL = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies';
const FETCH_MS_MAX = 900_000;
const HOW = `Cassandra: needs Java 17 and Maven; run: apt-get install ${JAVA_PACKAGE} ${MAVEN_PACKAGE}`;

/** Where what is not of one checkout alone is kept. */
function cacheFolder(): string {
  const told = process.env.XDG_CACHE_HOME;
  const base = told?.startsWith('/') ? told : join(homedir(), '.cache');
  return join(base, 'causeway');
}

function jarsFolder(): string {
  return join(cacheFolder(), `cassandra-${CASSANDRA_VERSION}`);
}

/** Lists what must be in the folder; written when everything is. */
function manifestOf(folder: string): string {
  return join(folder, 'jars.json');
}

function javaVersion(java: string): number {
  const said = /version "(\d+)(?:\.(\d+))?/.exec(ask(java, ['-version']).output);
  return said === null ? 0 : Number(said[1] === '1' ? said[2] : said[1]);
}

let javaFound: string | undefined;

function findJava(): string | undefined {
  if (javaFound !== undefined) return javaFound;
  const home = process.env.JAVA_HOME;
  const installed = '/usr/lib/jvm';
  const candidates = [
    home === undefined || home === '' ? undefined : join(home, 'bin', 'java'),
    onPath('java'),
    ...(existsSync(installed) ? readdirSync(installed) : []).map((name) =>
      join(installed, name, 'bin', 'java'),
    ),
  ].filter((path) => path !== undefined && existsSync(path)) as string[];
  const versions = new Map(candidates.map((path) => [path, javaVersion(path)]));
  for (const version of JAVA_VERSIONS) {
    javaFound ??= candidates.find((path) => versions.get(path) === version);
  }
  return javaFound;
}

/** Undefined when all is there and, where `isThorough`, is what was fetched; else what is wrong. */
function flawOf(folder: string, isThorough: boolean): string | undefined {
  let jars: [string, Jar][];
  try {
    jars = Object.entries(JSON.parse(readFileSync(manifestOf(folder), 'utf8')));
  } catch {
    return `${folder} has no list of its jars`;
  }
  if (!jars.some(([name]) => name === `cassandra-all-${CASSANDRA_VERSION}.jar`)) {
    return `${folder} has no Cassandra`;
  }
  for (const [name, jar] of jars) {
    const path = join(folder, name);
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat === undefined) return `${path} is missing`;
    if (stat.size !== jar.bytes) return `${path} is not whole`;
    if (isThorough && sha256(path) !== jar.sha256) return `${path} is not what was fetched`;
  }
  return undefined;
}

function sha256(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

/** What a server is started from, or undefined when there is none yet. */
export function findCassandra(): CassandraKit | undefined {
  const java = findJava();
  const jars = jarsFolder();
  return java === undefined || flawOf(jars, false) !== undefined ? undefined : { java, jars };
}

/** What a server is started from; throws with what is to be done when there is nothing. */
export function cassandraKit(): CassandraKit {
  const found = findCassandra();
  if (found !== undefined) return found;
  const fetch = `then: node ${fileURLToPath(import.meta.url)}`;
  throw new Error(`${HOW}\n${fetch}`);
}

function pom(): string {
  return `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>causeway.test</groupId>
  <artifactId>cassandra-kit</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.cassandra</groupId>
      <artifactId>cassandra-all</artifactId>
      <version>${CASSANDRA_VERSION}</version>
    </dependency>
  </dependencies>
</project>
`;
}

/** Fetches the jars unless they are there by now; to be run by one process at a time. */
function fetchJars(): string | undefined {
  const target = jarsFolder();
  const flaw = flawOf(target, true);
  if (flaw === undefined) return undefined;
  const maven = onPath('mvn');
  if (maven === undefined) return HOW;
  const project = mkdtempSync(join(tmpdir(), 'causeway-maven-'));
  // Filled under another name: whoever looks sees all of it or nothing.
  const folder = `${target}.${process.pid}`;
  try {
    writeFileSync(join(project, 'pom.xml'), pom());
    const options = ['--batch-mode', '--strict-checksums', '--quiet'];
    const goal = [COPY_GOAL, '-DincludeScope=runtime', `-DoutputDirectory=${folder}`];
    const fetched = ask(maven, [...options, ...goal], project, FETCH_MS_MAX);
    if (!fetched.isOk) return `Maven could not fetch Cassandra:\n${fetched.output}`;
    const jars: Record<string, Jar> = {};
    for (const name of readdirSync(folder)) {
      const path = join(folder, name);
      jars[name] = { bytes: statSync(path).size, sha256: sha256(path) };
    }
    writeFileSync(manifestOf(folder), `${JSON.stringify(jars, null, 2)}\n`);
    // One that was broken; servers that run keep the files they have open.
    rmSync(target, { recursive: true, force: true });
    renameSync(folder, target);
    return flawOf(target, true);
  } finally {
    rmSync(project, { recursive: true, force: true });
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Several checkouts may be tested at one time: the second waits for what the first fetches. */
function fetchAlone(): string | undefined {
  mkdirSync(cacheFolder(), { recursive: true });
  const flock = onPath('flock');
  if (flock === undefined) return fetchJars();
  const lock = join(cacheFolder(), 'cassandra.lock');
  const self = [process.execPath, fileURLToPath(import.meta.url), '--fetch'];
  const done = ask(flock, [lock, ...self], undefined, 2 * FETCH_MS_MAX);
  return done.isOk ? undefined : done.output;
}

/** Makes a Cassandra available; answers with what is wrong, and how to get it. */
export function provideCassandra(): string | undefined {
  const lacking: string[] = [];
  if (findJava() === undefined) lacking.push(JAVA_PACKAGE);
  const isFetched = flawOf(jarsFolder(), true) === undefined;
  if (!isFetched && onPath('mvn') === undefined) lacking.push(MAVEN_PACKAGE);
  if (lacking.length > 0) {
    if (!mayInstall()) return HOW;
    console.log(`        getting ${lacking.join(', ')}`);
    const installed = aptInstall(...lacking);
    if (findJava() === undefined || !installed.isOk) return `${HOW}\n${installed.output}`;
  }
  if (isFetched) return undefined;
  console.log(`        getting Cassandra ${CASSANDRA_VERSION}`);
  return fetchAlone();
}

if (import.meta.main) {
  const problem = process.argv[2] === '--fetch' ? fetchJars() : provideCassandra();
  if (problem !== undefined) console.error(problem);
  process.exitCode = problem === undefined ? 0 : 1;
}
