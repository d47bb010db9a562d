/**
 * The clients an attack must not touch: pairs that publish and receive at a steady pace, QoS 1, and
 * count every message. Used by the tests in this folder around each attack.
 */
import type { Test } from 'tap';
import { Client, connectClient, openSocket } from '../conformance/client.ts';
import { ack } from '../conformance/packets.ts';

const PAIRS = 4;
const EVERY_MS = 20;
/** Time for the last messages after the attack. */
const DRAIN_MS = 10_000;

export interface Seen {
  readonly sent: number;
  readonly acked: number;
  readonly received: number;
  readonly isInOrder: boolean;
  readonly slowestMs: number;
}

export class Bystanders {
  readonly #clients: Client[] = [];
  #timer: NodeJS.Timeout | null = null;
  #sent = 0;
  #acked = 0;
  #received = 0;
  #isInOrder = true;
  #slowestMs = 0;
  #isOver = false;

  static async open(port: number): Promise<Bystanders> {
    const crowd = new Bystanders();
    const pairs: { writer: Client; topic: string; seq: number }[] = [];
    for (let pair = 0; pair < PAIRS; pair++) {
      const version = pair % 2 === 0 ? 4 : 5;
      const writer = await crowd.#client(port, version, `calm-writer-${pair}`);
      const reader = await crowd.#client(port, version, `calm-reader-${pair}`);
      await reader.subscribed(`calm/${pair}`, { qos: 1 });
      pairs.push({ writer, topic: `calm/${pair}`, seq: 0 });
      void crowd.#read(reader);
      void crowd.#countAcks(writer);
    }
    crowd.#timer = setInterval(() => {
      for (const pair of pairs) {
        const packetId = (pair.seq % 60_000) + 1;
        const payload = `${pair.seq++} ${performance.now()}`;
        pair.writer.sendPublish(pair.topic, payload, { qos: 1, packetId });
        crowd.#sent++;
      }
    }, EVERY_MS);
    return crowd;
  }

  async #client(port: number, version: 4 | 5, clientId: string): Promise<Client> {
    const client = new Client(await openSocket('127.0.0.1', port), version, clientId);
    this.#clients.push(client);
    return connectClient(client, { version, clientId, keepAliveSec: 0 });
  }

  async #read(reader: Client): Promise<void> {
    for (let next = 0; ; next++) {
      const packet = await this.#packet(reader);
      if (packet === null) return;
      const [seq, sentMs] = packet.payload.toString().split(' ').map(Number);
      if (packet.type !== 'PUBLISH' || seq !== next) this.#isInOrder = false;
      this.#slowestMs = Math.max(this.#slowestMs, performance.now() - (sentMs ?? 0));
      this.#received++;
      reader.send(ack('PUBACK', packet.packetId));
    }
  }

  async #countAcks(writer: Client): Promise<void> {
    for (;;) {
      const packet = await this.#packet(writer);
      if (packet === null) return;
      if (packet.type === 'PUBACK' && packet.reasonCode === 0) this.#acked++;
    }
  }

  async #packet(client: Client): Promise<Awaited<ReturnType<Client['next']>>> {
    for (;;) {
      const packet = await client.next(500);
      if (packet !== null || client.isClosed || this.#isOver) return packet;
    }
  }

  /** Ends the traffic and asserts that all of it arrived, acked and in order. */
  async settle(t: Test): Promise<Seen> {
    if (this.#timer !== null) clearInterval(this.#timer);
    const deadline = performance.now() + DRAIN_MS;
    const isDone = (): boolean => this.#received === this.#sent && this.#acked === this.#sent;
    while (!isDone() && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    t.ok(this.#sent > 20, `the others sent ${this.#sent} messages meanwhile`);
    t.equal(this.#acked, this.#sent, 'each was acked');
    t.equal(this.#received, this.#sent, 'each arrived once');
    t.ok(this.#isInOrder, 'and in order');
    t.notOk(
      this.#clients.some(({ isClosed }) => isClosed),
      'nobody of them was disconnected',
    );
    t.comment(`slowest message of the others: ${Math.round(this.#slowestMs)} ms`);
    const seen = {
      sent: this.#sent,
      acked: this.#acked,
      received: this.#received,
      isInOrder: this.#isInOrder,
      slowestMs: this.#slowestMs,
    };
    this.close();
    return seen;
  }

  close(): void {
    this.#isOver = true;
    if (this.#timer !== null) clearInterval(this.#timer);
    for (const client of this.#clients) client.destroy();
  }
}
