// Lists: pages under change, bounded work per turn and per request, cursors that are good for one thing.
import t from 'tap';
import { globTest } from '../../src/admin/api/glob.ts';
import type { OperatorCore } from '../../src/admin/api/ports.ts';
import type { Message } from '../../src/core/message.ts';
import { makeMessage } from '../../src/core/message.ts';
import type { ClientState, SessionState } from '../../src/core/ports.ts';
import { ApiDoor } from './api-door.ts';

const SESSIONS = 100_000;

function session(clientId: string): SessionState {
  return {
    clientId,
    identity: null,
    tenant: '',
    connected: false,
    durable: true,
    expiryIntervalS: 1,
    disconnectedAtMs: 1,
    subscriptions: 1,
    queuedMessages: 0,
    queuedBytes: 0,
    inflightMessages: 0,
    will: null,
  };
}

/** Sessions that count how many of them are looked at in one turn of the loop. */
class Crowd {
  readonly table: Map<string, SessionState> = new Map();
  looked = 0;
  lookedInTurn = 0;
  lookedInTurnMax = 0;

  constructor(count: number) {
    for (let i = 0; i < count; i++) this.table.set(`s${i}`, session(`s${i}`));
  }

  *walk(): Iterable<SessionState> {
    for (const one of this.table.values()) {
      if (this.lookedInTurn === 0) {
        setImmediate(() => {
          this.lookedInTurn = 0;
        });
      }
      this.looked++;
      this.lookedInTurn++;
      this.lookedInTurnMax = Math.max(this.lookedInTurnMax, this.lookedInTurn);
      yield one;
    }
  }

  core(): Partial<OperatorCore> {
    return {
      sessions: () => this.walk(),
      session: (clientId) => this.table.get(clientId) ?? null,
      subscriptions: (clientId) => [
        {
          filter: `f/${clientId}`,
          qos: 1,
          noLocal: false,
          retainAsPublished: false,
          retainHandling: 0,
          subscriptionId: 0,
        },
      ],
    };
  }
}

async function openCrowd(t: Parameters<typeof ApiDoor.open>[0], crowd: Crowd): Promise<ApiDoor> {
  const door = await ApiDoor.open(t, { api: { core: crowd.core() as OperatorCore } });
  // The list is bounded by how many sessions there were when it began.
  Object.defineProperty(door.world.stats, 'sessions', { get: () => crowd.table.size });
  return door;
}

t.test('a hundred thousand sessions, page by page, in slices', async (t) => {
  const crowd = new Crowd(SESSIONS);
  const door = await openCrowd(t, crowd);
  const ids = new Set<string>();
  let cursor: string | null = '';
  while (cursor !== null) {
    const next: string = cursor === '' ? '' : `&cursor=${cursor}`;
    // Not held against the document, which takes ten times as long as the list.
    const answer = await door.send('GET', `/api/v1/sessions?limit=1000${next}`, { as: 'viewer' });
    const page = answer.json() as { items: SessionState[]; cursor: string | null };
    for (const { clientId } of page.items) ids.add(clientId);
    ({ cursor } = page);
  }
  t.equal(ids.size, SESSIONS, 'each');
  t.equal(crowd.looked, SESSIONS, 'once: a page goes on where the last one ended');
  t.ok(crowd.lookedInTurnMax <= 256, `${crowd.lookedInTurnMax} in one turn`);
});

t.test('sessions and clients are narrowed by the same words', async (t) => {
  const people = [
    ['a/1', 'ann', 'acme'],
    ['a/2', null, 'acme'],
    ['b/1', 'bob', ''],
  ] as const;
  const owned = people.map(([clientId, identity, tenant]) => ({
    ...session(clientId),
    identity,
    tenant,
    listener: 'mqtt',
    remoteAddress: '10.0.0.1',
  }));
  const core: Partial<OperatorCore> = {
    sessions: () => owned,
    session: (id) => owned.find(({ clientId }) => clientId === id) ?? null,
    clients: () => owned as unknown as ClientState[],
    client: (id) => (owned.find(({ clientId }) => clientId === id) ?? null) as ClientState | null,
  };
  const door = await ApiDoor.open(t, { api: { core: core as OperatorCore } });
  for (const count of ['sessions', 'connections']) {
    Object.defineProperty(door.world.stats, count, { value: owned.length });
  }
  const asked: readonly (readonly [query: string, ids: readonly string[]])[] = [
    ['', ['a/1', 'a/2', 'b/1']],
    ['clientId=a/*', ['a/1', 'a/2']],
    ['clientId=a%2F1', ['a/1']],
    ['clientId=a%2F1&user=bob', []],
    ['user=*', ['a/1', 'b/1']],
    ['user=ann', ['a/1']],
    ['tenant=ac*', ['a/1', 'a/2']],
    ['tenant=acme&user=bob', []],
  ];
  for (const [query, ids] of asked) {
    for (const list of ['sessions', 'clients']) {
      const answer = await door.send('GET', `/api/v1/${list}?${query}`, { as: 'viewer' });
      const { items } = answer.json() as { items: SessionState[] };
      t.strictSame(
        items.map(({ clientId }) => clientId),
        ids,
        `${list}?${query}`,
      );
    }
  }
});

