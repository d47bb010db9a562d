// The authentication chain: order, who is nobody, and that every kind of failure refuses.
import t from 'tap';
import { AccessError } from '../../../src/access/access-error.ts';
import type {
  AuthenticationAnswer,
  Authenticator,
  AuthenticatorCounters,
  Credentials,
  Identified,
} from '../../../src/access/authenticator.ts';
import {
  AuthenticationChain,
  type ChainOptions,
  type ChainPlan,
} from '../../../src/access/authn/chain.ts';
import { type Prepared, prepared } from '../../../src/access/prepared.ts';
import type { Clock } from '../../../src/core/ports.ts';
import { certificate, clock, LogRecord, listener, loginOf } from './login-of.ts';

type Answer = AuthenticationAnswer | Promise<AuthenticationAnswer>;

const who = (user: string | null): Identified => ({
  user,
  tenant: null,
  claims: null,
  expiresAtMs: 0,
  rules: null,
  superuser: false,
});
const accepted = (user: string | null): AuthenticationAnswer => ({
  kind: 'accepted',
  who: who(user),
});
const refused: AuthenticationAnswer = { kind: 'refused', reason: 'bad_credentials', detail: 'no' };
const ignored: AuthenticationAnswer = { kind: 'ignored' };

/** Answers what it is told to. */
class Link implements Authenticator {
  readonly kind: string;
  readonly counters: AuthenticatorCounters = {
    accepted: 0,
    refused: 0,
    ignored: 0,
    errors: 0,
    cacheHits: 0,
  };
  readonly answer: (credentials: Credentials) => Answer;
  readonly calls: string[] = [];
  asked = 0;
  failure: unknown = null;

  constructor(answer: Answer | (() => Answer), kind = 'test') {
    this.kind = kind;
    this.answer = typeof answer === 'function' ? answer : () => answer;
  }

  authenticate(credentials: Credentials): Answer {
    this.asked += 1;
    return this.answer(credentials);
  }

  async start(): Promise<void> {
    this.#did('start');
  }

  async prepare(): Promise<Prepared> {
    this.#did('prepare');
    return prepared(
      () => this.calls.push('commit'),
      () => this.calls.push('discard'),
    );
  }

  async stop(): Promise<void> {
    this.#did('stop');
  }

  #did(what: string): void {
    this.calls.push(what);
    if (what !== 'stop' && this.failure !== null) throw this.failure;
  }
}

function chainOf(links: readonly Authenticator[], more: Partial<ChainOptions> = {}) {
  const log = new LogRecord();
  const chain = new AuthenticationChain({
    links,
    anonymous: false,
    deadlineMs: 5000,
    clock,
    log,
    ...more,
  });
  return { chain, log };
}

t.test('the first decisive answer counts, and nobody is asked after it', async (t) => {
  const cases: [Answer[], object, number][] = [
    [[accepted('a'), accepted('b')], { kind: 'accepted', who: { user: 'a' } }, 1],
    [[ignored, accepted('b'), refused], { kind: 'accepted', who: { user: 'b' } }, 2],
    [[refused, accepted('b')], { kind: 'refused', reason: 'bad_credentials', detail: 'no' }, 1],
    [[ignored, refused, accepted('c')], { kind: 'refused', reason: 'bad_credentials' }, 2],
  ];
  for (const [answers, expected, asked] of cases) {
    const now = answers.map((answer) => new Link(answer));
    const later = answers.map((answer) => new Link(Promise.resolve(answer)));
    const decided = chainOf(now).chain.authenticate(loginOf('u', 'p'));
    t.notOk(decided instanceof Promise, 'decided at once');
    t.match(decided, expected);
    t.match(await chainOf(later).chain.authenticate(loginOf('u', 'p')), expected, 'later');
    for (const links of [now, later]) {
      t.strictSame(
        links.map((link) => link.asked),
        links.map((_, i) => (i < asked ? 1 : 0)),
      );
    }
  }
});

