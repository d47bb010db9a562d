/**
 * The `connection` blocks of mosquitto's configuration as bridges of ours; what a bridge here has not is
 * named. Called by `convert.ts`. Passwords go into files of their own, and into no note.
 */
import { resolve } from 'node:path';
import { BUDGET_BYTES_MAX, BUDGET_BYTES_MIN, IN_FLIGHT_MAX } from '../../config/bridges-schema.ts';
import type { Tree } from '../../config/layer.ts';
import { isValidTopicFilter, isValidTopicName } from '../../wire/topic.ts';
import { isTrue, type Settings } from './mosquitto-config.ts';
import type { Directive } from './mosquitto-lines.ts';
import { canonicalName } from './mosquitto-options.ts';
import type { Notes } from './note.ts';

export interface BridgeContext {
  readonly folder: string;
  readonly notes: Notes;
  /** Outside of all blocks. */
  readonly node: Settings;
  /** There are rules that a local user of the bridge was bound to. */
  readonly hasRules: boolean;
  /** Files to write: name and content. */
  readonly made: Map<string, string>;
}

const DEFAULT_PORT = 1883;
const KEEPALIVE_MIN_S = 5;
const KEEPALIVE_MAX_S = 65_535;

/** Options that make a bridge another one than it may be here: it is left out. */
const unsafe: ReadonlyMap<string, string> = new Map([
  ['bridge_psk', 'bridges here have certificates, no pre-shared keys'],
  ['bridge_identity', 'bridges here have certificates, no pre-shared keys'],
]);

const differing: ReadonlyMap<string, string> = new Map([
  ['local_clientid', 'the session here is $bridge/NAME'],
  ['local_password', 'a bridge proves nothing here'],
  ['bridge_attempt_unsubscribe', 'what is not bridged any more is not taken'],
  ['restart_timeout', 'it is tried again after 1 to 30 s, each time after a little longer'],
  ['idle_timeout', 'a bridge is always connected'],
  ['threshold', 'a bridge is always connected'],
  ['bridge_session_expiry_interval', 'the session there is kept for as long as that broker allows'],
  [
    'bridge_tls_use_os_certs',
    'authorities of the system are trusted where no bridge_cafile is given',
  ],
]);

const versions: ReadonlyMap<string, string> = new Map([
  ['mqttv31', '3.1'],
  ['mqttv311', '3.1.1'],
  ['mqttv50', '5'],
]);

/** Taken up one by one below. */
const carried: ReadonlySet<string> = new Set(
  `connection address addresses bridge_alpn bridge_cafile bridge_certfile bridge_keyfile bridge_insecure
  bridge_protocol_version bridge_outgoing_retain bridge_require_ocsp cleansession clientid
  keepalive_interval local_cleansession local_username notifications notification_topic
  notifications_local_only password remote_clientid remote_password remote_username start_type topic
  try_private username`.split(/\s+/),
);

/** All blocks; those that cannot be carried are noted. */
export function convertBridges(directives: readonly Directive[], context: BridgeContext): Tree[] {
  const blocks: Directive[][] = [];
  for (const directive of directives) {
    if (directive.name === 'connection') blocks.push([directive]);
    else if (blocks.length > 0) blocks.at(-1)!.push(directive);
    else context.notes.lost(directive.where, `${directive.name}: stands before any connection`);
  }
  const names = new Set<string>();
  const bridges = blocks.flatMap((block) => {
    const tree = new Block(block, context).convert(names);
    return tree === null ? [] : [tree];
  });
  const bounds =
    bridges.length === 0 ? {} : { ...convertBudget(context), ...convertInFlight(context) };
  return bridges.map((tree) => ({ ...tree, ...bounds }));
}

/** As many as mosquitto sends to each client, bridges among them; 20 unless it is said. */
function convertInFlight({ node }: BridgeContext): Tree {
  const messages = node.get('max_inflight_messages');
  if (messages === null || !/^\d{1,9}$/.test(messages.value)) return {};
  return { inFlightMax: Math.min(IN_FLIGHT_MAX, Number(messages.value) || IN_FLIGHT_MAX) };
}

