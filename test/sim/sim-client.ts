/**
 * A client of a simulated datacenter that does as it is told: connects to the node named, publishes what
 * it is given, acks at once or not at all, and writes down what it was sent. For scenarios; the clients
 * of random runs are those of test/chaos.
 */

import type { Line, LineEvents } from '../chaos/line.ts';
import type { ConnectFields } from '../conformance/packets.ts';
import {
  ack,
  connect,
  disconnect,
  publish,
  subscribe,
  unsubscribe,
} from '../conformance/packets.ts';
import type { ReadPacket } from '../conformance/reader.ts';
import type { SimMachine } from './sim-site.ts';

/** Where it connects to. */
export interface ClientSite<Machine> {
  dialTo(machine: Machine, version: 4 | 5, events: LineEvents, delayMs?: number): Line;
}

export interface SimClientOptions {
  readonly cleanStart?: boolean;
  readonly expiryS?: number;
  readonly receiveMaximum?: number;
  readonly will?: ConnectFields['will'];
}

export class SimClient<Machine = SimMachine> {
  readonly clientId: string;
  /** Everything that came, over all its connections. */
  readonly packets: ReadPacket[] = [];
  /** Off: PUBLISH, PUBREC and PUBREL stay unanswered. */
  isAcking = true;
  /** Told of each packet before it is answered. */
  onPacket: ((packet: ReadPacket) => void) | null = null;
  /** Application messages, as a receiver that keeps its state of QoS 2 counts them. */
  readonly taken: string[] = [];
  readonly #site: ClientSite<Machine>;
  readonly #delayMs: number | undefined;
  /** QoS 2 identifiers that were not released. */
  readonly #unreleased: Set<number> = new Set();
  #line: Line | null = null;
  #packetId = 0;

  /** `delayMs`: of each way, always; else chance decides. */
  constructor(site: ClientSite<Machine>, clientId: string, delayMs?: number) {
    this.#site = site;
    this.clientId = clientId;
    this.#delayMs = delayMs;
  }

  get isOpen(): boolean {
    return this.#line !== null;
  }

  /** Of its latest CONNECT; null: not yet. */
  get connack(): ReadPacket | null {
    const latest = this.packets.findLast(({ type }) => type === 'CONNACK' || type === 'DISCONNECT');
    return latest?.type === 'CONNACK' ? latest : null;
  }

  count(type: ReadPacket['type'], packetId = -1): number {
    return this.packets.filter(
      (packet) => packet.type === type && (packetId === -1 || packet.packetId === packetId),
    ).length;
  }

  /** Connects to the node on that machine; a socket it still has is forgotten without a word. */
  connect(machine: Machine, options: SimClientOptions = {}): void {
    const { cleanStart = false, expiryS = 3600, receiveMaximum = 0, will } = options;
    if (cleanStart) this.#unreleased.clear();
    this.packets.length = 0;
    const events: LineEvents = {
      opened: () =>
        line.send(
          connect({
            version: 5,
            clientId: this.clientId,
            clean: cleanStart,
            keepAliveSec: 0,
            properties: [
              ['sessionExpiryInterval', expiryS],
              ...(receiveMaximum > 0 ? [['receiveMaximum', receiveMaximum] as const] : []),
            ],
            ...(will === undefined ? {} : { will }),
          }),
        ),
      packet: (packet) => {
        if (this.#line === line) this.#heard(packet);
      },
      closed: () => {
        if (this.#line === line) this.#line = null;
      },
      fault: (text) => {
        throw new Error(`${this.clientId}: ${text}`);
      },
    };
    const line: Line = this.#site.dialTo(machine, 5, events, this.#delayMs);
    this.#line = line;
  }

  #heard(packet: ReadPacket): void {
    this.packets.push(packet);
    this.onPacket?.(packet);
    const { packetId } = packet;
    if (packet.type === 'PUBLISH') {
      const isKnown = packet.qos === 2 && this.#unreleased.has(packetId);
      if (!isKnown) this.taken.push(packet.payload.toString());
      if (packet.qos === 2) this.#unreleased.add(packetId);
      if (this.isAcking && packet.qos > 0) {
        this.#line?.send(ack(packet.qos === 1 ? 'PUBACK' : 'PUBREC', packetId));
      }
    } else if (packet.type === 'PUBREL') {
      this.#unreleased.delete(packetId);
      if (this.isAcking) this.#line?.send(ack('PUBCOMP', packetId));
    } else if (packet.type === 'PUBREC' && this.isAcking && packet.reasonCode < 0x80) {
      this.#line?.send(ack('PUBREL', packetId));
    } else if (packet.type === 'DISCONNECT') {
      this.#line?.close();
    }
  }

  #nextId(): number {
    this.#packetId = (this.#packetId % 65_535) + 1;
    return this.#packetId;
  }

  /** Gives the packet id. */
  subscribe(filter: string, qos: 0 | 1 | 2 = 1): number {
    const packetId = this.#nextId();
    const subscriptions = [{ filter, qos }];
    this.#line?.send(subscribe({ version: 5, packetId, subscriptions }));
    return packetId;
  }

  unsubscribe(filter: string): number {
    const packetId = this.#nextId();
    this.#line?.send(unsubscribe({ version: 5, packetId, filters: [filter] }));
    return packetId;
  }

  /** Gives the packet id; `packetId`: it is sent again. */
  publish(
    topic: string,
    payload: string,
    qos: 0 | 1 | 2 = 1,
    options: { readonly retain?: boolean; readonly packetId?: number } = {},
  ): number {
    const { retain = false, packetId = qos === 0 ? 0 : this.#nextId() } = options;
    const dup = options.packetId !== undefined;
    this.#line?.send(
      publish({ version: 5, topic, payload: Buffer.from(payload), qos, packetId, retain, dup }),
    );
    return packetId;
  }

  ack(type: 'PUBACK' | 'PUBREC' | 'PUBREL' | 'PUBCOMP', packetId: number): void {
    this.#line?.send(ack(type, packetId));
  }

  /** Says goodbye. */
  leave(): void {
    this.#line?.end(disconnect());
  }

  /** Cuts the connection. */
  cut(): void {
    this.#line?.close();
  }
}
