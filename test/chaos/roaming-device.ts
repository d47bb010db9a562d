/**
 * A device that goes from region to region for the ledger of moves: one durable session, its half of the
 * QoS 2 exchanges kept over connections, acknowledgements that are late or never sent. Knows no broker.
 */
import { Client, openSocket } from '../conformance/client.ts';
import { ack, connect, disconnect, publish, subscribe } from '../conformance/packets.ts';
import type { ReadPacket } from '../conformance/reader.ts';
import { resetSocket } from '../support/reset-socket.ts';
import type { Prng } from './prng.ts';
import type { RoamingLedger } from './roaming-ledger.ts';

const EXPIRY_S = 3600;
const ANSWER_MS = 10_000;
/** Of messages, are not acknowledged until the next connection. */
const SILENT = 0.05;
const LATE = 0.2;
const LATE_MS_MAX = 30;

export type Leave = 'stay' | 'reset' | 'disconnect';

interface Visit {
  readonly region: string;
  readonly client: Client;
  readonly socket: Awaited<ReturnType<typeof openSocket>>;
  readonly ended: Promise<void>;
  isLeft: boolean;
}

export class RoamingDevice {
  readonly id: string;
  readonly #ledger: RoamingLedger;
  readonly #prng: Prng;
  /** QoS 2 packet identifiers received and not released. */
  readonly #received: Set<number> = new Set();
  /** Its own QoS 2 messages that are not completed, oldest first. */
  readonly #open: Map<number, { readonly text: string; state: 'sent' | 'received' }> = new Map();
  #published = 0;
  #nextId = 1;
  #visit: Visit | null = null;
  #isFirst = true;
  #isSubscribed = false;

  constructor(id: string, ledger: RoamingLedger, prng: Prng) {
    this.id = id;
    this.#ledger = ledger;
    this.#prng = prng;
  }

  /** It has been told so. */
  get isSubscribed(): boolean {
    return this.#isSubscribed;
  }

  get region(): string | null {
    return this.#visit?.region ?? null;
  }

  /** Connects there; what became of the visit before is up to `leave`. Ms until CONNACK; null: refused. */
  async move(region: string, port: number, leave: Leave): Promise<number | null> {
    const before = this.#visit;
    if (before !== null && leave !== 'stay') this.#leave(before, leave);
    let socket: Visit['socket'];
    try {
      socket = await openSocket('127.0.0.1', port);
    } catch {
      return null;
    }
    const client = new Client(socket, 5, this.id);
    const beganMs = performance.now();
    const sentMs = Math.round(performance.timeOrigin + beganMs);
    const wasBlind = this.#ledger.isBlind;
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    client.send(
      connect({
        version: 5,
        clientId: this.id,
        clean: false,
        keepAliveSec: 0,
        properties: [['sessionExpiryInterval', EXPIRY_S]],
      }),
    );
    const first = await client.next(ANSWER_MS);
    if (first === null || first.type !== 'CONNACK' || first.reasonCode !== 0) {
      client.destroy();
      return null;
    }
    const tookMs = performance.now() - beganMs;
    if (!first.sessionPresent) {
      // What it was told of, a row has.
      const isUnknown = !this.#isSubscribed && (wasBlind || this.#ledger.isBlind);
      if (!this.#isFirst) this.#ledger.sessionLost(this.id, region, sentMs, isUnknown);
      this.#received.clear();
      this.#open.clear();
      this.#isSubscribed = false;
    }
    const visit: Visit = { region, client, socket, ended, isLeft: false };
    this.#visit = visit;
    if (before !== null && leave === 'stay')
      void this.#watch(before, wasBlind || this.#ledger.isBlind);
    if (!this.#isSubscribed) {
      const subscriptions = [{ filter: `to/${this.id}/#`, qos: 2 }];
      client.send(subscribe({ version: 5, packetId: 60_000, subscriptions }));
    }
    this.#isFirst = false;
    for (const [packetId, { text, state }] of this.#open) {
      if (state === 'sent') this.#send(client, packetId, text, true);
      else client.send(ack('PUBREL', packetId));
    }
    void this.#read(visit).then(resolve, resolve);
    return tookMs;
  }

  /** The one before must have ended: by a DISCONNECT, before its socket is closed, or without. */
  async #watch(before: Visit, wasBlind: boolean): Promise<void> {
    const timer = Promise.withResolvers<boolean>();
    const handle = setTimeout(() => timer.resolve(false), 250);
    const hasEnded = await Promise.race([before.ended.then(() => true), timer.promise]);
    clearTimeout(handle);
    if (!hasEnded && !wasBlind) this.#ledger.ownedTwice(this.id, before.region);
    this.#leave(before, 'reset');
  }

