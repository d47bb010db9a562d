/**
 * QoS 1 and 2 messages on their way from a link into the queues of a datacenter (docs/adr/0022, hard case
 * 10). A QoS 2 message is noted with its body, and the name its appends will have, before any of it leaves;
 * its holder, or the next one, publishes it under that name, so that queues drop what they had. So that
 * none overtakes another of QoS 1, that one is safe before the note is written, or is noted as well. Words
 * about sessions that move have their places among them (docs/adr/0023). Used by `region-link.ts`, one for
 * each taking of the notes, made by `link-holder.ts`.
 */
import type { LinkInlet } from '../core/link-inlet.ts';
import type { LinkProperties } from '../core/link-properties.ts';
import type { Clock, Log } from '../core/ports.ts';
import type { AppendIdentity, GroupChoices } from '../core/shared-append.ts';
import { OWN_IDENTITY } from '../core/shared-append.ts';
import { Ring } from '../util/ring.ts';
import type { PublishView } from '../wire/publish.ts';
import { AppliedWords, type SayWord } from './applied-words.ts';
import { type Arrival, decodeArrival, encodeArrival } from './arrival.ts';
import { type IdentityWindow, NEW } from './identity-window.ts';
import type { LinkNotes } from './link-notes.ts';

export interface LineParts {
  readonly inlet: Pick<LinkInlet, 'publish' | 'choose' | 'isFull'>;
  readonly window: IdentityWindow;
  readonly notes: LinkNotes;
  /** A node that was stopped while it noted something may be the holder no longer (hard case 2). */
  readonly isHolder: () => boolean;
  readonly clock: Clock;
  readonly log: Log;
}

type Done = (failed: boolean) => void;

/** Not published yet: it is not noted, or one before it is not. */
interface Waiting {
  readonly arrival: Arrival;
  readonly identity: AppendIdentity;
  readonly done: Done;
  /** Held: not noted while something that was published without a note is not safe. */
  state: 'held' | 'noting' | 'noted' | 'failed';
  /** What is noted, while it is held. */
  bytes: Buffer | null;
}

/** It counts when all before it are published, and nothing behind it is noted before it is kept. */
interface WaitingWord {
  readonly state: 'word';
  readonly say: SayWord;
  readonly done: Done;
}

const KEY_PREFIX = 'p/';

export class ArrivalLine {
  readonly #parts: LineParts;
  readonly #waiting: Ring<Waiting | WaitingWord> = new Ring();
  #waitingWords = 0;
  readonly #words: AppliedWords = new AppliedWords();
  /** By key of their note: what an earlier holder may or may not have published. */
  readonly #left: Map<string, { readonly identity: AppendIdentity; readonly bytes: Buffer }> =
    new Map();
  /** Published without a note, and not safe yet; and words that count and are not kept. Then all that waits is held. */
  #unsafe = 0;
  #isClosed = false;

  constructor(parts: LineParts) {
    this.#parts = parts;
  }

