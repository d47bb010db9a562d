/**
 * Bugs that are planted to see that the simulation finds them: each breaks one rule of the datacenter. Used by
 * planted.test.ts, which says of each how many seeds it takes; what random runs hardly ever meet is
 * planted in the scenes of hard-cases.test.ts.
 */
import { FrameType } from '../../src/cluster/ports.ts';
import type { Incarnation } from '../../src/core/cluster-ports.ts';
import type { RedisDone } from '../../src/drivers/redis/redis-port.ts';
import type { SimFault } from './cluster-faults.ts';
import type { ClusterRunOptions } from './cluster-run.ts';
import {
  believingOldImages,
  EndlessLease,
  hearing,
  inNodes,
  inRedis,
  openedAs,
  type Planted,
  restarting,
  takenOf,
  undeduped,
  unfenced,
} from './planting.ts';

const DEAF_MS = 2500;

export interface Plant {
  /** What goes wrong, as if the rule were not there. */
  readonly name: string;
  /** Of DESIGN and docs/internals; 0: none of them. */
  readonly hardCase: number;
  readonly kinds: readonly SimFault[];
  readonly faults: number;
  /** The first of all that finds it: where planted.test.ts begins. */
  readonly seed: number;
  readonly planted: Planted;
}

/** How a seed is run for it. */
export function plantRun({ kinds, faults }: Plant, seed: number): ClusterRunOptions {
  return { seed, kinds, faults, isShort: true, deafMs: DEAF_MS };
}

