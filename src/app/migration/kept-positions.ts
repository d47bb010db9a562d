/**
 * Positions of a queue that moves. Packet ids follow from them, and a client knows those of what it was
 * sent, so positions stay the same modulo the number of packet ids; holes fill what lies between. Used by
 * redis-target.ts; pure.
 */

const PACKET_IDS = 65_535;
/** So many can have been sent and not settled: whatever is behind them has no id that anybody knows. */
const SENT_MAX = 65_535;
/** Acks out of order leave fewer holes than this; more of them would fill memory with nothing. */
const HOLES_MAX = 2 * PACKET_IDS;

export class KeptPositions {
  /** Position before the first. */
  head = 0;
  /** Of the last one placed. */
  tail = 0;
  #placed = 0;
  #holes = 0;

  /**
   * The position of the next entry: the lowest that gives it the packet id it has, or, where it was
   * certainly not sent, the next one. Released entries always keep theirs: PUBREL carries it.
   */
  place(seq: number, isReleased: boolean): number {
    if (this.#placed === 0) {
      this.head = seq - 1;
      this.tail = this.head;
    }
    const between = mod(seq - this.tail - 1, PACKET_IDS);
    const isKept = isReleased || (this.#placed < SENT_MAX && this.#holes + between <= HOLES_MAX);
    this.#placed++;
    if (isKept) this.#holes += between;
    this.tail += 1 + (isKept ? between : 0);
    return this.tail;
  }
}

function mod(value: number, by: number): number {
  return ((value % by) + by) % by;
}
