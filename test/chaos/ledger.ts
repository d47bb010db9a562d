/**
 * The books of a chaos run: what was sent, acked, subscribed and delivered, in one order, and the
 * verdict at the end. Publishers and subscribers of the harness write it; it knows no socket and no
 * broker, so a test can plant faults in it.
 *
 * A *stream* is one publisher's messages of one QoS to one topic, numbered from 1. A *reader* is
 * one session, or one shared group, which is owed a message when its subscription was granted
 * before the message was first sent.
 */

export type QoS = 1 | 2;

interface Stream {
  readonly name: string;
  readonly publisher: string;
  readonly topic: string;
  readonly qos: QoS;
  /** Publisher and topic: within it first deliveries keep the order of sending, whatever the QoS. */
  readonly line: string;
  /** By sequence number: place in the order of events, 0 for never. */
  readonly sentAt: number[];
  readonly ackedAt: number[];
  /** By sequence number: which life of the broker acked it, for telling where a loss happened. */
  readonly ackedInLife: number[];
  /** Handed over anew because the publisher's session was lost; may arrive twice. */
  readonly mayRepeat: Set<number>;
}

interface Reader {
  readonly name: string;
  readonly isGroup: boolean;
  /** Filter to granted QoS and when that was. */
  readonly subscriptions: Map<string, { readonly qos: QoS; readonly since: number }>;
  /** Filters that ended: nothing first sent later may come. */
  readonly ended: Map<string, number>;
  /** By stream, then sequence number: how often it came. */
  readonly counts: Map<number, number[]>;
  /** By `stream:seq`: which member of a group had it first, and when. */
  readonly firstBy: Map<string, string>;
  /** By stream: numbers that went with a store that lost its data. */
  readonly excused: Map<number, Set<number>>;
  /** By stream: numbers that may come behind younger ones. */
  readonly late: Map<number, Set<number>>;
  /** By stream: place in the order of events up to which a store has lost what it knew. */
  readonly storeLostAt: Map<number, number>;
  /** By line: what came last in the order of sending. */
  readonly latest: Map<string, { readonly sentAt: number; readonly text: string }>;
  /** Of what was sent until then the order is not promised. */
  disorderedAt: number;
}

/** What a session's next CONNACK has to say of it. */
type Expectation = 'absent' | 'first' | 'present' | 'either';

export interface Loss {
  readonly reader: string;
  readonly stream: string;
  readonly seq: number;
  readonly life: number;
}

export interface Verdict {
  readonly published: number;
  readonly acked: number;
  readonly refused: number;
  /** First deliveries, and how many more came. */
  readonly delivered: number;
  readonly redelivered: number;
  /** Message × reader that had to come and never did. */
  readonly owed: number;
  readonly lost: number;
  /** QoS 2 from end to end and more than once. */
  readonly duplicates: number;
  readonly orderViolations: number;
  /** Of both, what is not promised. */
  readonly ordersExcused: number;
  readonly repeatsExcused: number;
  /** Messages of a subscription that had ended, or of none. */
  readonly unwanted: number;
  readonly sessionsLost: number;
  readonly sessionsInvented: number;
  readonly retainedChecked: number;
  readonly retainedWrong: number;
  readonly faults: readonly string[];
  /** The first few of each kind in words. */
  readonly examples: readonly string[];
  readonly isClean: boolean;
}

const FAULTS_MAX = 20;
/** Of each kind. */
const EXAMPLES_MAX = 6;

function between(first: string | undefined, now: string): string {
  return now === '' ? '' : `, ${now} after ${first}`;
}

export class Ledger {
  /** Lives of the broker so far; the harness counts it up with each start. */
  life = 0;
  #now = 0;
  readonly #streams: Stream[] = [];
  readonly #readers = new Map<string, Reader>();
  readonly #sessions = new Map<string, Expectation>();
  readonly #faults: string[] = [];
  readonly #examples: string[] = [];
  readonly #said = new Map<string, number>();
  #published = 0;
  #acked = 0;
  #refused = 0;
  #delivered = 0;
  #redelivered = 0;
  #duplicates = 0;
  #orderViolations = 0;
  #ordersExcused = 0;
  #repeatsExcused = 0;
  #unwanted = 0;
  #sessionsLost = 0;
  #sessionsInvented = 0;
  #retainedChecked = 0;
  #retainedWrong = 0;

  get acked(): number {
    return this.#acked;
  }

  get delivered(): number {
    return this.#delivered;
  }

  // ------------------------------------------------------------------------------ publishers