/** What mosquitto queues for each client, bridges among them: here these have a budget of their own. */
function convertBudget({ node, notes }: BridgeContext): Tree {
  const messages = node.get('max_queued_messages');
  if (messages !== null) {
    const why = 'what waits for a bridge is bounded by bytes and age, and the oldest goes first';
    notes.differs(messages.where, `max_queued_messages: ${why}`);
  }
  const bytes = node.get('max_queued_bytes');
  // What is no number has been told of with the limits of sessions.
  if (bytes === null || !/^\d{1,15}$/.test(bytes.value)) return {};
  const wanted = Number(bytes.value) || BUDGET_BYTES_MAX;
  const budgetBytes = Math.min(BUDGET_BYTES_MAX, Math.max(BUDGET_BYTES_MIN, wanted));
  if (budgetBytes !== wanted) {
    notes.differs(bytes.where, `max_queued_bytes: budgetBytes of bridges is ${budgetBytes}`);
  }
  return { budgetBytes };
}

class Block {
  readonly #directives: readonly Directive[];
  readonly #folder: string;
  readonly #notes: Notes;
  readonly #context: BridgeContext;

  constructor(directives: readonly Directive[], context: BridgeContext) {
    this.#directives = directives;
    this.#context = context;
    this.#folder = context.folder;
    this.#notes = context.notes;
  }

  convert(names: Set<string>): Tree | null {
    const { where } = this.#directives[0]!;
    if (this.#isUnsafe()) return null;
    const endpoint = this.#endpoint();
    if (endpoint === null) return null;
    const topics = this.#topics();
    if (topics.length === 0) {
      this.#notes.lost(where, 'connection: no topic is left, so there is no bridge');
      return null;
    }
    const name = this.#name(names);
    const tls = this.#tls();
    const tree: Tree = {
      name,
      url: `${tls === null ? 'mqtt' : 'mqtts'}://${endpoint}`,
      protocolVersion: this.#version(),
      ...(tls === null || Object.keys(tls).length === 0 ? {} : { tls }),
      ...this.#login(name),
      ...this.#times(),
      ...this.#notifications(),
      topics,
    };
    this.#tellRest();
    return tree;
  }

  #get(...names: readonly string[]): Directive | null {
    return this.#directives.findLast(({ name }) => names.includes(canonicalName(name))) ?? null;
  }