t.test(
  'FIELD 1: who shows nothing is anonymous when allowed; who shows anything is not',
  async (t) => {
    const shown: [string, Credentials][] = [
      ['user name', loginOf('u', null)],
      ['empty user name', loginOf('', null)],
      ['user name and password', loginOf('u', 'p')],
      ['empty password', loginOf('u', '')],
      ['password alone', loginOf(null, 'p')],
      ['certificate', loginOf(null, null, { certificate })],
      ['psk', loginOf(null, null, { pskIdentity: 'd' })],
    ];
    for (const links of [[], [new Link(ignored)], [new Link(Promise.resolve(ignored))]]) {
      for (const anonymous of [true, false]) {
        const { chain } = chainOf(links, { anonymous });
        for (const [name, credentials] of shown) {
          const answer = await chain.authenticate(credentials);
          t.match(answer, { kind: 'refused', reason: 'bad_credentials' }, `${name}, ${anonymous}`);
        }
        t.match(
          await chain.authenticate(loginOf(null, null)),
          anonymous
            ? { kind: 'accepted', who: who(null), by: 'anonymous' }
            : { kind: 'refused', reason: 'not_authorized' },
          `nothing, ${anonymous}`,
        );
        t.match(chain.counters, {
          accepted: anonymous ? 1 : 0,
          anonymous: anonymous ? 1 : 0,
          refused: shown.length + (anonymous ? 0 : 1),
        });
      }
    }
  },
);

t.test(
  'an authenticator that fails or answers nonsense refuses, and the next is not asked',
  async (t) => {
    const secret = 'canary-in-error';
    const nonsense = [
      undefined,
      null,
      true,
      'accepted',
      {},
      { kind: 'yes' },
      { kind: 'accepted' },
      { kind: 'accepted', who: null },
      { kind: 'accepted', who: { ...who('x'), user: '' } },
      { kind: 'accepted', who: { ...who('x'), user: 7 } },
    ] as unknown as AuthenticationAnswer[];
    const failing: (() => Answer)[] = [
      () => {
        throw new Error(secret);
      },
      () => Promise.reject(new Error(secret)),
      () => {
        throw secret;
      },
      () => Promise.reject(secret),
      ...nonsense.flatMap((answer) => [() => answer, () => Promise.resolve(answer)]),
    ];
    for (const fail of failing) {
      const next = new Link(accepted('somebody'));
      const { chain, log } = chainOf([new Link(ignored), new Link(fail, 'http'), next], {
        anonymous: true,
      });
      for (const credentials of [loginOf('u', 'p'), loginOf(null, null)]) {
        const answer = await chain.authenticate(credentials);
        t.match(answer, { kind: 'refused', reason: 'authentication_unavailable', by: 'http' });
      }
      t.equal(next.asked, 0);
      t.match(chain.counters, { failures: 2, refused: 2, accepted: 0 });
      t.equal(log.lines.length, 1, 'one line a second');
      t.notMatch(log.lines.join('\n'), secret);
    }
  },
);

t.test('the log of failures is bounded, and says how many lines it left out', async (t) => {
  let nowMs = 0;
  const time: Clock = { monotonicMs: () => nowMs, wallMs: () => nowMs };
  const link = new Link(() => {
    throw Object.assign(new Error('x'), { code: 'ECONNREFUSED' });
  }, 'redis');
  const { chain, log } = chainOf([link], { clock: time });
  for (let i = 0; i < 100; i += 1) chain.authenticate(loginOf('u', 'p'));
  t.equal(log.lines.length, 1);
  t.match(log.lines[0], /^error .*redis.*ECONNREFUSED.*unlogged: 0/s);
  nowMs = 1000;
  chain.authenticate(loginOf('u', 'p'));
  t.equal(log.lines.length, 2);
  t.match(log.lines[1], /unlogged: 99/);
});

t.test('a login has one deadline over all links; late answers let nobody in', async (t) => {
  const { promise, resolve } = Promise.withResolvers<AuthenticationAnswer>();
  const next = new Link(accepted('late'));
  const slow = new Link(promise, 'http');
  const { chain, log } = chainOf([new Link(Promise.resolve(ignored)), slow, next], {
    deadlineMs: 30,
    anonymous: true,
  });
  const answer = chain.authenticate(loginOf(null, null));
  t.match(await answer, { kind: 'refused', reason: 'authentication_unavailable' });
  t.match(log.lines, [/http.*deadline/s]);
  resolve(ignored);
  await new Promise((done) => setTimeout(done, 5));
  t.equal(next.asked, 0, 'the rest of the chain is left alone');
  t.match(chain.counters, { deadlines: 1, refused: 1, accepted: 0 });

  const never = chainOf([new Link(new Promise<AuthenticationAnswer>(() => {}))], {
    deadlineMs: 20,
  });
  t.match(await never.chain.authenticate(loginOf('u', 'p')), {
    reason: 'authentication_unavailable',
  });
});

