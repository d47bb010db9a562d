/**
 * What the session numbers of the core stand for: client, sid and epoch, and the lanes of what is to be
 * written of each, made when they are first used. Also what was opened and is not bound yet. It sends
 * nothing. Used by redis-store.ts.
 */
import type { Turn } from '../../core/roaming-record.ts';
import { AppendLane } from './append-lane.ts';
import type { AppendWriter } from './append-writer.ts';
import { sessionKeys } from './keys.ts';
import { OwnerLane } from './owner-lane.ts';
import type { OwnerWriter } from './owner-writer.ts';
import type { RedisCalls } from './redis-calls.ts';

export interface BindingOptions {
  readonly prefix: string;
  readonly calls: Pick<RedisCalls, 'shardOf'>;
  /** Told of lanes whose session the core has no longer. */
  readonly appends: Pick<AppendWriter, 'unbind'>;
  readonly owners: Pick<OwnerWriter, 'unbind'>;
}

/** What the store keeps of a session from its opening on. */
export interface OpenedSession {
  readonly clientId: string;
  readonly sid: string;
  readonly epoch: number;
  readonly head: number;
  readonly settledSeqs: readonly number[];
  readonly version: number;
  readonly will: Buffer | null;
  readonly willDelayS: number;
  /** As they were read or saved last: a Redis that was emptied gets them again. */
  turns: readonly Turn[];
}

export interface Binding {
  readonly sessionNumber: number;
  readonly clientId: string;
  readonly sid: string;
  readonly epoch: number;
  /** Null: never used; most sessions of a datacenter are elsewhere. */
  append: AppendLane | null;
  owner: OwnerLane | null;
  opened: OpenedSession | null;
}

/** Opened and not bound yet; what is beyond is settled position by position. */
const OPENED_MAX = 10_000;

export class SessionBindings {
  readonly #options: BindingOptions;
  readonly #bindings: Map<number, Binding> = new Map();
  /** Sessions bound under an epoch this node may own, by client id. */
  readonly #byClient: Map<string, Binding> = new Map();
  readonly #opened: Map<string, OpenedSession> = new Map();

  constructor(options: BindingOptions) {
    this.#options = options;
  }

  get(sessionNumber: number): Binding | undefined {
    return this.#bindings.get(sessionNumber);
  }

  bind(sessionNumber: number, clientId: string, sid: string, epoch: number): void {
    const { appends, owners } = this.#options;
    const before = this.#bindings.get(sessionNumber);
    if (before?.sid === sid && before.epoch === epoch && before.clientId === clientId) return;
    let append: AppendLane | null = null;
    if (before !== undefined) {
      if (before.sid === sid && before.clientId === clientId) append = before.append;
      else if (before.append !== null) appends.unbind(before.append);
      if (before.owner !== null) owners.unbind(before.owner);
      if (this.#byClient.get(before.clientId) === before) this.#byClient.delete(before.clientId);
    }
    let opened = this.#opened.get(clientId) ?? null;
    if (opened !== null && opened.sid === sid && opened.epoch === epoch) {
      this.#opened.delete(clientId);
    } else {
      opened = null;
    }
    const binding = { sessionNumber, clientId, sid, epoch, append, owner: null, opened };
    this.#bindings.set(sessionNumber, binding);
    if (opened !== null) this.#byClient.set(clientId, binding);
  }

  unbind(sessionNumber: number): void {
    const binding = this.#bindings.get(sessionNumber);
    if (binding === undefined) return;
    this.#bindings.delete(sessionNumber);
    if (this.#byClient.get(binding.clientId) === binding) this.#byClient.delete(binding.clientId);
    if (binding.append !== null) this.#options.appends.unbind(binding.append);
    if (binding.owner !== null) this.#options.owners.unbind(binding.owner);
  }

  /** Null: the core has no such session. */
  appendLane(sessionNumber: number): AppendLane | null {
    const binding = this.#bindings.get(sessionNumber);
    if (binding === undefined) return null;
    if (binding.append === null) {
      const { clientId, sid } = binding;
      const { prefix, calls } = this.#options;
      const keys = sessionKeys(prefix, clientId);
      binding.append = new AppendLane(sessionNumber, clientId, sid, keys, calls.shardOf(clientId));
    }
    return binding.append;
  }

  /** Null: the core has no such session. */
  ownerLane(sessionNumber: number): OwnerLane | null {
    const binding = this.#bindings.get(sessionNumber);
    if (binding === undefined) return null;
    if (binding.owner === null) {
      const { clientId, sid, epoch, opened } = binding;
      const keys = sessionKeys(this.#options.prefix, clientId);
      const lane = new OwnerLane(sessionNumber, clientId, sid, epoch, keys);
      if (opened !== null) lane.positions.begin(opened.head, opened.settledSeqs);
      binding.owner = lane;
    }
    return binding.owner;
  }

  /** It is bound soon, or never. */
  keepOpened(opened: OpenedSession): void {
    this.#opened.delete(opened.clientId);
    this.#opened.set(opened.clientId, opened);
    if (this.#opened.size <= OPENED_MAX) return;
    for (const oldest of this.#opened.keys()) {
      this.#opened.delete(oldest);
      return;
    }
  }

  /** What is known of a session that was opened here, bound or not. */
  openedOf(clientId: string, sid: string): OpenedSession | null {
    const binding = this.#byClient.get(clientId);
    const opened = binding?.opened ?? this.#opened.get(clientId) ?? null;
    return opened?.sid === sid ? opened : null;
  }

  /** What this node has written of it as its owner; null: nothing. */
  writtenOf(clientId: string, sid: string, epoch: number): OwnerLane | null {
    const binding = this.#byClient.get(clientId);
    if (binding === undefined || binding.sid !== sid || binding.epoch !== epoch) return null;
    return binding.owner;
  }
}
