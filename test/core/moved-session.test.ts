// CONNECT of a client whose session may be in another region, with whoever moves sessions played by the test: when
// others are asked, what is taken from a home, and what waits for a move (ADR 0023).
import t from 'tap';
import type { MovedEntry } from '../../src/core/moved-entry.ts';
import { RegionLinks } from '../../src/core/region-links.ts';
import type { FetchAnswer, HandedSession, Mover } from '../../src/core/roaming-ports.ts';
import { RoamingState } from '../../src/core/roaming-state.ts';
import type { Session } from '../../src/core/session.ts';
import { FakeDirectory } from './fake-directory.ts';
import { World } from './world.ts';

const kept = { clean: false, expiryS: 100 };

class FakeMover implements Mover {
  home: string | null = null;
  /** All have said. */
  isSure = true;
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
    const { home, isSure } = this;
    if (this.isHeld) this.held.push(() => done(home, isSure));
    else done(home, isSure);
  }

  goneTo(): null {
    return null;
  }

  begin(session: Session): void {
    this.begun.push(session);
  }

  askAgain(): void {}

  inquire(): void {}

  asked(): void {}
}

async function setUp() {
  const directory = new FakeDirectory();
  const links = new RegionLinks('here', Buffer.alloc(16, 1));
  const world = await World.start({ directory, links, time: directory.time });
  const roaming = world.broker.roaming!;
  const said: string[] = [];
  roaming.announce = (client, to, _epoch, _by, anew) => {
    said.push(`${client} ${to} ${anew?.anew ?? ''}`.trim());
    return Buffer.alloc(0);
  };
  const mover = new FakeMover();
  roaming.mover = mover;
  const noted: Map<string, MovedEntry> = new Map();
  roaming.note = (key, _client, entry) => {
    if (entry === null) noted.delete(key);
    else noted.set(key, entry);
  };
  return { directory, world, roaming, mover, noted, said };
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

t.test('what other regions are told of a session that begins anew', async (t) => {
  const { directory, world, mover, said } = await setUp();
  const comes = (clientId: string, clean: boolean, expiryS: number): void => {
    const client = world.client(5, clientId);
    client.connect({ clean, expiryS });
    world.settle();
    t.notOk(client.accepted(), 'no session');
    client.sink.close();
  };
  comes('new', false, 100);
  t.strictSame(said.splice(0), [], 'all have said that they have none');
  mover.isSure = false;
  comes('unsure', false, 100);
  t.strictSame(said.splice(0), ['unsure here unsure'], 'one that did not answer may have it');
  comes('brief', true, 0);
  t.strictSame(said.splice(0), [], 'nobody is asked about what does not last');
  mover.home = 'far';
  comes('clean', true, 100);
  t.strictSame(said.splice(0), ['clean here clean']);
  directory.isSure = false;
  comes('gone', true, 0);
  t.strictSame(said.splice(0), ['gone here clean']);
  t.ok(directory.told.includes('forgot gone'));
  mover.answer = { kind: 'silent' };
  comes('silent', false, 100);
  t.strictSame(said.splice(0), ['silent here unsure'], 'whoever has it did not answer');
});

t.test('another region says that it has begun a session anew', async (t) => {
  const { directory, world, roaming, mover, said } = await setUp();
  const home = (clientId: string) => {
    const client = world.connected(5, clientId, { expiryS: 100 });
    const roam = new RoamingState('here', 0);
    roam.epoch = directory.nextEpoch();
    roaming.session(clientId)!.roam = roam;
    return { client, roam };
  };
  const hears = (clientId: string, epoch: number, anew: 'clean' | 'unsure', identity = null) =>
    roaming.begunElsewhere('far', clientId, epoch, { anew, identity }).outcome === 'ended';
  mover.isSure = true;

  const one = home('one');
  t.notOk(hears('one', one.roam.epoch - 1, 'clean'));
  t.equal(one.roam.leaving, null, 'its client has been here since');
  t.strictSame(said.splice(0), ['one here'], 'which that region has to know');
  t.notOk(hears('one', one.roam.epoch + 1, 'unsure'));
  t.match(one.roam.leaving, { to: 'far' }, 'what waits is handed over');
  t.match(one.client.receive().at(-1), { type: 'disconnect', reasonCode: 0x8e });

  const two = home('two');
  t.ok(hears('two', two.roam.epoch + 1, 'clean'));
  t.equal(roaming.session('two'), null, 'a clean start ends it');
  t.notOk(hears('two', two.roam.epoch + 2, 'clean'));

  const three = home('three');
  three.client.sink.close();
  const session = roaming.session('three')!;
  Object.assign(session, { identity: 'somebody' });
  t.notOk(hears('three', three.roam.epoch + 1, 'clean'));
  t.notOk(hears('three', three.roam.epoch + 1, 'unsure'));
  t.notOk(session.ended);
  t.equal(three.roam.leaving, null, 'but not for anybody else');
  t.strictSame(said, []);
});

t.test('back from a region that is silent, it has what it subscribed to there', async (t) => {
  const { directory, world, roaming, mover } = await setUp();
  const client = world.connected(5, 'one', kept);
  client.subscribe('old/#', 1);
  world.settle();
  roaming.letGo(roaming.session('one')!, 'far', directory.nextEpoch());
  world.settle();
  t.ok(client.sink.ended, 'it has gone there');
  directory.list('one', null, 0);
  mover.answer = { kind: 'silent' };
  const back = world.client(5, 'one');
  back.connect(kept);
  world.settle();
  directory.answer();
  world.settle();
  t.ok(back.accepted(), 'session present');
  t.strictSame(mover.fetched, ['one from far']);
  const session = roaming.session('one')!;
  t.strictSame([...session.subscriptions!.keys()], ['wanted/#'], 'as that region has listed it');
  const publisher = world.connected(5, 'publisher');
  publisher.publish('old/a', 'unwanted', { qos: 1, id: 1 });
  publisher.publish('wanted/a', 'wanted', { qos: 1, id: 2 });
  world.settle();
  t.strictSame(back.payloads(), ['wanted']);
});
