// Where a session is that no row names, asked of all regions: who is waited for and how long, and what counts as known.
import t from 'tap';
import type { Answer, Ask } from '../../src/geo/roaming/frame.ts';
import { Searches } from '../../src/geo/roaming/searches.ts';
import { FakeDirectory } from '../core/fake-directory.ts';

const WAIT_MS = 300;

function setUp(regions: readonly string[]) {
  const directory = new FakeDirectory();
  const { time } = directory;
  const down = new Set<string>();
  const open: Map<string, (answer: Answer) => void> = new Map();
  const asked: string[] = [];
  const found: (readonly [home: string | null, epoch: number, isSure: boolean])[] = [];
  const searches = new Searches({
    own: 'eu',
    directory,
    links: {
      regions: () => regions,
      isUp: (region) => !down.has(region),
      ask: () => true,
      sync: () => true,
    },
    clock: time,
    waitMs: WAIT_MS,
    ask: (region, { epoch }: Omit<Ask, 'n'>, taken) => {
      if (down.has(region)) return '';
      const n = `${region}${asked.length}`;
      asked.push(`${region} at ${epoch}`);
      open.set(region, taken);
      return n;
    },
    giveUp: () => {},
  });
  const says = (region: string, answer: Partial<Answer>): void => {
    searches.heard(region);
    open.get(region)!({ kind: 'none', re: '', client: 'one', ...answer });
  };
  const pass = (ms: number): void => {
    for (let passed = 0; passed < ms; passed += 10) {
      time.pass(10);
      searches.tick(time.monotonicMs());
    }
  };
  const begin = (): void => {
    found.length = 0;
    asked.length = 0;
    searches.begin('one', 7, (...answer) => found.push(answer));
  };
  return { directory, down, asked, found, says, pass, begin };
}

t.test('all regions have said', async (t) => {
  const { asked, found, says, pass, begin, directory } = setUp(['us', 'ap']);
  begin();
  t.strictSame(asked, ['us at 7', 'ap at 7']);
  says('us', { kind: 'moved', to: 'sa', epoch: 40 });
  pass(20);
  t.strictSame(found, [], 'not before the last');
  says('ap', { kind: 'moved', to: 'us', epoch: 50 });
  pass(10);
  t.strictSame(found, [['us', 50, true]], 'the later CONNECT has it');
  t.ok(directory.epoch >= 50, 'and what is claimed here is above it');
  begin();
  says('us', { kind: 'none' });
  says('ap', { kind: 'moved', to: 'eu', epoch: 60 });
  pass(10);
  t.strictSame(found, [[null, 0, true]], 'one that has come from here is not elsewhere');
});

t.test('an earlier CONNECT elsewhere comes first', async (t) => {
  const { asked, found, says, pass, begin } = setUp(['us']);
  begin();
  says('us', { kind: 'wait' });
  pass(50);
  t.strictSame(found, []);
  t.equal(asked.length, 2, 'asked again');
  says('us', { kind: 'moved', to: 'us', epoch: 5 });
  pass(10);
  t.strictSame(found, [['us', 5, true]]);
  begin();
  for (let i = 0; i < 5; i++) {
    says('us', { kind: 'wait' });
    pass(100);
  }
  t.strictSame(found, [[null, 0, false]], 'but not for ever');
});

t.test('who does not answer', async (t) => {
  const { asked, found, says, pass, begin, down } = setUp(['us', 'ap']);
  down.add('ap');
  begin();
  says('us', { kind: 'none' });
  pass(10);
  t.strictSame(found, [[null, 0, false]], 'a link that is down is not waited for');
  down.clear();
  begin();
  says('us', { kind: 'none' });
  pass(WAIT_MS - 50);
  t.strictSame(found, []);
  pass(60);
  t.strictSame(found, [[null, 0, false]]);
  begin();
  says('us', { kind: 'none' });
  pass(10);
  t.equal(asked.length, 2, 'it is asked the next time');
  t.strictSame(found, [[null, 0, false]], 'and not waited for');
  says('ap', { kind: 'none' });
  begin();
  says('us', { kind: 'none' });
  pass(50);
  t.strictSame(found, [], 'until it has said something');
  down.add('ap');
  pass(10);
  t.strictSame(found, [[null, 0, false]], 'or its link is down');
});