  #isUnsafe(): boolean {
    for (const [option, why] of unsafe) {
      const directive = this.#get(option);
      if (directive === null) continue;
      this.#notes.closed(directive.where, `${option}: ${why}; the bridge is left out`);
      return true;
    }
    const ocsp = this.#get('bridge_require_ocsp');
    if (ocsp !== null && isTrue(ocsp.value)) {
      const why = 'revocation of the other certificate is not asked for; the bridge is left out';
      this.#notes.closed(ocsp.where, `bridge_require_ocsp: ${why}`);
      return true;
    }
    const user = this.#get('local_username');
    if (user === null) return false;
    if (this.#context.hasRules) {
      const why = 'rules do not hold for bridges; write one with topics that this user may have';
      this.#notes.closed(user.where, `local_username: ${why}; the bridge is left out`);
      return true;
    }
    this.#notes.differs(user.where, 'local_username: a bridge proves nothing here');
    return false;
  }

  #endpoint(): string | null {
    const { where } = this.#directives[0]!;
    const directive = this.#get('address', 'addresses');
    const [first, ...others] = directive?.value.split(/[ \t]+/) ?? [];
    const [, host, port = String(DEFAULT_PORT)] =
      /^(\[[0-9a-fA-F:.]+\]|[^:[\]]+)(?::(\d{1,5}))?$/.exec(first ?? '') ?? [];
    if (host === undefined || Number(port) < 1 || Number(port) > 65_535) {
      this.#notes.lost(directive?.where ?? where, 'address: expected HOST or HOST:PORT; no bridge');
      return null;
    }
    if (others.length > 0) {
      const why = 'a bridge here has one; give it a name that leads to all of them';
      this.#notes.lost(directive!.where, `address: ${others.length} more addresses: ${why}`);
    }
    return `${host}:${port}`;
  }

  #name(names: Set<string>): string {
    const { where, value } = this.#directives[0]!;
    const plain = value
      .replaceAll(/[^A-Za-z0-9._-]/g, '-')
      .replace(/^[^A-Za-z0-9]+/, '')
      .slice(0, 56);
    let name = plain === '' ? 'bridge' : plain;
    for (let count = 2; names.has(name); count++) name = `${plain}-${count}`;
    names.add(name);
    if (name !== value) this.#notes.differs(where, `connection: is called ${name} here`);
    return name;
  }

  #version(): string {
    const directive = this.#get('bridge_protocol_version');
    const version = versions.get(directive?.value ?? 'mqttv311');
    if (version !== undefined) return version;
    this.#notes.lost(directive!.where, 'bridge_protocol_version: not known; 3.1.1 it is');
    return '3.1.1';
  }

  /** Null: without TLS. */
  #tls(): Tree | null {
    const file = (option: string): string | undefined => {
      const directive = this.#get(option);
      return directive === null ? undefined : resolve(this.#folder, directive.value);
    };
    const system = this.#get('bridge_tls_use_os_certs');
    const [caFile, certFile, keyFile] = ['bridge_cafile', 'bridge_certfile', 'bridge_keyfile'].map(
      file,
    );
    const isTls = caFile !== undefined || this.#get('bridge_capath') !== null;
    if (!isTls && (system === null || !isTrue(system.value))) return null;
    const insecure = this.#get('bridge_insecure');
    if (insecure !== null && isTrue(insecure.value)) {
      this.#notes.differs(
        insecure.where,
        'bridge_insecure: the name in the certificate is always checked; tls.serverName can give it',
      );
    }
    const tree: Tree = {};
    if (caFile !== undefined) tree.caFile = caFile;
    if (certFile !== undefined) tree.certFile = certFile;
    if (keyFile !== undefined) tree.keyFile = keyFile;
    const alpn = this.#get('bridge_alpn');
    if (alpn !== null) tree.alpnProtocol = alpn.value;
    return tree;
  }

  #login(name: string): Tree {
    const { where } = this.#directives[0]!;
    const user = this.#get('remote_username', 'username');
    const password = this.#get('remote_password', 'password');
    const id = this.#get('remote_clientid', 'clientid');
    const tree: Tree = {};
    if (id === null) {
      const why = `client id there is causeway-${name}, mosquitto made one of the host's name`;
      this.#notes.differs(where, `connection: ${why}`);
    } else tree.clientId = id.value;
    if (user !== null) tree.username = user.value;
    if (password === null) return tree;
    if (user === null) this.#notes.lost(password.where, 'remote_password: without a user name');
    else {
      const file = `bridge-${name}.password`;
      this.#context.made.set(file, `${password.value}\n`);
      tree.passwordFile = file;
    }
    return tree;
  }

  #times(): Tree {
    const tree: Tree = {};
    const clean = this.#get('cleansession');
    if (clean !== null && isTrue(clean.value)) tree.cleanStart = true;
    const localClean = this.#get('local_cleansession');
    const keepsHere = localClean === null ? !tree.cleanStart : !isTrue(localClean.value);
    if (!keepsHere) {
      this.#notes.differs(
        (localClean ?? clean)!.where,
        `${(localClean ?? clean)!.name}: messages wait here while the bridge is down`,
      );
    }
    const alive = this.#get('keepalive_interval');
    if (alive !== null) {
      const seconds = Number(alive.value);
      if (Number.isInteger(seconds) && seconds >= KEEPALIVE_MIN_S && seconds <= KEEPALIVE_MAX_S) {
        tree.keepaliveS = seconds;
      } else {
        const range = `${KEEPALIVE_MIN_S} to ${KEEPALIVE_MAX_S}`;
        this.#notes.lost(alive.where, `keepalive_interval: expected ${range} seconds`);
      }
    }
    const isPrivate = this.#get('try_private');
    if (isPrivate !== null && !isTrue(isPrivate.value)) tree.tryPrivate = false;
    return tree;
  }

  /** They are on unless it is said, under a topic with the client identifier of the bridge. */
  #notifications(): Tree {
    const wanted = this.#get('notifications');
    if (wanted !== null && !isTrue(wanted.value)) return {};
    const local = this.#get('notifications_local_only');
    const tree: Tree = { notifications: local !== null && isTrue(local.value) ? 'local' : 'both' };
    const topic = this.#get('notification_topic');
    if (topic === null) return tree;
    const isReserved = topic.value.startsWith('$') && !topic.value.startsWith('$SYS/');
    if (!isValidTopicName(topic.value) || isReserved) {
      this.#notes.lost(topic.where, 'notification_topic: expected a topic without + and #');
      return {};
    }
    return { ...tree, notificationTopic: topic.value };
  }

  #topics(): Tree[] {
    const keeps = this.#get('bridge_outgoing_retain');
    const isCleared = keeps !== null && !isTrue(keeps.value);
    return this.#directives
      .filter(({ name }) => name === 'topic')
      .flatMap((directive) => this.#topic(directive, isCleared));
  }

  /** `PATTERN [in|out|both [QOS [LOCAL-PREFIX REMOTE-PREFIX]]]`, with `""` for nothing. */
  #topic({ where, value }: Directive, isCleared: boolean): Tree[] {
    const [filter = '', direction = 'out', qos = '0', ...prefixes] = value
      .split(/[ \t]+/)
      .map((word) => (word === '""' ? '' : word));
    const [localPrefix = '', remotePrefix = ''] = prefixes;
    const refuse = (why: string): Tree[] => {
      this.#notes.lost(where, `topic: ${why}`);
      return [];
    };
    if (!['in', 'out', 'both'].includes(direction)) return refuse('expected in, out or both');
    if (!/^[012]$/.test(qos)) return refuse('expected a QoS of 0, 1 or 2');
    const [local, remote] = [localPrefix + filter, remotePrefix + filter];
    if (
      (filter !== '' && !isValidTopicFilter(filter)) ||
      !isValidTopicFilter(local) ||
      !isValidTopicFilter(remote)
    ) {
      return refuse('is no topic filter with these prefixes');
    }
    if (local.startsWith('$') || (direction !== 'in' && remote.startsWith('$'))) {
      return refuse('topics that begin with $ are bridged in only, under a local prefix');
    }
    const tree: Tree = {
      filter,
      direction,
      ...(localPrefix === '' ? {} : { localPrefix }),
      ...(remotePrefix === '' ? {} : { remotePrefix }),
      qos: Number(qos),
    };
    if (!isCleared || direction === 'in') return [tree];
    const out: Tree = { ...tree, direction: 'out', retain: 'clear' };
    return direction === 'out' ? [out] : [{ ...tree, direction: 'in' }, out];
  }

  /** What nothing here corresponds to, each line of it. */
  #tellRest(): void {
    const start = this.#get('start_type');
    if (start !== null && start.value !== 'automatic') {
      this.#notes.differs(start.where, 'start_type: a bridge is always connected');
    }
    for (const { where, name } of this.#directives) {
      const why = differing.get(name);
      if (why !== undefined) this.#notes.differs(where, `${name}: ${why}`);
      else if (!carried.has(name))
        this.#notes.lost(where, `${name}: a bridge here has no such option`);
    }
  }
}
