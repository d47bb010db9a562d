// When a role is asked for: every so often, and as soon as a member is gone.
import t from 'tap';
import { RoleLease } from '../../src/cluster/role-lease.ts';
import type { Scheduler } from '../../src/core/ports.ts';
import type { RedisDone, RedisPort } from '../../src/drivers/redis/redis-port.ts';

t.test('a role that somebody else had is asked for as soon as a member is gone', async (t) => {
  const asked: RedisDone[] = [];
  const redis = {
    call: (_fn: unknown, _keys: unknown, _args: unknown, done: RedisDone) => asked.push(done),
  } as unknown as RedisPort;
  const scheduler = { every: () => () => {} } as unknown as Scheduler;
  const membership = { incarnation: 'a', state: 'ready', mayServe: () => true } as const;
  const roles = new RoleLease(membership, redis, scheduler, 'cw:', 1000);
  roles.freed();
  t.equal(asked.length, 0, 'none is wanted');
  roles.want('links');
  roles.freed();
  t.equal(asked.length, 1, 'it is asked for already');
  asked[0]!(null, 0);
  t.notOk(roles.held('links'));
  roles.freed();
  t.equal(asked.length, 2);
  asked[1]!(null, 7);
  t.equal(roles.epoch('links'), 7);
  roles.freed();
  t.equal(asked.length, 2, 'what is had is not asked for');
});
