/**
 * Options of the whole node: limits, persistence, log, $SYS. Each becomes one of ours, or a note that
 * says what is different. Called by `convert.ts`.
 */
import { join, resolve } from 'node:path';
import { putAt, type Tree } from '../../config/layer.ts';
import { type LimitName, limitTable } from '../../core/limits.ts';
import { isTrue, type MosquittoConfig, type Settings } from './mosquitto-config.ts';
import type { Directive } from './mosquitto-lines.ts';
import type { Notes } from './note.ts';

const SYS_INTERVAL_MAX_S = 3600;
/** Room for topic and properties beside a payload of the size that was allowed. */
const HEADER_BYTES = 64 * 1024;
const EXPIRATION_UNITS_S: ReadonlyMap<string, number> = new Map([
  ['h', 3600],
  ['d', 86_400],
  ['w', 7 * 86_400],
  ['m', 30 * 86_400],
  ['y', 365 * 86_400],
]);

export function convertNode(
  config: MosquittoConfig,
  folder: string,
  tree: Tree,
  notes: Notes,
): void {
  new NodeConverter(config.node, folder, tree, notes).convert();
}

class NodeConverter {
  readonly #node: Settings;
  readonly #folder: string;
  readonly #tree: Tree;
  readonly #notes: Notes;

  constructor(node: Settings, folder: string, tree: Tree, notes: Notes) {
    this.#node = node;
    this.#folder = folder;
    this.#tree = tree;
    this.#notes = notes;
  }

  convert(): void {
    this.#persistence();
    this.#log();
    for (const name of this.#node.names) {
      const directive = this.#node.get(name)!;
      const convert = this.#table[name];
      if (convert === undefined)
        this.#notes.lost(directive.where, `${name}: there is no such option here`);
      else convert(directive);
    }
    this.#differences();
  }

  readonly #table: Readonly<Record<string, (directive: Directive) => void>> = {
    // Read elsewhere.
    per_listener_settings: () => {},
    persistence: () => {},
    persistence_location: () => {},
    log_type: () => {},
    log_dest: () => {},
    clientid_prefixes: () => {},

