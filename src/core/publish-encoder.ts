/**
 * Encodes the current publication for its receivers, once per layout (version, QoS, RETAIN, packet
 * id), straight into the outbox' chunk (data plane). Receivers with the same layout share the bytes;
 * where the incoming packet already has the layout, it is copied and patched.
 */
import { publishRemaining, writePublish } from '../wire/publish.ts';
import { varintSize } from '../wire/varint.ts';
import type { Outbox } from './outbox.ts';
import type { Outlet } from './outlet.ts';
import type { Publication } from './publication.ts';

/** (version 5 or not) × QoS × RETAIN. */
const LAYOUTS = 12;

export class PublishEncoder {
  /** The encoded packet in `outbox.chunk` after `encode` returned true. */
  start = 0;
  end = 0;
  readonly #outbox: Outbox;
  readonly #epochs: Float64Array = new Float64Array(LAYOUTS);
  readonly #starts: Int32Array = new Int32Array(LAYOUTS);
  readonly #ends: Int32Array = new Int32Array(LAYOUTS);
  readonly #ids: Int32Array = new Int32Array(LAYOUTS);

  constructor(outbox: Outbox) {
    this.#outbox = outbox;
  }

  /** Call when the publication has changed: cached layouts belong to the one before. */
  begin(): void {
    this.#outbox.epoch++;
  }

  /**
   * Encodes for one receiver; `id` is 0 for QoS 0. Returns false when the packet is larger than the
   * receiver accepts [MQTT5-3.1.2-24].
   */
  encode(
    publication: Publication,
    outlet: Outlet,
    qos: number,
    retain: boolean,
    dup: boolean,
    id: number,
    subscriptionIds: readonly number[] | null,
  ): boolean {
    if (subscriptionIds !== null || outlet.aliasesMax > 0 || dup) {
      return this.#encodeOne(publication, outlet, qos, retain, dup, id, subscriptionIds);
    }
    const layout = (outlet.version === 5 ? 6 : 0) + (retain ? 3 : 0) + qos;
    const outbox = this.#outbox;
    if (this.#epochs[layout] === outbox.epoch && this.#ids[layout] === id) {
      this.start = this.#starts[layout]!;
      this.end = this.#ends[layout]!;
      return this.end - this.start <= outlet.packetBytesMax;
    }
    const firstByte = 0x30 | (qos << 1) | (retain ? 1 : 0);
    const isForwardable =
      publication.wireVersion !== 0 &&
      (publication.wireVersion === 5) === (outlet.version === 5) &&
      publication.view.qos > 0 === qos > 0;
    if (isForwardable) this.#forward(publication, firstByte, id);
    else this.#write(publication, outlet, firstByte, id, 0, null, true);
    this.#epochs[layout] = outbox.epoch;
    this.#ids[layout] = id;
    this.#starts[layout] = this.start;
    this.#ends[layout] = this.end;
    return this.end - this.start <= outlet.packetBytesMax;
  }

  /** The received packet with another first byte and packet id. */
  #forward(publication: Publication, firstByte: number, id: number): void {
    const bytes = publication.wireEnd - publication.wireStart;
    const start = this.#outbox.reserve(bytes);
    const chunk = this.#outbox.chunk;
    const view = publication.view;
    view.topicBuffer.copy(chunk, start, publication.wireStart, publication.wireEnd);
    chunk[start] = firstByte;
    if (id !== 0) {
      const at = start + view.topicEnd - publication.wireStart;
      chunk[at] = id >>> 8;
      chunk[at + 1] = id;
    }
    this.start = start;
    this.end = start + bytes;
    this.#outbox.position = this.end;
  }

  #write(
    publication: Publication,
    outlet: Outlet,
    firstByte: number,
    id: number,
    topicAlias: number,
    subscriptionIds: readonly number[] | null,
    sendTopic: boolean,
  ): void {
    const view = publication.view;
    const expiryS = publication.expiryS;
    const remaining = publishRemaining(
      view,
      outlet.version,
      (firstByte >> 1) & 3,
      sendTopic ? view.topicEnd - view.topicStart - 2 : 0,
      expiryS,
      topicAlias,
      subscriptionIds,
    );
    const bytes = 1 + varintSize(remaining) + remaining;
    this.start = this.#outbox.reserve(bytes);
    this.end = writePublish(
      this.#outbox.chunk,
      this.start,
      view,
      outlet.version,
      firstByte,
      id,
      remaining,
      expiryS,
      topicAlias,
      subscriptionIds,
      sendTopic,
    );
    this.#outbox.position = this.end;
  }

  /** For this receiver alone: DUP, subscription identifiers or a topic alias of its own. */
  #encodeOne(
    publication: Publication,
    outlet: Outlet,
    qos: number,
    retain: boolean,
    dup: boolean,
    id: number,
    subscriptionIds: readonly number[] | null,
  ): boolean {
    const firstByte = 0x30 | (dup ? 8 : 0) | (qos << 1) | (retain ? 1 : 0);
    const ids = outlet.version === 5 ? subscriptionIds : null;
    let alias = 0;
    let sendTopic = true;
    let isNewAlias = false;
    if (outlet.aliasesMax > 0) {
      outlet.aliases ??= new Map();
      const known = outlet.aliases.get(publication.topic);
      if (known !== undefined) {
        alias = known;
        sendTopic = false;
      } else if (outlet.aliases.size < outlet.aliasesMax) {
        alias = outlet.aliases.size + 1;
        isNewAlias = true;
      }
    }
    this.#write(publication, outlet, firstByte, id, alias, ids, sendTopic);
    if (this.end - this.start > outlet.packetBytesMax) return false;
    // Only a packet that leaves may teach the client an alias.
    if (isNewAlias) outlet.aliases!.set(publication.topic, alias);
    return true;
  }
}
