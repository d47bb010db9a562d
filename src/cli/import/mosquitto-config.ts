/**
 * Mosquitto's configuration as mosquitto understands it: what belongs to the node, what to which
 * listener, which listeners there are at all. Takes lines, gives a model; converts nothing.
 */
import { nearest } from '../../util/nearest.ts';
import type { Directive } from './mosquitto-lines.ts';
import { canonicalName, optionNames, scopeOf } from './mosquitto-options.ts';
import type { Notes } from './note.ts';

/** Options by name; those given twice in their order. */
export class Settings {
  readonly #byName = new Map<string, Directive[]>();

  add(name: string, directive: Directive): void {
    const given = this.#byName.get(name);
    if (given === undefined) this.#byName.set(name, [directive]);
    else given.push(directive);
  }

  /** The last one counts. */
  get(name: string): Directive | null {
    return this.#byName.get(name)?.at(-1) ?? null;
  }

  all(name: string): readonly Directive[] {
    return this.#byName.get(name) ?? [];
  }

  get names(): readonly string[] {
    return [...this.#byName.keys()];
  }
}

export interface MosquittoListener {
  readonly where: string;
  /** 0: a Unix socket. */
  readonly port: number;
  /** Address, host name or socket file; null: every address of the machine. */
  readonly bind: string | null;
  readonly options: Settings;
  /** Security options of this listener alone. */
  readonly security: Settings;
  /** Mosquitto's way without any listener: this machine only, nobody is asked for a password. */
  readonly isLocalOnly: boolean;
}

export interface MosquittoConfig {
  readonly node: Settings;
  /** Security options of all listeners, unless `perListener`. */
  readonly security: Settings;
  readonly perListener: boolean;
  readonly listeners: readonly MosquittoListener[];
  readonly plugins: readonly Directive[];
  readonly bridges: readonly Directive[];
}

const DEFAULT_PORT = 1883;

interface OpenListener {
  readonly where: string;
  readonly port: number;
  readonly bind: string | null;
  readonly options: Settings;
  readonly security: Settings;
}

export function modelOf(directives: readonly Directive[], notes: Notes): MosquittoConfig {
  const node = new Settings();
  const security = new Settings();
  const plugins: Directive[] = [];
  const bridges: Directive[] = [];
  const listeners: OpenListener[] = [];
  const first = { options: new Settings(), security: new Settings() };
  const perListener = directives.some(
    ({ name, value }) => name === 'per_listener_settings' && isTrue(value),
  );
  let current: { readonly options: Settings; readonly security: Settings } = first;
  let file = '';
  for (const directive of directives) {
    const name = canonicalName(directive.name);
    // An included file begins with the default listener; the main file goes on with its own.
    if (directive.file !== file) {
      file = directive.file;
      current = listeners.findLast(({ where }) => where.startsWith(`${file}:`)) ?? first;
    }
    switch (scopeOf(name)) {
      case null: {
        const near = nearest(name, optionNames);
        const hint = near === null ? '' : `, did you mean ${near}?`;
        notes.lost(directive.where, `mosquitto has no option ${name.slice(0, 60)}${hint}`);
        break;
      }
      case 'node':
        node.add(name, directive);
        break;
      case 'security':
        (perListener ? current.security : security).add(name, directive);
        break;
      case 'plugin':
        plugins.push(directive);
        break;
      case 'bridge':
        bridges.push(directive);
        break;
      case 'listener': {
        if (name === 'listener') {
          const opened = openListener(directive, notes);
          if (opened === null) break;
          listeners.push(opened);
          current = opened;
        } else if (name === 'port' || name === 'bind_address') first.options.add(name, directive);
        else current.options.add(name, directive);
        break;
      }
      case 'needless':
        break;
    }
  }
  const all = [...defaultListeners(first, listeners, notes), ...listeners];
  return {
    node,
    security,
    perListener,
    listeners: all.map((listener) => ({ isLocalOnly: false, ...listener })),
    plugins,
    bridges,
  };
}

export function isTrue(value: string): boolean {
  return ['true', '1'].includes(value.split(' ', 1)[0]!.toLowerCase());
}

function openListener(directive: Directive, notes: Notes): OpenListener | null {
  const [port = '', bind = null] = directive.value.split(/[ \t]+/);
  const number = /^\d{1,5}$/.test(port) ? Number(port) : 70_000;
  if (number > 65_535 || (number === 0 && bind === null)) {
    notes.lost(directive.where, 'listener: expected a port, or 0 and the file of a socket');
    return null;
  }
  return {
    where: directive.where,
    port: number,
    bind: bind === null || bind.startsWith('#') ? null : bind,
    options: new Settings(),
    security: new Settings(),
  };
}

/** The listener nobody declared: by its options, or because there is no other. */
function defaultListeners(
  first: { readonly options: Settings; readonly security: Settings },
  others: readonly OpenListener[],
  notes: Notes,
): (OpenListener & { readonly isLocalOnly: boolean })[] {
  const { options, security } = first;
  const port = options.get('port');
  const bind = options.get('bind_address');
  const firstOption = options.names.map((name) => options.get(name)!.where)[0];
  const files = ['password_file', 'psk_file'].map((name) => security.get(name));
  const firstFile = files.find((directive) => directive !== null)?.where;
  const where = (port ?? bind)?.where ?? firstOption ?? firstFile;
  if (where !== undefined) {
    const number = port === null ? DEFAULT_PORT : Number(port.value);
    if (!Number.isInteger(number) || number < 1 || number > 65_535) {
      notes.lost(where, 'port: expected a port from 1 to 65535');
      return [];
    }
    return [
      { where, port: number, bind: bind?.value ?? null, options, security, isLocalOnly: false },
    ];
  }
  for (const name of security.names) {
    const directive = security.get(name)!;
    notes.differs(directive.where, `${name} stands before the first listener: it has no effect`);
  }
  if (others.length > 0) return [];
  return [
    { where: '', port: DEFAULT_PORT, bind: 'localhost', options, security, isLocalOnly: true },
  ];
}