  /** Nothing more is taken: what is noted is for whoever takes the notes next, also this node. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** `done`: it is safe here, and its name too; or it is to come again. */
  add(view: PublishView, topic: string, properties: LinkProperties, done: Done): void {
    const { window, notes, clock, inlet } = this.#parts;
    const { source, number } = properties;
    if (this.#isClosed || inlet.isFull) {
      done(true);
      return;
    }
    window.begin(source, number);
    if (view.qos !== 2 && this.#waiting.length === 0) {
      this.#unsafe++;
      this.#publish(view, topic, properties, OWN_IDENTITY, null, done);
      return;
    }
    const nowMs = clock.wallMs();
    const choices = view.qos === 2 ? inlet.choose(topic) : NO_CHOICES;
    const bytes = encodeArrival(view, topic, choices, nowMs);
    const arrival = decodeArrival(bytes, nowMs)!;
    // Behind a QoS 2 message those of QoS 1 are noted as well: published without it they would be late.
    const waiting: Waiting = { arrival, identity: notes.nextName(), done, state: 'held', bytes };
    this.#waiting.push(waiting);
    if (this.#unsafe === 0 && this.#waitingWords === 0) this.#note(waiting);
  }

  /** Of another region about a session that moves, in its place; `done` as of a message. */
  addWord(say: SayWord, done: Done): void {
    if (this.#isClosed || !this.#parts.isHolder()) {
      done(true);
    } else if (this.#waiting.length === 0) {
      this.#apply(say, done);
    } else {
      this.#waiting.push({ state: 'word', say, done });
      this.#waitingWords++;
    }
  }

  /** What a next holder publishes again it judges by what is kept: that was not behind this word. */
  #apply(say: SayWord, done: Done): void {
    this.#unsafe++;
    this.#words.add(say, (failed) => {
      const isLost = failed || this.#isClosed;
      done(isLost);
      this.#safe(isLost);
    });
  }

  #note(waiting: Waiting): void {
    const { notes } = this.#parts;
    const { identity, bytes } = waiting;
    waiting.state = 'noting';
    waiting.bytes = null;
    notes.whenDurable(notes.putNote(keyOf(identity), bytes), (failed) => {
      waiting.state = failed ? 'failed' : 'noted';
      this.#release();
    });
  }

  /** One that was published without a note is safe; `failed`: it comes again, and so does what is behind. */
  #safe(failed: boolean): void {
    this.#unsafe--;
    if (this.#waiting.length === 0) return;
    if (failed) this.#drop();
    else if (this.#unsafe === 0) this.#noteHeld();
  }

  #noteHeld(): void {
    const held: Waiting[] = [];
    for (let index = 0; index < this.#waiting.length; index++) {
      const waiting = this.#waiting.at(index)!;
      if (waiting.state === 'word') break;
      held.push(waiting);
    }
    // The first one that cannot be noted takes all that wait with it.
    for (const waiting of held) if (waiting.state === 'held') this.#note(waiting);
  }

  /** This node may serve again. */
  goOn(): void {
    this.#release();
  }

  /** In the order in which they came. */
  #release(): void {
    const waiting = this.#waiting;
    for (let first = waiting.at(0); first !== undefined; first = waiting.at(0)) {
      if (first.state === 'held' || first.state === 'noting') return;
      if (first.state === 'failed') {
        this.close();
        return;
      }
      // Its holder may be the holder again in a moment, or ends this line.
      if (!this.#parts.isHolder()) return;
      waiting.shift();
      if (first.state === 'word') {
        this.#waitingWords--;
        this.#apply(first.say, first.done);
        continue;
      }
      const { arrival, identity, done } = first;
      const { view, topic, properties, choices } = arrival;
      this.#publish(view, topic, properties, identity, choices, done);
    }
  }

  /**
   * All that waits comes again, as nothing may overtake what does. Notes stay: taken back one by one, those
   * behind would be left when their holder ends, and be published before what comes again.
   */
  #drop(): void {
    const waiting = this.#waiting;
    for (let count = waiting.length; count > 0; count--) {
      const dropped = waiting.shift()!;
      if (dropped.state === 'word') {
        this.#waitingWords--;
        dropped.done(true);
        continue;
      }
      const { arrival, done } = dropped;
      dropped.state = 'failed';
      const { source, number } = arrival.properties;
      this.#end(source, number, true, done);
    }
    // One that came meanwhile has nothing before it that would bring its turn.
    if (waiting.at(0)?.state === 'word') this.#release();
  }

  #publish(
    view: PublishView,
    topic: string,
    properties: LinkProperties,
    identity: AppendIdentity,
    choices: GroupChoices | null,
    done: Done,
  ): void {
    const { inlet, window, notes } = this.#parts;
    const { source, number, end } = properties;
    const stretch = this.#words.begin();
    const ended = (failed: boolean): void => {
      this.#end(source, number, failed, done);
      this.#words.end(stretch, failed);
    };
    const mark = properties.mark();
    const settled = (failed: boolean): void => {
      if (this.#isClosed) {
        ended(true);
        return;
      }
      const isNoted = identity !== OWN_IDENTITY;
      if (!isNoted) this.#safe(failed);
      if (failed) {
        ended(true);
        if (isNoted) this.#giveUp();
        return;
      }
      // The name of the message first, then what would bring it again.
      const ticket = window.mark(source, number, true);
      if (isNoted) notes.putNote(keyOf(identity), null);
      notes.whenDurable(ticket, (unnamed) => {
        // It is to come again, and must not be known if Redis has lost the message, too.
        if (unnamed) window.unmark(source, number);
        ended(unnamed);
      });
    };
    inlet.publish(view, topic, end, mark, 0, settled, identity, choices);
  }

  /**
   * What is noted comes by its note, under its name, before all that was noted behind it: some queues may have
   * it, and those behind it.
   */
  #giveUp(): void {
    this.#parts.log.warn({}, 'a message of another region could not be kept: links are taken anew');
    this.close();
  }

  #end(source: string, number: number, failed: boolean, done: Done): void {
    this.#parts.window.end(source, number, failed);
    done(failed);
  }

  // ------------------------------------------------------------------ of an earlier holder

  /** False: the note is none of a message. */
  restore(key: string, value: Buffer): boolean {
    if (!key.startsWith(KEY_PREFIX)) return false;
    const slash = key.lastIndexOf('/');
    const publisherSeq = Number.parseInt(key.slice(slash + 1), 16);
    const publisherSid = key.slice(KEY_PREFIX.length, slash);
    this.#left.set(key, { identity: { publisherSid, publisherSeq }, bytes: Buffer.from(value) });
    return true;
  }

  /** When all notes are restored, before any link is up. How many it has published. */
  replay(): number {
    const { window, notes, clock, log } = this.#parts;
    // Keys rise with the holder and with its names: queues know by the last name what they had.
    const keys = [...this.#left.keys()].sort();
    let count = 0;
    for (const key of keys) {
      const { identity, bytes } = this.#left.get(key)!;
      const arrival = decodeArrival(bytes, clock.wallMs());
      if (arrival === null) {
        log.warn({ key }, 'a message of another holder of the links cannot be read');
        notes.putNote(key, null);
        continue;
      }
      const { view, topic, properties, choices } = arrival;
      const { source, number } = properties;
      if (window.seen(source, number) !== NEW) {
        notes.putNote(key, null);
        continue;
      }
      window.begin(source, number);
      this.#publish(view, topic, properties, identity, choices, ignore);
      count++;
    }
    this.#left.clear();
    return count;
  }

  /** Notes are to be taken anew, here or elsewhere: nothing more is published or noted. */
  close(): void {
    this.#isClosed = true;
    this.#drop();
  }
}

const NO_CHOICES: GroupChoices = new Map();

function ignore(): void {}

/** In the order of text as in the order of names. */
function keyOf({ publisherSid, publisherSeq }: AppendIdentity): string {
  return `${KEY_PREFIX}${publisherSid}/${publisherSeq.toString(16).padStart(14, '0')}`;
}