t.test(
  'a refusal takes as long as an authenticator that does not know the user asks',
  async (t) => {
    const events: string[] = [];
    const unknown = (reason: 'bad_credentials' | 'authentication_busy') => (): Answer => {
      const answer = {
        kind: 'ignored' as const,
        beforeRefusal: async () => {
          await new Promise((done) => setTimeout(done, 5));
          events.push(reason);
          return reason;
        },
      };
      return answer;
    };
    const pass = (links: Authenticator[]) => chainOf(links).chain.authenticate(loginOf('u', 'p'));
    t.match(await pass([new Link(unknown('bad_credentials'))]), { reason: 'bad_credentials' });
    t.strictSame(events, ['bad_credentials']);
    t.match(await pass([new Link(unknown('bad_credentials')), new Link(refused)]), {
      detail: 'no',
    });
    t.equal(events.length, 2, 'also when another link refuses');
    t.match(await pass([new Link(unknown('authentication_busy')), new Link(refused)]), {
      reason: 'authentication_busy',
    });
    t.match(pass([new Link(unknown('bad_credentials')), new Link(accepted('u'))]), {
      kind: 'accepted',
    });
    t.equal(events.length, 3, 'who is let in does not wait');

    const failing = {
      kind: 'ignored' as const,
      beforeRefusal: () => Promise.reject(new Error('hash')),
    };
    t.match(await pass([new Link(() => failing)]), { reason: 'authentication_unavailable' });
  },
);

t.test('a listener has its own plan, or the global one', async (t) => {
  const own: ChainPlan = { links: [new Link(ignored)], anonymous: true };
  const { chain } = chainOf([new Link(accepted('global'))], {
    listeners: new Map([['mqtts://inside', own]]),
  });
  const inside = { ...listener, name: 'mqtts://inside' };
  t.match(chain.authenticate(loginOf(null, null, { listener: inside })), { by: 'anonymous' });
  t.match(chain.authenticate(loginOf('u', 'p', { listener: inside })), { kind: 'refused' });
  t.match(chain.authenticate(loginOf(null, null)), { who: { user: 'global' } });
  const odd = { ...listener, name: '__proto__' };
  t.match(chain.authenticate(loginOf(null, null, { listener: odd })), { who: { user: 'global' } });
});

t.test(
  'start, reload and stop reach every link once, and all problems are told at once',
  async (t) => {
    const shared = new Link(ignored);
    const other = new Link(ignored);
    const { chain } = chainOf([shared], {
      listeners: new Map([['x', { links: [shared, other], anonymous: false }]]),
    });
    await chain.start();
    (await chain.prepare()).commit();
    await chain.stop();
    t.strictSame(
      [shared.calls, other.calls],
      Array(2).fill(['start', 'prepare', 'commit', 'stop']),
    );

    shared.failure = new AccessError([{ where: 'users:1:1', message: 'one' }]);
    other.failure = new AccessError([{ where: 'keys', message: 'two' }]);
    const all = [{ where: 'users:1:1' }, { where: 'keys' }];
    for (const act of [() => chain.prepare(), () => chain.start()]) {
      const error = await act().catch((thrown: unknown) => thrown);
      t.type(error, AccessError);
      t.match(error, { problems: all });
    }
    t.strictSame(shared.calls.slice(-2), ['start', 'stop'], 'what was started is stopped');

    shared.failure = null;
    await t.rejects(chain.prepare(), AccessError);
    t.strictSame(shared.calls.slice(-2), ['prepare', 'discard'], 'all of them or none');

    other.failure = new TypeError('a fault of ours');
    await t.rejects(chain.prepare(), new TypeError('a fault of ours'), 'is not hidden');
  },
);
