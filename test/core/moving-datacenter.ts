/**
 * A fake datacenter `eu` whose sessions go to and fro between it and `us`, which the test plays: it hears what
 * each node says in the queue of its link, and answers what the holder of the links asks.
 */
import type { HolderRoaming } from '../../src/core/holder-roaming.ts';
import { LinkProperties } from '../../src/core/link-properties.ts';
import type { PeerCertificate } from '../../src/core/ports.ts';
import { RegionLinks } from '../../src/core/region-links.ts';
import type { FetchAnswer, Mover } from '../../src/core/roaming-ports.ts';
import type { Session } from '../../src/core/session.ts';
import { decodeMoved } from '../../src/geo/roaming/frame.ts';
import { roamCodec } from '../../src/geo/roaming/roam-codec.ts';
import type { FakeClient } from './fake-client.ts';
import { FakeDatacenter, type FakeNode } from './fake-datacenter.ts';
import { FakeDirectory } from './fake-directory.ts';
import { FakeSink } from './fake-sink.ts';

export const kept = { clean: false, expiryS: 3600 } as const;

const terms = {
  ...{ region: 'us', user: null, certificate: 'us.example', topics: ['#'] },
  ...{ budgetAgeMs: 60_000, budgetBytes: 1e6 },
};

/** Answers at once, as it was told to. */
class FakeMover implements Mover {
  answer: FetchAnswer = { kind: 'silent' };
  readonly asksAgain: string[] = [];

  fetch(
    _clientId: string,
    _home: string,
    epoch: number,
    done: (answer: FetchAnswer, epoch: number) => void,
  ): void {
    done(this.answer, epoch);
  }

  locate(
    _clientId: string,
    _epoch: number,
    done: (home: string | null, isSure: boolean) => void,
  ): void {
    done(null, true);
  }

  goneTo(): null {
    return null;
  }

  inquire(): void {}

  begin(): void {}
  askAgain(clientId: string, region: string, to: string, epoch: number): void {
    this.asksAgain.push(`${region} of ${clientId}: to ${to} ${epoch}`);
  }

  asked(): void {}
}

export class MovingDatacenter {
  readonly site: FakeDatacenter = new FakeDatacenter();
  readonly mover: FakeMover = new FakeMover();
  readonly notes: Map<string, Buffer> = new Map();
  holder!: HolderRoaming;
  #nodes = 0;

  async node(): Promise<FakeNode> {
    const links = new RegionLinks('eu', Buffer.alloc(16, ++this.#nodes));
    links.revise([terms]);
    const directory = new FakeDirectory(this.site.time);
    const node = await this.site.node({ links, directory, roamCodec });
    node.world.broker.sharedRoaming!.start();
    return node;
  }

  /** That node has the links from now on. */
  hold(node: FakeNode): void {
    const { notes } = this;
    this.holder = node.world.broker.holdRoaming({
      putNote: (key, value) => {
        if (value === null) notes.delete(key);
        else notes.set(key, value);
        return 0;
      },
      whenDurable: (_ticket, settled) => settled(false),
    });
    for (const [key, value] of notes) this.holder.restore(key, value);
    this.holder.mover = this.mover;
    this.holder.resume();
    this.settle();
  }

  settle(): void {
    this.site.time.settle();
  }

  /** The link of us, at that node. */
  linked(node: FakeNode): FakeClient {
    const certificate = { subjectCommonName: 'us.example' } as PeerCertificate;
    const sink = Object.assign(new FakeSink(), { certificate });
    const link = node.world.connected(5, '$link/us', kept, sink);
    link.subscribe('to/#', 2);
    this.settle();
    return link;
  }

  session(clientId: string): Session {
    const session = this.holder.session(clientId);
    if (session === null) throw new Error(`${clientId} has no session here`);
    return session;
  }

  /** The last message for us, and whatever it says of where it belongs, by client. */
  lastForUs(): { readonly text: string; readonly placed: readonly (readonly string[])[] } {
    const { queue } = this.site.rows.get('$link/us')!;
    const { message } = queue.findLast(
      ({ append }) => append.message.topic !== '$roam/moved',
    )!.append;
    const { propertyBuffer, propertyStart, propertyBytes } = message;
    const properties = new LinkProperties();
    properties.read(propertyBuffer, propertyStart, propertyStart + propertyBytes);
    return { text: message.payload.toString(), placed: [...(properties.placed ?? [])] };
  }

  /** What is in the queue of that session, oldest first; words of what moves as where they point. */
  queueOf(clientId: string): string[] {
    const queue = this.site.rows.get(clientId)?.queue ?? [];
    return queue.map(({ append: { message } }) => {
      const { payload } = message;
      if (message.topic !== '$roam/moved') return payload.toString();
      const { to, by } = decodeMoved('eu', payload);
      return by === undefined ? `region to ${to}` : `node to ${to}`;
    });
  }
}
