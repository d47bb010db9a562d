/**
 * Mosquitto's configuration as ours: a tree of options, the files that come along, and what could not
 * be carried. Where more would be let in than before, something is shut instead. Writes nothing.
 */
import { resolve } from 'node:path';
import { putAt, type Tree } from '../../config/layer.ts';
import type { Machine } from '../machine.ts';
import { convertBridges } from './convert-bridge.ts';
import { convertNode } from './convert-limits.ts';
import { type ConvertedListener, convertListener } from './convert-listener.ts';
import type { MosquittoConfig, MosquittoListener, Settings } from './mosquitto-config.ts';
import { ImportError } from './mosquitto-lines.ts';
import type { Notes } from './note.ts';

export interface Converted {
  readonly tree: Tree;
  /** Files to copy beside the configuration: absolute name, and name there. */
  readonly copies: ReadonlyMap<string, string>;
  /** Files to write there: name and content. */
  readonly made: ReadonlyMap<string, string>;
  /** Nobody has a password yet: the password file needs a user whose password nobody knows. */
  readonly needsLockedUser: boolean;
}

const fileNames = {
  password_file: 'passwords',
  acl_file: 'mosquitto.acl',
  psk_file: 'psk',
} as const;
type FileOption = keyof typeof fileNames;

interface Kept {
  readonly listener: MosquittoListener;
  readonly security: Settings;
  readonly converted: ConvertedListener;
}

export function convert(
  config: MosquittoConfig,
  folder: string,
  machine: Machine,
  notes: Notes,
): Converted {
  tellPlugins(config, notes);
  const made = new Map<string, string>();
  const context = { folder, machine, notes, hasPlugin: config.plugins.length > 0, made };
  const prefixes = config.node.get('clientid_prefixes');
  if (prefixes !== null) {
    const why = 'there is no rule about who may connect by client id; every listener is left out';
    notes.closed(prefixes.where, `clientid_prefixes: ${why}`);
    throw new ImportError(
      `${prefixes.where}: clientid_prefixes cannot be carried: remove it first`,
    );
  }
  const kept: Kept[] = [];
  for (const listener of config.listeners) {
    const security = config.perListener ? listener.security : config.security;
    const converted = convertListener(listener, security, context);
    if (converted !== null) kept.push({ listener, security, converted });
  }
  const shared = new SharedFiles(kept, folder, notes);
  const served = kept.filter((one) => shared.take(one));
  if (served.length === 0) throw new ImportError('nothing is left to listen on');
  for (const { listener, converted } of served) {
    if (converted.chain.length > 0 || !shared.has('acl_file')) continue;
    notes.lost(
      listener.where,
      'nobody proves a user name at this listener, so for rules every client is anonymous here; ' +
        'mosquitto believed the name',
    );
  }
  const tree: Tree = {};
  const needsLockedUser = putAccess(tree, served, shared);
  convertNode(config, folder, tree, notes);
  const hasRules = shared.has('acl_file');
  const { bridges: blocks, node } = config;
  const bridges = convertBridges(blocks, { folder, notes, node, hasRules, made });
  if (bridges.length > 0) putAt(tree, 'bridges', bridges);
  return { tree, copies: shared.copies, made, needsLockedUser };
}

/** Values of plugin options may be secrets: only their names are told. */
function tellPlugins(config: MosquittoConfig, notes: Notes): void {
  for (const { where, name, value } of config.plugins) {
    const path = name.includes('_opt_') || name.endsWith('special_chars') ? '' : ` ${value}`;
    notes.closed(
      where,
      `${name.slice(0, 60)}${path}: plugins are not loaded; until authentication (http, redis, jwt) or ` +
        'users are configured, only who is in the password file gets in',
    );
  }
}

/**
 * There is one password file, one file of rules and one of keys for all listeners: those that most of
 * them have. A listener with others is left out: its users must not be let in elsewhere, nor those of
 * others at it.
 */
class SharedFiles {
  readonly copies = new Map<string, string>();
  readonly #folder: string;
  readonly #notes: Notes;
  /** Of each kind the one for all. */
  readonly #chosen = new Map<FileOption, string>();

