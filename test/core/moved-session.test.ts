// CONNECT of a client whose session may be in another region, with whoever moves sessions played by the test: when
// others are asked, what is taken from a home, and what waits for a move (ADR 0023).
import t from 'tap';
import type { MovedEntry } from '../../src/core/moved-entry.ts';
import { RegionLinks } from '../../src/core/region-links.ts';
import type { FetchAnswer, HandedSession, Mover } from '../../src/core/roaming-ports.ts';
import type { Session } from '../../src/core/session.ts';
import { FakeDirectory } from './fake-directory.ts';
import { World } from './world.ts';

const kept = { clean: false, expiryS: 100 };

class FakeMover implements Mover {
  home: string | null = null;
  answer: FetchAnswer = { kind: 'none' };
  /** What is asked for stays unanswered until the test says so. */
  isHeld = false;
  readonly held: (() => void)[] = [];
  readonly located: string[] = [];
  readonly fetched: string[] = [];
  readonly begun: Session[] = [];

  fetch(
    clientId: string,
    home: string,
    epoch: number,
    done: (answer: FetchAnswer, epoch: number) => void,
  ): void {
    this.fetched.push(`${clientId} from ${home}`);
    done(this.answer, epoch);
  }

  locate(
    clientId: string,
    _epoch: number,
    done: (home: string | null, isSure: boolean) => void,
  ): void {
    this.located.push(clientId);
    const { home } = this;
    if (this.isHeld) this.held.push(() => done(home, true));
    else done(home, true);
  }

  goneTo(): null {
    return null;
  }

  begin(session: Session): void {
    this.begun.push(session);
  }

  askAgain(): void {}
  endElsewhere(): void {}

  asked(): void {}
}

async function setUp() {
  const directory = new FakeDirectory();
  const links = new RegionLinks('here', Buffer.alloc(16, 1));
  const world = await World.start({ directory, links, time: directory.time });
  const roaming = world.broker.roaming!;
  const mover = new FakeMover();
  roaming.mover = mover;
  const noted: Map<string, MovedEntry> = new Map();
  roaming.note = (key, _client, entry) => {
    if (entry === null) noted.delete(key);
    else noted.set(key, entry);
  };
  return { directory, world, roaming, mover, noted };
}

function handed(directory: FakeDirectory, clientId: string): HandedSession {
  directory.list(clientId, null, 0);
  const { record } = directory.listed.get(clientId)!;
  directory.listed.delete(clientId);
  return { record, inboundIds: [7], born: 5, turn: 3, taken: null };
}

t.test('other regions are asked about a client whose home no row names', async (t) => {
  const { directory, world, mover, roaming } = await setUp();
  mover.home = 'far';
  mover.answer = { kind: 'handed', home: 'far', handed: handed(directory, 'one') };
  const brief = world.client(5, 'one');
  brief.connect({ clean: false, expiryS: 0 });
  world.settle();
  t.notOk(brief.accepted(), 'who keeps nothing begins');
  t.strictSame(mover.located, []);
  brief.sink.close();

  mover.isHeld = true;
  const fresh = world.client(5, 'one');
  fresh.connect(kept);
  world.settle();
  t.strictSame(mover.located.splice(0), ['one'], 'it may be new elsewhere, and not listed yet');
  const epoch = directory.nextEpoch();
  t.ok(roaming.comesBefore('one', epoch, 'far'), 'a later CONNECT elsewhere comes behind it');
  t.notOk(roaming.comesBefore('one', epoch - 1_000_000, 'far'), 'an earlier one does not');
  t.notOk(roaming.comesBefore('two', epoch, 'far'));
  mover.held.pop()!();
  world.settle();
  t.ok(fresh.accepted(), 'session present');
  t.strictSame(mover.fetched.splice(0), ['one from far']);
  t.notOk(roaming.comesBefore('one', epoch, 'far'), 'it is there');
  mover.isHeld = false;
  mover.begun.length = 0;

  directory.isSure = false;
  mover.answer = { kind: 'handed', home: 'far', handed: handed(directory, 'two') };
  const client = world.client(5, 'two');
  client.connect(kept);
  world.settle();
  t.ok(client.accepted(), 'session present');
  t.strictSame([mover.located, mover.fetched], [['two'], ['two from far']]);
  const { roam, inboundIds } = mover.begun[0]!;
  t.match(roam!.sources, [{ region: 'far', born: 5, had: 0 }]);
  t.equal(roam!.turn, 4);
  t.strictSame([...inboundIds!], [7]);
  t.notOk(roam!.isCut, 'what is published here is not its own yet');

  mover.home = null;
  const unknown = world.client(5, 'three');
  unknown.connect(kept);
  world.settle();
  t.notOk(unknown.accepted(), 'nobody has it: it begins');
});

t.test('what waits for a move is noted, and found after a crash', async (t) => {
  const { directory, world, roaming, mover, noted } = await setUp();
  directory.isSure = false;
  mover.home = 'far';
  mover.answer = { kind: 'handed', home: 'far', handed: handed(directory, 'one') };
  const client = world.client(5, 'one');
  client.connect(kept);
  world.settle();
  client.accepted();
  const session = mover.begun[0]!;
  roaming.cut(session, true);
  const publisher = world.connected(5, 'publisher', { expiryS: 100 });
  publisher.publish('wanted/1', 'twice', { qos: 2, id: 1 });
  publisher.publish('wanted/1', 'once', { qos: 1, id: 2 });
  world.settle();
  t.strictSame(client.payloads(), [], 'it comes behind what is on its way');
  t.strictSame(publisher.receive(), [], 'and is not acknowledged');
  const notes = [...noted];
  t.equal(notes.length, 1, 'whose repetition would not be taken');
  roaming.release(session);
  world.settle();
  t.strictSame(client.payloads(), ['twice', 'once']);
  t.equal(noted.size, 0);

  for (const [key, entry] of notes) {
    noted.set(key, entry);
    roaming.recall(key, 'one', entry);
    roaming.recall(key, 'nobody', entry);
  }
  roaming.release(session);
  client.sink.close();
  const again = world.client(5, 'one');
  again.connect(kept);
  world.settle();
  again.accepted();
  t.ok(again.payloads().includes('twice'));
  t.equal(noted.size, 0);
});

t.test('a region says that its messages belong to a later home', async (t) => {
  const { directory, world, roaming, mover } = await setUp();
  directory.isSure = false;
  mover.home = 'far';
  mover.answer = { kind: 'handed', home: 'far', handed: handed(directory, 'one') };
  const client = world.client(5, 'one');
  client.connect(kept);
  world.settle();
  const { roam } = roaming.session('one')!;
  const epoch = directory.nextEpoch();
  roam!.epoch = epoch;
  roaming.redirected('far', 'one', 'far', epoch)(false);
  t.equal(roam!.leaving, null, 'that is no later one');
  t.notOk(client.sink.gone);
  roaming.redirected('far', 'one', 'far', epoch + 1)(false);
  world.settle();
  t.match(roam!.leaving, { to: 'far', epoch: epoch + 1 });
  t.match(client.receive().at(-1), { type: 'disconnect', reasonCode: 0x8e });
});