  stream(publisher: string, topic: string, qos: QoS): number {
    const name = `${publisher} ${topic} qos ${qos}`;
    const mayRepeat = new Set<number>();
    this.#streams.push({
      name,
      publisher,
      topic,
      qos,
      line: `${publisher} ${topic}`,
      sentAt: [0],
      ackedAt: [0],
      ackedInLife: [0],
      mayRepeat,
    });
    return this.#streams.length - 1;
  }

  /** The next message of a stream leaves for the first time; gives its number. */
  sent(stream: number): number {
    const { sentAt, ackedAt, ackedInLife } = this.#streams[stream]!;
    sentAt.push(++this.#now);
    ackedAt.push(0);
    ackedInLife.push(0);
    this.#published++;
    return sentAt.length - 1;
  }

  /** PUBACK or PUBREC of success came: from here on the message may not be lost. */
  ackedMessage(stream: number, seq: number): void {
    const one = this.#streams[stream]!;
    if (one.ackedAt[seq] !== 0) return;
    one.ackedAt[seq] = ++this.#now;
    one.ackedInLife[seq] = this.life;
    this.#acked++;
  }

  refusedMessage(stream: number, seq: number, reasonCode: number): void {
    this.#refused++;
    this.#example('refused', `${this.#streams[stream]!.name} #${seq} 0x${reasonCode.toString(16)}`);
  }

  /** The publisher lost its session and hands the message over as a new one. */
  mayRepeat(stream: number, seq: number): void {
    this.#streams[stream]!.mayRepeat.add(seq);
  }

  // ------------------------------------------------------------------------------ lost data

  /**
   * The store that nodes share has lost its data: what was sent before may come twice or in another
   * order, and may be missing where `mayMiss` says so. What is sent from here on may not. `isHit`: whom that
   * store is for, where there are several.
   */
  storeLost(isHit: (reader: string, publisher: string) => boolean = () => true): void {
    for (const { name, storeLostAt } of this.#readers.values()) {
      for (const [stream, { publisher }] of this.#streams.entries()) {
        if (isHit(name, publisher)) storeLostAt.set(stream, this.#now);
      }
    }
  }

  get readers(): Iterable<string> {
    return this.#readers.keys();
  }

  publisherOf(stream: number): string | undefined {
    return this.#streams[stream]?.publisher;
  }

  /** It was only in the queue that is lost. */
  mayMiss(name: string, stream: number, seq: number): void {
    note(this.#readers.get(name)?.excused, stream, seq);
  }

  /** One of the ways it comes on has lost it. */
  mayBeLate(name: string, stream: number, seq: number): void {
    note(this.#readers.get(name)?.late, stream, seq);
  }

  // ------------------------------------------------------------------------------ sessions

  /** CONNECT leaves. With clean start the session and its claims end here. */
  connecting(clientId: string, clean: boolean): void {
    const before = this.#sessions.get(clientId) ?? 'absent';
    // A first CONNECT that got no answer may have made a session or not.
    if (clean || before === 'first') this.#sessions.set(clientId, 'either');
    else if (before === 'absent') this.#sessions.set(clientId, 'first');
    const reader = this.#readers.get(clientId);
    if (clean && reader !== undefined) {
      reader.subscriptions.clear();
      reader.counts.clear();
      reader.latest.clear();
      reader.ended.clear();
    }
  }

  /** Whether its next CONNACK has to find a session. */
  expects(clientId: string): boolean {
    return this.#sessions.get(clientId) === 'present';
  }

  /** What it had is not promised any more: its claims end here. */
  beginsAnew(clientId: string): void {
    this.connecting(clientId, true);
  }

  /**
   * CONNACK came. True: the session is the one the client knows. A session that does not last ends
   * with its connection, as one of MQTT 3.1.1 with clean session does.
   */
  connected(clientId: string, clean: boolean, isPresent: boolean, isLasting = true): boolean {
    const expected = this.#sessions.get(clientId) ?? 'absent';
    this.#sessions.set(clientId, isLasting ? 'present' : 'absent');
    if (isPresent && (clean || expected === 'first')) {
      this.#sessionsInvented++;
      this.#example('session invented', clientId);
    }
    if (!isPresent && !clean && expected === 'present') {
      this.#sessionsLost++;
      this.#example('session lost', clientId);
    }
    return isPresent;
  }

  // ------------------------------------------------------------------------------ readers

  reader(name: string, isGroup = false): void {
    this.#readers.set(name, {
      name,
      isGroup,
      subscriptions: new Map(),
      ended: new Map(),
      counts: new Map(),
      firstBy: new Map(),
      excused: new Map(),
      late: new Map(),
      storeLostAt: new Map(),
      latest: new Map(),
      disorderedAt: 0,
    });
  }

  /** SUBSCRIBE leaves: messages may come before its SUBACK. */
  subscribing(name: string, filter: string): void {
    this.#readers.get(name)!.ended.delete(filter);
  }

  /** SUBACK came. A session that is told so again keeps its older claim. */
  subscribed(name: string, filter: string, qos: QoS): void {
    const reader = this.#readers.get(name)!;
    const before = reader.subscriptions.get(filter);
    if (before === undefined || before.qos !== qos) {
      reader.subscriptions.set(filter, { qos, since: ++this.#now });
    }
  }

  /** What was sent until now may come to it in another order. */
  disordered(name: string): void {
    this.#readers.get(name)!.disorderedAt = this.#now;
  }

  /** UNSUBSCRIBE leaves: what is queued may go with it. */
  unsubscribing(name: string, filter: string): void {
    this.#readers.get(name)!.subscriptions.delete(filter);
  }

  /** UNSUBACK came: nothing that is sent from here on may be delivered. */
  unsubscribed(name: string, filter: string): void {
    this.#readers.get(name)!.ended.set(filter, ++this.#now);
  }

  /**
   * A subscriber took a message, as an application sees it: at QoS 2 a packet identifier that has
   * not been released is the same delivery, however often it comes.
   */
  /** `who`: the member of a group, and where; for examples. */
  deliveredMessage(name: string, stream: number, seq: number, who: string = ''): void {
    const reader = this.#readers.get(name)!;
    const from = this.#streams[stream];
    if (from === undefined || from.sentAt[seq] === undefined || seq === 0) {
      this.fault(`${name} received a message nobody sent: stream ${stream} #${seq}`);
      return;
    }
    const key = `${stream}:${seq}`;
    const first = reader.firstBy.get(key);
    if (first === undefined && who !== '') reader.firstBy.set(key, who);
    const lostAt = reader.storeLostAt.get(stream) ?? 0;
    let counts = reader.counts.get(stream);
    if (counts === undefined) reader.counts.set(stream, (counts = []));
    const before = counts[seq] ?? 0;
    counts[seq] = before + 1;
    if (before === 0) {
      this.#delivered++;
      const isLate = reader.late.get(stream)?.has(seq) === true;
      this.#checkOrder(reader, from, seq, isLate ? Number.POSITIVE_INFINITY : lostAt);
      this.#checkWanted(reader, from, seq);
      return;
    }
    this.#redelivered++;
    if (this.#qosTo(reader, from) !== 2 || from.sentAt[seq] <= lostAt) return;
    if (from.mayRepeat.has(seq)) {
      this.#repeatsExcused++;
      return;
    }
    this.#duplicates++;
    this.#example(
      'duplicate',
      `${name}: ${from.name} #${seq}, time ${before + 1}${between(first, who)}`,
    );
  }

  #checkOrder(reader: Reader, from: Stream, seq: number, lostAt: number): void {
    const sentAt = from.sentAt[seq]!;
    // What was sent before the subscription comes only when it is sent again, after newer ones.
    const [since] = owedSince(reader, from);
    if (since === undefined || sentAt < since || sentAt <= lostAt) return;
    const latest = reader.latest.get(from.line);
    if (latest === undefined || sentAt > latest.sentAt) {
      reader.latest.set(from.line, { sentAt, text: `${from.name} #${seq}` });
    } else if (sentAt <= reader.disorderedAt) {
      this.#ordersExcused++;
    } else if (!reader.isGroup) {
      this.#orderViolations++;
      this.#example('order', `${reader.name}: ${from.name} #${seq} after ${latest.text}`);
    }
  }

  #checkWanted(reader: Reader, from: Stream, seq: number): void {
    for (const filter of reader.subscriptions.keys()) if (matches(filter, from.topic)) return;
    for (const [filter, at] of reader.ended) {
      if (matches(filter, from.topic) && from.sentAt[seq]! > at) {
        this.#unwanted++;
        this.#example('unwanted', `${reader.name}: ${from.name} #${seq} after ${filter} ended`);
      }
    }
  }

  #qosTo(reader: Reader, from: Stream): number {
    let qos = 0;
    for (const [filter, granted] of reader.subscriptions) {
      if (matches(filter, from.topic)) qos = Math.max(qos, Math.min(granted.qos, from.qos));
    }
    return qos;
  }

  // ------------------------------------------------------------------------------ the rest

  /** A retained value as a new subscriber found it, against what it could be. */
  retained(topic: string, found: string, allowed: readonly string[]): void {
    this.#retainedChecked++;
    if (allowed.includes(found)) return;
    this.#retainedWrong++;
    const short = (value: string): string => (value === '' ? 'nothing' : value.slice(0, 12));
    this.#example(
      'retained',
      `${topic} is ${short(found)}, not ${allowed.map(short).join(' or ')}`,
    );
  }

  /** Anything else a broker may not do: malformed packets, a crash, an identifier used twice. */
  fault(text: string): void {
    if (this.#faults.length < FAULTS_MAX) this.#faults.push(`${text}, life ${this.life}`);
  }

  #example(kind: string, text: string): void {
    const said = this.#said.get(kind) ?? 0;
    this.#said.set(kind, said + 1);
    if (said < EXAMPLES_MAX) this.#examples.push(`${kind}: ${text}, life ${this.life}`);
  }

  /** Every message that is owed and has not come. */
  *missing(): Generator<Loss> {
    for (const reader of this.#readers.values()) {
      for (const [index, stream] of this.#streams.entries()) {
        const counts = reader.counts.get(index);
        const excused = reader.excused.get(index);
        for (const since of owedSince(reader, stream)) {
          for (let seq = 1; seq < stream.sentAt.length; seq++) {
            if (stream.ackedAt[seq] === 0 || stream.sentAt[seq]! < since) continue;
            if ((counts?.[seq] ?? 0) > 0 || excused?.has(seq) === true) continue;
            const life = stream.ackedInLife[seq]!;
            yield { reader: reader.name, stream: stream.name, seq, life };
          }
        }
      }
    }
  }

  get isSettled(): boolean {
    return this.missing().next().done === true;
  }

  #owed(): number {
    let owed = 0;
    for (const reader of this.#readers.values()) {
      for (const stream of this.#streams) {
        for (const since of owedSince(reader, stream)) {
          for (let seq = 1; seq < stream.sentAt.length; seq++) {
            if (stream.ackedAt[seq] !== 0 && stream.sentAt[seq]! >= since) owed++;
          }
        }
      }
    }
    return owed;
  }

  verdict(): Verdict {
    let lost = 0;
    const examples = [...this.#examples];
    for (const loss of this.missing()) {
      lost++;
      if (lost <= FAULTS_MAX) {
        const { stream, seq, reader, life } = loss;
        examples.push(`lost: ${stream} #${seq} for ${reader}, acked in life ${life}`);
      }
    }
    const counts = {
      lost,
      duplicates: this.#duplicates,
      orderViolations: this.#orderViolations,
      unwanted: this.#unwanted,
      sessionsLost: this.#sessionsLost,
      sessionsInvented: this.#sessionsInvented,
      retainedWrong: this.#retainedWrong,
    };
    const bad = Object.values(counts).reduce((sum, count) => sum + count, this.#faults.length);
    return {
      published: this.#published,
      acked: this.#acked,
      refused: this.#refused,
      delivered: this.#delivered,
      redelivered: this.#redelivered,
      owed: this.#owed(),
      retainedChecked: this.#retainedChecked,
      ordersExcused: this.#ordersExcused,
      repeatsExcused: this.#repeatsExcused,
      ...counts,
      faults: this.#faults,
      examples,
      isClean: bad === 0,
    };
  }
}

function note(numbers: Map<number, Set<number>> | undefined, stream: number, seq: number): void {
  const known = numbers?.get(stream);
  if (known === undefined) numbers?.set(stream, new Set([seq]));
  else known.add(seq);
}

/** The earliest claim of a reader to a stream, as a list of none or one. */
function owedSince(reader: Reader, stream: Stream): number[] {
  const claims = [...reader.subscriptions]
    .filter(([filter]) => matches(filter, stream.topic))
    .map(([, { since }]) => since);
  return claims.length === 0 ? [] : [Math.min(...claims)];
}

/** MQTT topic filters, without the rules about `$`. */
export function matches(filter: string, topic: string): boolean {
  const wanted = filter.split('/');
  const levels = topic.split('/');
  for (const [index, level] of wanted.entries()) {
    if (level === '#') return true;
    if (index >= levels.length || (level !== '+' && level !== levels[index])) return false;
  }
  return wanted.length === levels.length;
}