export const plants: readonly Plant[] = [
  {
    name: 'SUBACK does not wait until all have applied the subscription',
    hardCase: 5,
    kinds: ['link_stall', 'link_cut'],
    faults: 2,
    seed: 1,
    planted: inNodes(({ cluster }) => {
      cluster.bus.awaitApplied = () => {};
    }),
  },
  {
    name: 'an append that is repeated is queued twice',
    hardCase: 7,
    kinds: ['redis_replies', 'redis_down'],
    faults: 3,
    seed: 1,
    planted: inRedis('session_append_1', undeduped),
  },
  {
    name: 'whoever had the session closes it for whoever has it',
    hardCase: 1,
    kinds: ['pause', 'suspend', 'redis_away'],
    faults: 3,
    seed: 1,
    planted: inRedis('session_close_1', unfenced),
  },
  {
    name: 'epochs begin again when Redis has lost its data',
    hardCase: 1,
    kinds: ['redis_flush', 'redis_empty'],
    faults: 2,
    seed: 6,
    planted: inRedis(
      'session_open_1',
      (twin) => (db, keys, args, nowMs) => twin(db, keys, [args[0]!, '1', ...args.slice(2)], nowMs),
    ),
  },
  {
    name: 'what a link brings again is applied again',
    hardCase: 0,
    kinds: ['link_cut', 'link_stall'],
    faults: 4,
    seed: 1,
    planted: hearing(({ mesh }, frame) => {
      const latest = new Map<Incarnation, { ups: number; frames: (readonly [number, Buffer])[] }>();
      return (from, type, buffer, start, end) => {
        const link = mesh.links().find((one) => one.peer === from && one.direction === 'in');
        const ups = link?.reconnects ?? 0;
        const before = latest.get(from) ?? { ups, frames: [] };
        latest.set(from, before);
        if (before.ups !== ups) {
          before.ups = ups;
          for (const [again, body] of before.frames) frame(from, again, body, 0, body.length);
          before.frames.length = 0;
        }
        if (type === FrameType.PUBLISH || type === FrameType.GROUP_PUBLISH) {
          before.frames.push([type, Buffer.from(buffer.subarray(start, end))]);
          if (before.frames.length > 3) before.frames.shift();
        }
        frame(from, type, buffer, start, end);
      };
    }),
  },
  {
    name: 'a node whose lease is over goes on',
    hardCase: 2,
    kinds: ['pause', 'suspend'],
    faults: 3,
    seed: 1,
    planted: inNodes(({ cluster, membership }) => {
      cluster.bus.mayServe = () => /^(ready|fenced)$/.test(membership.state);
    }),
  },
  {
    name: 'a lease never ends by itself',
    hardCase: 2,
    kinds: ['pause', 'suspend'],
    faults: 3,
    seed: 1,
    planted: { membershipParts: (clock) => ({ lease: new EndlessLease(clock, 3000, 500) }) },
  },
  {
    name: 'images of sessions are believed whatever their epoch',
    hardCase: 6,
    kinds: ['link_block', 'suspend', 'kill', 'redis_slow'],
    faults: 5,
    seed: 539,
    planted: believingOldImages,
  },
  {
    name: 'drift of routes is not repaired',
    hardCase: 6,
    kinds: ['drift'],
    faults: 3,
    seed: 1,
    planted: inNodes(({ mesh }) => {
      const send = mesh.send.bind(mesh);
      mesh.send = (peer, frame) => {
        if (frame[4] !== FrameType.NEED_TABLES) send(peer, frame);
      };
    }),
  },
  {
    name: 'nobody is told of what was appended for it',
    hardCase: 8,
    kinds: ['kill', 'pause'],
    faults: 2,
    seed: 1,
    planted: inNodes(({ cluster }) => {
      cluster.bus.hint = () => {};
    }),
  },
  {
    name: 'hints that were lost are not made up for',
    hardCase: 8,
    kinds: ['kill', 'link_cut', 'link_block', 'redis_replies'],
    faults: 4,
    seed: 14,
    planted: inNodes(({ store }) => {
      store.ledger.tailOf = (_clientId, done) => done(null, 0);
    }),
  },
  {
    name: 'positions begin again with each owner',
    hardCase: 9,
    kinds: ['kill', 'restart'],
    faults: 3,
    seed: 75,
    planted: inRedis('session_open_1', restarting),
  },
  {
    name: 'that PUBREC came is forgotten',
    hardCase: 9,
    kinds: ['kill', 'restart', 'pause'],
    faults: 4,
    seed: 12,
    planted: inRedis('session_settle_1', (twin) => (db, keys, args, nowMs) => {
      const [sid, epoch, upTo, released] = args as [string, string, string, string];
      return twin(db, keys, [sid, epoch, upTo, '0', ...args.slice(4 + Number(released))], nowMs);
    }),
  },
  {
    name: 'pending fan-outs of a publisher are not done by its next owner',
    hardCase: 10,
    kinds: ['kill', 'redis_slow', 'redis_oom'],
    faults: 4,
    seed: 4,
    planted: openedAs((record) => ({ ...record, pending: [] })),
  },
  {
    name: 'packet ids of a publisher are not known to its next owner',
    hardCase: 10,
    kinds: ['kill', 'restart', 'redis_slow'],
    faults: 3,
    seed: 2,
    planted: openedAs((record) => ({ ...record, inboundIds: [] })),
  },
  {
    name: 'messages are acked that Redis did not take',
    hardCase: 12,
    kinds: ['redis_down', 'redis_away', 'redis_replies'],
    faults: 2,
    seed: 21,
    planted: inNodes(({ redis }) => {
      const call = redis.call.bind(redis);
      redis.call = (fn, keys, args, done: RedisDone) =>
        call(fn, keys, args, (failure, reply) => {
          if (fn.name !== 'session_append_1' || failure === null) done(failure, reply);
          else done(null, takenOf(args));
        });
    }),
  },
  {
    name: 'answers do not wait for the replicas',
    hardCase: 12,
    kinds: ['failover'],
    faults: 3,
    seed: 1,
    planted: {
      plant: ({ redis }) => {
        const rollBack = redis.rollBack.bind(redis);
        redis.rollBack = (ms) => rollBack(Math.min(ms + 300, redis.options.historyMs));
      },
    },
  },
  {
    name: 'wills of a session are fired though it has another owner',
    hardCase: 13,
    kinds: ['kill', 'pause'],
    faults: 3,
    seed: 2,
    planted: inRedis('session_orphan_1', (twin) => (db, keys, args, nowMs) => {
      const owner = db.peekHash(keys[0]!)?.get('owner') ?? '';
      return twin(db, keys, owner === '' ? args : [owner], nowMs);
    }),
  },
  {
    name: 'the will of the connection before is forgotten at CONNECT',
    hardCase: 13,
    kinds: ['kill', 'pause'],
    faults: 2,
    seed: 9,
    planted: openedAs((record) => ({ ...record, oldWill: null })),
  },
  {
    name: 'wills are dropped with the node that had them',
    hardCase: 13,
    kinds: ['kill', 'all_down'],
    faults: 2,
    seed: 1,
    planted: inNodes(({ store }) => {
      store.ledger.look = (_clientId, _by, done) => done({ kind: 'gone' });
    }),
  },
  {
    name: 'whom of a group a message was given to is forgotten',
    hardCase: 14,
    kinds: ['kill', 'redis_slow', 'redis_oom'],
    faults: 4,
    seed: 66,
    planted: openedAs((record) => ({
      ...record,
      pending: record.pending.map((pending) => ({ ...pending, choices: new Map() })),
    })),
  },
];
