/**
 * Where a session stands in the datacenter: which of its lives this is, who has it, under which epoch.
 * Sessions of a node alone have none. State only; tenure.ts and remote.ts change it.
 */
import type { Incarnation } from './incarnation.ts';
import type { Lingering } from './lingering.ts';

export class Ownership {
  /** New with every clean start. */
  sid: string;
  /** Of the owner: rises with each. */
  epoch: number;
  /** Changes of the subscriptions under this epoch. */
  counter: number;
  /** Null: its client is away. */
  owner: Incarnation | null;
  /**
   * Positions up to this one may have been sent by an owner before: they go out with DUP, which says no
   * more than that [MQTT5-3.3.1-1].
   */
  maybeSentSeq = 0;
  /** What the last connection here left behind; null: nothing. */
  lingering: Lingering | null = null;
  /** Another node has it by now: nothing more is written for it, its will is the other's. */
  isLost = false;
  /** Positions of its inbound QoS 2 messages: the highest given. */
  publisherSeq = 0;

  constructor(sid: string, epoch: number, counter: number, owner: Incarnation | null) {
    this.sid = sid;
    this.epoch = epoch;
    this.counter = counter;
    this.owner = owner;
  }
}