    max_inflight_messages: (line) => {
      const messages = this.#count(line);
      this.#limit(line, 'inflightMessagesMax', messages === 0 ? Infinity : messages);
      this.#limit(line, 'receiveMaximum', messages === 0 ? Infinity : messages);
    },
    max_queued_messages: (line) =>
      this.#limit(line, 'queueMessagesMax', this.#count(line) || Infinity),
    max_queued_bytes: (line) => this.#limit(line, 'queueBytesMax', this.#count(line) || Infinity),
    max_packet_size: (line) => this.#limit(line, 'packetBytesMax', this.#count(line)),
    message_size_limit: (line) => {
      const bytes = this.#count(line);
      // The other one counts the whole packet, and says it exactly.
      if (bytes === 0 || this.#node.get('max_packet_size') !== null) return;
      this.#limit(line, 'packetBytesMax', bytes + HEADER_BYTES);
      this.#notes.differs(
        line.where,
        'message_size_limit: limits.packetBytesMax counts the whole packet (64 KiB were added for ' +
          'topic and properties), and a larger packet ends the connection',
      );
    },
    max_keepalive: (line) => this.#limit(line, 'keepAliveMaxS', this.#count(line) || Infinity),
    global_max_clients: (line) => this.#atMost(line, 'sessionsMax'),
    global_max_connections: (line) => this.#atMost(line, 'connectionsMax'),
    persistent_client_expiration: (line) => {
      const match = /^(\d{1,9})([hdwmy])$/.exec(line.value);
      const unitS = EXPIRATION_UNITS_S.get(match?.[2] ?? '');
      if (match === null || unitS === undefined) {
        this.#notes.lost(line.where, 'persistent_client_expiration: expected such as 14d');
        return;
      }
      this.#limit(line, 'sessionExpiryMaxS', Number(match[1]) * unitS);
    },
    retain_available: (line) => {
      if (isTrue(line.value)) return;
      putAt(this.#tree, 'limits.retainedMessagesMax', 0);
      this.#notes.differs(
        line.where,
        'retain_available false: a message with the retain flag is refused (MQTT 5, QoS 1 and 2) or ' +
          'delivered and not retained; mosquitto disconnects its sender',
      );
    },
    sys_interval: (line) => {
      const seconds = this.#count(line);
      putAt(this.#tree, 'sysIntervalS', Math.min(seconds, SYS_INTERVAL_MAX_S));
      if (seconds > SYS_INTERVAL_MAX_S) {
        this.#notes.differs(line.where, `sys_interval: at most ${SYS_INTERVAL_MAX_S} s`);
      }
    },
    allow_duplicate_messages: (line) => {
      this.#notes.differs(
        line.where,
        'allow_duplicate_messages: overlapping subscriptions of one client deliver a message once, ' +
          'with the highest QoS',
      );
    },
    check_retain_source: (line) => {
      if (isTrue(line.value)) return;
      this.#notes.lost(
        line.where,
        'check_retain_source false: what somebody retained who may no longer publish there is never ' +
          'handed out; publish it again as somebody who may',
      );
    },
    connection_messages: (line) => {
      if (isTrue(line.value)) return;
      this.#notes.lost(line.where, 'connection_messages false: log.level: warn leaves them out');
    },
    memory_limit: (line) => {
      this.#notes.lost(
        line.where,
        'memory_limit: memory is bounded per client and by kind (limits.*); a limit of the whole ' +
          'process is the business of its service manager (MemoryMax=)',
      );
    },
    max_inflight_bytes: (line) => {
      if (this.#count(line) === 0) return;
      this.#notes.lost(
        line.where,
        'max_inflight_bytes: limits.inflightMessagesMax counts messages',
      );
    },
    queue_qos0_messages: (line) => {
      if (!isTrue(line.value)) return;
      this.#notes.lost(
        line.where,
        'queue_qos0_messages: QoS 0 is not kept for clients that are away; publish with QoS 1',
      );
    },
    upgrade_outgoing_qos: (line) => {
      if (!isTrue(line.value)) return;
      this.#notes.lost(line.where, 'upgrade_outgoing_qos: the QoS of a message is never raised');
    },
  };

  #persistence(): void {
    const line = this.#node.get('persistence');
    const location = this.#node.get('persistence_location');
    if (line === null || !isTrue(line.value)) {
      putAt(this.#tree, 'store', 'memory');
      this.#notes.differs(
        line?.where ?? '',
        'persistence is off: store: memory forgets sessions, queues and retained messages at a ' +
          'restart; store: embedded keeps them',
      );
      return;
    }
    // Not in the same folder: nothing may take one broker's files for the other's.
    const data =
      location === null ? 'data' : join(resolve(this.#folder, location.value), 'causeway');
    putAt(this.#tree, 'data', data);
    this.#notes.differs(
      line.where,
      'what mosquitto has stored (mosquitto.db) is not read: clients subscribe again, retained ' +
        'messages have to be published again',
    );
  }

  #log(): void {
    const types = this.#node.all('log_type').map(({ value }) => value.split(' ', 1)[0]!);
    if (types.length > 0) {
      const has = (...names: readonly string[]): boolean =>
        names.some((name) => types.includes(name));
      const isLow = has(
        'notice',
        'information',
        'subscribe',
        'unsubscribe',
        'websockets',
        'internal',
      );
      const level = has('all', 'debug')
        ? 'debug'
        : isLow
          ? 'info'
          : has('warning')
            ? 'warn'
            : 'error';
      putAt(this.#tree, 'log.level', level);
      if (has('none')) {
        this.#notes.differs(
          this.#node.get('log_type')!.where,
          'log_type none: errors are still logged',
        );
      }
    }
    for (const { where, value } of this.#node.all('log_dest')) {
      const destination = value.split(' ', 1)[0]!;
      if (destination === 'stdout') continue;
      const how =
        destination === 'none'
          ? 'send the standard output of the service to nowhere'
          : 'the log goes to standard output, from where the service manager takes it';
      if (destination === 'stderr' || destination === 'syslog') {
        this.#notes.differs(where, `log_dest ${destination}: ${how}`);
      } else this.#notes.lost(where, `log_dest ${destination.slice(0, 20)}: ${how}`);
    }
  }

  /** Where the defaults of both are not the same, and somebody may notice. */
  #differences(): void {
    const has = (name: string): boolean => this.#node.get(name) !== null;
    // Mosquitto drops what comes when a queue is full.
    putAt(this.#tree, 'queueOverflow', 'drop_newest');
    const queue = has('max_queued_messages') ? '' : 'queues hold 100000 messages (mosquitto: 1000)';
    const inflight = has('max_inflight_messages') ? '' : '1024 messages in flight (mosquitto: 20)';
    const packet =
      has('max_packet_size') || has('message_size_limit')
        ? ''
        : 'packets up to 1 MiB (mosquitto: 256 MiB)';
    const expiry = has('persistent_client_expiration')
      ? ''
      : 'sessions end 30 days after their client was last seen (mosquitto: never)';
    const told = [queue, inflight, packet, expiry].filter((text) => text !== '');
    if (told.length > 0) this.#notes.differs('', `defaults that differ: ${told.join('; ')}`);
  }

  #count({ where, name, value }: Directive): number {
    const match = /^-?\d{1,15}(?=$|[ \t])/.exec(value);
    if (match === null) this.#notes.lost(where, `${name}: expected a number`);
    return Math.max(0, Number(match?.[0] ?? 0));
  }

  /** -1 is no limit. */
  #atMost(line: Directive, limit: LimitName): void {
    if (/^-/.test(line.value)) return;
    this.#limit(line, limit, this.#count(line));
  }

  /** Infinity: as much as there may be. */
  #limit({ where, name }: Directive, limit: LimitName, wanted: number): void {
    const { min, max } = limitTable[limit];
    const value = Math.min(max, Math.max(min, wanted));
    putAt(this.#tree, `limits.${limit}`, value);
    if (value !== wanted && Number.isFinite(wanted)) {
      this.#notes.differs(
        where,
        `${name}: limits.${limit} is ${value}, from ${min} to ${max} is possible`,
      );
    }
  }
}