t.test('a filter that finds little: bounded work per request, then a cursor', async (t) => {
  const crowd = new Crowd(2.5 * SESSIONS);
  const door = await openCrowd(t, crowd);
  let cursor: string | null = null;
  const found: string[] = [];
  const pages: number[] = [];
  do {
    crowd.looked = 0;
    const next: string = cursor === null ? '' : `&cursor=${cursor}`;
    const page = (await door.get(`/sessions?clientId=*99999${next}`)).json();
    found.push(...page.items.map(({ clientId }: SessionState) => clientId));
    cursor = page.cursor;
    pages.push(crowd.looked);
  } while (cursor !== null);
  t.strictSame(found, ['s99999', 's199999']);
  t.strictSame(pages, [100_000, 100_000, 50_000]);
  t.ok(crowd.lookedInTurnMax <= 256);
  crowd.looked = 0;
  t.equal((await door.all('/sessions?clientId=s99999')).length, 1);
  t.equal(crowd.looked, 0, 'one that is named is looked up');
});

t.test('others have their turn while a list is made', async (t) => {
  const crowd = new Crowd(SESSIONS);
  const door = await openCrowd(t, crowd);
  const order: string[] = [];
  const long = door.get('/sessions?clientId=nobody*').then(() => order.push('long'));
  const short = door.get('/stats').then(() => order.push('short'));
  await Promise.all([long, short]);
  t.strictSame(order, ['short', 'long']);
});

t.test('entries that come and go while a list is read', async (t) => {
  const crowd = new Crowd(1000);
  const door = await openCrowd(t, crowd);
  const seen: string[] = [];
  let cursor: string | null = null;
  let fresh = 0;
  do {
    const next: string = cursor === null ? '' : `&cursor=${cursor}`;
    const page = (await door.get(`/sessions?limit=100${next}`)).json();
    seen.push(...page.items.map(({ clientId }: SessionState) => clientId));
    cursor = page.cursor;
    // What was seen goes, what was not seen goes, and more comes than is read.
    crowd.table.delete(seen.at(-1)!);
    crowd.table.delete('s999');
    for (let i = 0; i < 200; i++) crowd.table.set(`n${fresh}`, session(`n${fresh++}`));
  } while (cursor !== null);
  t.equal(new Set(seen).size, seen.length, 'none twice');
  for (let i = 0; i < 999; i++) if (!seen.includes(`s${i}`)) t.fail(`s${i} was there all the time`);
  t.ok(seen.length <= 1000, 'and it ends');
});

t.test('a cursor is good for one list, one token and a while', async (t) => {
  const crowd = new Crowd(5000);
  const door = await openCrowd(t, crowd);
  const first = (await door.get('/sessions?limit=10', 'viewer')).json();
  const page = (cursor: string, as: 'viewer' | 'admin' = 'viewer', query = '') =>
    door.ask('GET', `/sessions?limit=10${query}&cursor=${encodeURIComponent(cursor)}`, { as });
  const second = (await page(first.cursor)).json();
  t.equal(second.items[0].clientId, 's10');
  t.strictSame(
    (await page(first.cursor)).json(),
    second,
    'an answer that was lost can be had again',
  );
  const [one, two] = await Promise.all([page(second.cursor), page(second.cursor)]);
  t.strictSame(one.json(), two.json(), 'also both at once');
  t.equal((await page(first.cursor)).status, 410, 'but only the last one');
  const { cursor } = one.json();
  t.equal((await page(cursor, 'admin')).status, 410, 'not for another token');
  t.equal((await page(cursor, 'viewer', '&clientId=s*')).status, 400, 'not with another filter');
  const other = await door.ask('GET', `/clients?cursor=${cursor}`, { as: 'viewer' });
  t.equal(other.status, 400, 'not for another list');
  for (const nonsense of ['x', '.', `${cursor}0`, '__proto__.1', 'x'.repeat(64)]) {
    t.equal((await page(nonsense)).status, 410, nonsense);
  }
  t.equal((await page('x'.repeat(65))).status, 400);
  t.equal((await page(cursor)).json().items[0].clientId, 's30', 'and it is good still');

  for (let i = 0; i < 9; i++) await door.get('/sessions?limit=10', 'viewer');
  t.equal((await page(cursor)).status, 410, 'lists nobody reads make room for new ones');
});