  constructor(all: readonly Kept[], folder: string, notes: Notes) {
    this.#folder = folder;
    this.#notes = notes;
    for (const option of Object.keys(fileNames) as FileOption[]) {
      const uses = new Map<string, number>();
      for (const kept of all) {
        const file = this.#fileOf(kept, option);
        if (file !== null) uses.set(file, (uses.get(file) ?? 0) + 1);
      }
      const [most] = [...uses].sort(([, left], [, right]) => right - left);
      if (most !== undefined) this.#chosen.set(option, most[0]);
    }
  }

  has(option: FileOption): boolean {
    return [...this.copies.values()].includes(fileNames[option]);
  }

  /** False: the listener needs other files than most. */
  take(kept: Kept): boolean {
    for (const option of this.#chosen.keys()) {
      const file = this.#fileOf(kept, option);
      if (file === null || file === this.#chosen.get(option)) continue;
      this.#notes.closed(
        kept.security.get(option)!.where,
        `${option}: another listener has a different one, and there is one for all here; the ` +
          'listener is left out',
      );
      return false;
    }
    for (const [option, file] of this.#chosen) {
      if (this.#fileOf(kept, option) !== null) this.copies.set(file, fileNames[option]);
      else if (option === 'acl_file') {
        this.#notes.lost(
          kept.listener.where,
          'this listener had no acl_file: the rules of the others hold for it too; a rule with ' +
            '`listener` can allow what was allowed',
        );
      } else if (kept.converted.chain.includes('password') && option === 'password_file') {
        this.#notes.closed(
          kept.listener.where,
          'this listener had no password_file: the users of the others can log in at it now; it is ' +
            'left out',
        );
        return false;
      }
    }
    return true;
  }

  /** The file the listener uses, or null. */
  #fileOf({ security, converted }: Kept, option: FileOption): string | null {
    const directive = security.get(option);
    if (directive === null) return null;
    const isPsk = (converted.section.tls as Tree | undefined)?.psk === true;
    if (option === 'password_file' && !converted.chain.includes('password')) return null;
    if (option === 'psk_file' && !isPsk) return null;
    return resolve(this.#folder, directive.value);
  }
}

/** Listeners, who proves what, and rules; true when nobody can have a password yet. */
function putAccess(tree: Tree, served: readonly Kept[], shared: SharedFiles): boolean {
  const all = served.map(({ converted }) => converted);
  const isSame = all.every(
    ({ chain, anonymous }) =>
      anonymous === all[0]!.anonymous && chain.join() === all[0]!.chain.join(),
  );
  const listeners = all.flatMap(({ urls, section, chain, anonymous }) =>
    urls.map((url): Tree => {
      // A listener that asks nobody says nothing: a chain that is given is never empty.
      const own =
        isSame || chain.length === 0 ? {} : { authentication: { chain: [...chain], anonymous } };
      return { url, ...section, ...own };
    }),
  );
  putAt(tree, 'listeners', listeners);
  if (all.some(({ isLoopback, anonymous }) => anonymous && !isLoopback)) {
    putAt(tree, 'allowAnonymousBeyondLoopback', true);
  }
  const asked = new Set(all.flatMap(({ chain }) => chain));
  const usesPsk = all.some(({ section }) => (section.tls as Tree | undefined)?.psk === true);
  const isOpenSomewhere = all.some(({ chain }) => chain.length === 0);
  if (!isOpenSomewhere) {
    // What a listener does not say itself is the strict way.
    putAt(tree, 'authentication.chain', isSame ? [...all[0]!.chain] : ['password']);
    putAt(tree, 'authentication.anonymous', isSame ? all[0]!.anonymous : false);
  }
  if (usesPsk) putAt(tree, 'authentication.psk.file', fileNames.psk_file);
  if (asked.has('certificate')) putAt(tree, 'authentication.certificate.identity', 'common_name');
  const usesPasswords = asked.has('password') || (!isSame && !isOpenSomewhere);
  if (usesPasswords) putAt(tree, 'authentication.password.file', fileNames.password_file);
  if (shared.has('acl_file')) putAt(tree, 'authorization.rulesFile', fileNames.acl_file);
  return usesPasswords && !shared.has('password_file');
}
