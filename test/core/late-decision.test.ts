/**
 * Decisions that come late, one after the other: credentials, the right to a will, the store. What a
 * client has sent behind its CONNECT waits for all of them, and nothing is sent before CONNACK.
 */
import t from 'tap';
import {
  type AuthAnswer,
  type AuthExchange,
  type ConnectDecision,
  type ConnectRequest,
  type EnhancedAuth,
  WAIT,
} from '../../src/core/ports.ts';
import type { Principal } from '../../src/core/principal.ts';
import { encodeAuth } from '../../src/wire/auth.ts';
import { PINGREQ } from '../../src/wire/ping.ts';
import { connectBytes, publishBytes } from './fake-client.ts';
import { accepted, FakeClientGate, FakeGate } from './fake-gate.ts';
import { World } from './world.ts';

class LateGate extends FakeGate {
  decideConnect: ((decision: ConnectDecision) => void) | null = null;
  decideWill: ((allowed: boolean) => void) | null = null;
  willWaits = false;

  override connect(
    _request: ConnectRequest,
    decide: (decision: ConnectDecision) => void,
  ): typeof WAIT {
    this.decideConnect = decide;
    return WAIT;
  }

  override will(
    _principal: Principal,
    _client: FakeClientGate | null,
    _will: object,
    decide: (allowed: boolean) => void,
  ): boolean | typeof WAIT {
    if (!this.willWaits) return true;
    this.decideWill = decide;
    return WAIT;
  }
}

/** One exchange that is decided in its first step, when the test says so. */
class LateExchange extends LateGate {
  override readonly enhanced: EnhancedAuth = {
    begin: (): AuthExchange => ({
      step: (_data, next) => {
        this.decideConnect = (decision) => next({ kind: 'decided', decision } as AuthAnswer);
      },
    }),
  };
}

const gates = {
  'a login': (): LateGate => new LateGate(),
  'an enhanced authentication': (): LateGate => new LateExchange(),
};

for (const [what, make] of Object.entries(gates)) {
  for (const willWaits of [false, true]) {
    t.test(
      `${what} decided late${willWaits ? ', its will too' : ''}, then the store`,
      async (t) => {
        const gate = make();
        gate.willWaits = willWaits;
        const world = await World.durable({ gate });
        const client = world.client(5, 'dev1');
        const method = what === 'a login' ? {} : { authenticationMethod: 'TEST' };
        client.send(
          connectBytes(5, 'dev1', { clean: false, expiryS: 60, will: { topic: 'w' }, ...method }),
          PINGREQ,
          publishBytes(5, 't', 'x', { retain: true }),
        );
        world.settle();
        t.same(client.receive(), [], 'waits for the credentials');
        gate.decideConnect!(accepted('alice', new FakeClientGate()));
        world.settle();
        if (willWaits) {
          t.same(client.receive(), [], 'waits for the right to the will');
          t.notOk(client.sink.ended);
          gate.decideWill!(true);
          world.settle();
        }
        t.same(client.receive(), [], 'waits for the store');
        t.equal(world.broker.admin.retainedMessage('t'), null, 'nothing of it was done');
        world.store.commit();
        world.settle();
        t.match(
          client.receive().map(({ type }) => type),
          ['connack', 'pingresp'],
          '[MQTT5-3.2.0-1]',
        );
        t.ok(world.broker.admin.retainedMessage('t'));
        t.same(world.errors, []);
      },
    );
  }
}

for (const isKnown of [true, false]) {
  t.test(`rights to what waits in a session ${isKnown ? 'known late' : 'not known'}`, async (t) => {
    const gate = new LateGate();
    const world = await World.start({ gate });
    const durable = { clean: false, expiryS: 600 };
    const rights = new FakeClientGate();
    const asked: string[] = [];
    let decide: ((isKnown: boolean) => void) | null = null;
    rights.knows = (subscriptions, then) => {
      for (const { filter, qos } of subscriptions) asked.push(`${filter} ${qos}`);
      decide = then;
      return WAIT;
    };
    const arrive = (): ReturnType<World['client']> => {
      const client = world.client(5, 'dev1');
      client.send(connectBytes(5, 'dev1', durable), PINGREQ);
      gate.decideConnect!(accepted('alice', rights));
      world.settle();
      return client;
    };
    const first = arrive();
    t.strictSame(asked, [], 'there is nothing to know of a new session');
    first.subscribe(['a', 'b'], 1);
    world.settle();
    first.sink.close();
    world.broker.admin.publish('a', Buffer.from('waits'), { qos: 1 });
    world.settle();
    const client = arrive();
    t.strictSame(asked, ['a 1', 'b 1']);
    t.same(client.receive(), [], 'nothing leaves');
    decide!(isKnown);
    world.settle();
    const got = client.receive();
    if (isKnown) {
      t.match(
        got.map(({ type }) => type),
        ['connack', 'publish', 'pingresp'],
      );
    } else {
      t.match(got, [{ type: 'connack', packet: { reasonCode: 0x88 } }]);
      t.equal(world.stats.sessions, 1, 'the session stays');
    }
  });
}

for (const revokedSubscription of ['disconnect', 'unsubscribe'] as const) {
  t.test(`fewer rights after a re-authentication: ${revokedSubscription}`, async (t) => {
    const gate = new LateExchange();
    const world = await World.start({ gate, revokedSubscription });
    const client = world.client(5, 'dev1');
    client.send(connectBytes(5, 'dev1', { authenticationMethod: 'TEST' }));
    gate.decideConnect!(accepted('alice', new FakeClientGate()));
    client.subscribe(['kept', 'lost']);
    world.settle();
    client.receive();
    client.send(
      encodeAuth({ reasonCode: 0x19, authenticationMethod: 'TEST', authenticationData: null }),
    );
    const fewer = new FakeClientGate();
    fewer.keeps = (filter) => filter === 'kept';
    gate.decideConnect!(accepted('alice', fewer));
    world.settle();
    t.match(client.receive(), [
      revokedSubscription === 'disconnect'
        ? { type: 'disconnect', reasonCode: 0x87 }
        : { type: 'auth', reasonCode: 0 },
    ]);
    t.equal(world.stats.subscriptionsRevoked, 1);
  });
}