t.test('lists that nobody reads on are forgotten', async (t) => {
  const crowd = new Crowd(5000);
  let nowMs = 0;
  const clock = { monotonicMs: () => nowMs, wallMs: () => Date.now() };
  const door = await ApiDoor.open(t, { api: { core: crowd.core() as OperatorCore, clock } });
  Object.defineProperty(door.world.stats, 'sessions', { value: 5000 });
  const next = async (cursor: string) => door.get(`/sessions?limit=10&cursor=${cursor}`);
  let { cursor } = (await door.get('/sessions?limit=10')).json();
  for (let i = 0; i < 15; i++) {
    nowMs += 59_000;
    cursor = (await next(cursor)).json().cursor;
  }
  t.ok(cursor, 'read on slowly');
  nowMs += 59_000;
  t.equal((await next(cursor)).status, 410, 'but not for ever');
  ({ cursor } = (await door.get('/sessions?limit=10')).json());
  nowMs += 61_000;
  t.equal((await next(cursor)).status, 410, 'a minute after the last page');
});

t.test('subscriptions of a hundred thousand sessions', async (t) => {
  const crowd = new Crowd(SESSIONS);
  const door = await openCrowd(t, crowd);
  t.strictSame(
    (await door.all('/subscriptions?filter=*99999')).map(({ clientId }) => clientId),
    ['s99999'],
  );
  t.ok(crowd.lookedInTurnMax <= 256, `${crowd.lookedInTurnMax} in one turn`);
});

t.test('a page of long names is short', async (t) => {
  const clients: ClientState[] = Array.from({ length: 100 }, (_, i) => ({
    clientId: `${i}`.padEnd(60_000, 'x'),
    protocolVersion: 5,
    listener: 'l',
    remoteAddress: '',
    remotePort: 0,
    identity: null,
    tenant: '',
    connectedAtMs: 0,
    keepAliveS: 0,
    certificate: null,
    outboxBytes: 0,
  }));
  const door = await ApiDoor.open(t, {
    api: { core: { clients: () => clients } as unknown as OperatorCore },
  });
  Object.defineProperty(door.world.stats, 'connections', { value: 100 });
  const page = (await door.get('/clients?limit=100')).json();
  t.ok(page.items.length < 20 && page.cursor !== null, `${page.items.length} items`);
  t.equal((await door.all('/clients?limit=100')).length, 100);
});

t.test('deleting by filter is bounded, and says whether it is complete', async (t) => {
  const left = new Map<string, Message>();
  for (let i = 0; i < 150_000; i++) {
    left.set(`t/${i}`, makeMessage(i, `t/${i}`, Buffer.from('x'), { retain: true }));
  }
  let takes = 0;
  const core: Partial<OperatorCore> = {
    retainedWalk: () => {
      const iterator = left.values();
      let done = false;
      return {
        get done() {
          return done;
        },
        take: (budget, out) => {
          takes = Math.max(takes, budget);
          for (let i = 0; i < budget; i++) {
            const next = iterator.next();
            if (next.done === true) {
              done = true;
              return i;
            }
            out.push(next.value);
          }
          return budget;
        },
      };
    },
    retainedMessage: (topic) => left.get(topic) ?? null,
    deleteRetained: (topic) => left.delete(topic),
  };
  const door = await ApiDoor.open(t, { api: { core: core as OperatorCore } });
  const drop = async () =>
    (await door.ask('DELETE', '/retained?filter=t/%2B', { as: 'operator' })).json();
  t.strictSame(await drop(), { deleted: 100_000, complete: false });
  t.strictSame(await drop(), { deleted: 50_000, complete: true });
  t.equal(left.size, 0);
  t.ok(takes <= 256);
});

t.test('globs', async (t) => {
  const cases: readonly [string, string, boolean][] = [
    ['a', 'a', true],
    ['a', 'ab', false],
    ['*', '', true],
    ['*', 'anything/at+all#', true],
    ['a*', 'a', true],
    ['a*', 'ba', false],
    ['*a', 'ba', true],
    ['a*a', 'a', false],
    ['a*a', 'aa', true],
    ['a*b*c', 'a-b-c', true],
    ['a*b*c', 'acb', false],
    ['a*bc*c', 'abc', false],
    ['**', 'x', true],
    ['a**b', 'ab', true],
    ['.*', 'x', false],
    ['[a-z]', 'a', false],
    ['?', 'a', false],
    ['*ab*ab', 'xabyabab', true],
  ];
  for (const [pattern, text, matches] of cases) {
    t.equal(globTest(pattern)!(text), matches, `${pattern} and ${text}`);
  }
  t.equal(globTest('*')!(null), false, 'nobody has no name');
  t.equal(globTest('')!(''), true);
  t.equal(globTest(null), null);
  const started = performance.now();
  t.equal(globTest(`${'a*'.repeat(100)}b`)!('a'.repeat(65_535)), false);
  t.ok(performance.now() - started < 5000, 'no pattern takes long');
});