  #leave(visit: Visit, leave: Leave): void {
    visit.isLeft = true;
    if (leave === 'disconnect') visit.client.send(disconnect(0));
    else if (!visit.socket.destroyed) resetSocket(visit.socket);
    if (leave === 'disconnect') setTimeout(() => visit.client.destroy(), 50);
  }

  /** One QoS 2 message of its own. */
  publish(): void {
    const visit = this.#visit;
    if (visit === null || visit.client.isClosed || this.#open.size >= 20) return;
    while (this.#open.has(this.#nextId)) this.#nextId = (this.#nextId % 30_000) + 1;
    const packetId = this.#nextId;
    this.#nextId = (this.#nextId % 30_000) + 1;
    const text = String(++this.#published);
    this.#open.set(packetId, { text, state: 'sent' });
    this.#send(visit.client, packetId, text, false);
  }

  #send(client: Client, packetId: number, text: string, dup: boolean): void {
    const topic = `from/${this.id}`;
    client.send(publish({ version: 5, topic, payload: text, qos: 2, packetId, dup }));
  }

  async #read(visit: Visit): Promise<void> {
    const { client } = visit;
    for (;;) {
      const packet = await client.next(3_600_000);
      // What is on its way to who has gone is nobody's.
      if (packet === null || visit.isLeft) return;
      if (packet.type === 'DISCONNECT') return;
      this.#handle(visit, packet);
    }
  }

  #handle(visit: Visit, packet: ReadPacket): void {
    const { client } = visit;
    const { packetId } = packet;
    if (packet.type === 'PUBREC') {
      const open = this.#open.get(packetId);
      if (packet.reasonCode >= 0x80) this.#open.delete(packetId);
      else if (open !== undefined) open.state = 'received';
      if (packet.reasonCode < 0x80) client.send(ack('PUBREL', packetId));
    } else if (packet.type === 'PUBCOMP') {
      const open = this.#open.get(packetId);
      this.#open.delete(packetId);
      if (open !== undefined) this.#ledger.acked(`from/${this.id}`, Number(open.text), 2);
    } else if (packet.type === 'PUBREL') {
      this.#received.delete(packetId);
      client.send(ack('PUBCOMP', packetId));
    } else if (packet.type === 'SUBACK') {
      this.#isSubscribed = true;
    } else if (packet.type === 'PUBLISH') {
      this.#message(visit, packet);
    }
  }

  #message(visit: Visit, { topic, payload, qos, packetId, dup }: ReadPacket): void {
    // A device that has moved on hears nothing from where it was.
    if (visit !== this.#visit) return;
    if (qos !== 2 || !this.#received.has(packetId)) {
      const how = `${visit.region} as ${packetId}${dup ? ' again' : ''}`;
      this.#ledger.delivered(this.id, topic, Number(payload.toString()), qos as 1 | 2, how);
    }
    if (qos === 2) this.#received.add(packetId);
    const answer = (): void => visit.client.send(ack(qos === 1 ? 'PUBACK' : 'PUBREC', packetId));
    const luck = this.#prng.next();
    if (luck < SILENT) return;
    if (luck < SILENT + LATE) setTimeout(answer, this.#prng.next() * LATE_MS_MAX);
    else answer();
  }

  end(): void {
    if (this.#visit !== null) this.#leave(this.#visit, 'reset');
  }
}
