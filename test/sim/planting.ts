/**
 * Ways to plant a bug in simulated nodes and their Redis, from outside, between the parts that they are made
 * of: each breaks one rule of the datacenter. Used by plants.ts (random runs) and hard-cases.test.ts (scenes).
 */
import { OwnLease } from '../../src/cluster/own-lease.ts';
import type {
  Incarnation,
  LedgerAnswer,
  OpenedRecord,
  SessionImage,
} from '../../src/core/cluster-ports.ts';
import type { ClusterRunOptions } from './cluster-run.ts';
import type { Twin } from './model-db.ts';
import { TWINS } from './model-functions.ts';
import type { SimLife, SimSite } from './sim-site.ts';

export type Planted = Pick<ClusterRunOptions, 'sabotage' | 'plant' | 'membershipParts'>;

/** In every life of every node. */
export function inNodes(sabotage: (life: SimLife) => void): Planted {
  return { sabotage };
}

/** In Redis' functions. */
export function inRedis(name: string, bad: (twin: Twin) => Twin): Planted {
  return { plant: ({ redis }: SimSite) => redis.override(name, bad(TWINS.get(name)!)) };
}

/** What a node is told of a session that it has opened. */
export function openedAs(change: (record: OpenedRecord) => OpenedRecord): Planted {
  return inNodes(({ store }) => {
    const open = store.ledger.open.bind(store.ledger);
    store.ledger.open = (owner, hlcMs, newSid, request, done) =>
      open(owner, hlcMs, newSid, request, (answer: LedgerAnswer) =>
        done(answer.kind === 'opened' ? { ...answer, record: change(answer.record) } : answer),
      );
  });
}

/** What is told of a session counts whatever its epoch. */
export const believingOldImages: Planted = inNodes(({ broker }) => {
  const remote = broker.remote!;
  const apply = remote.applySession.bind(remote);
  remote.applySession = (image: SessionImage) => {
    const known = remote.knownSession(image.clientId);
    const isOlder = known !== null && image.epoch < known.epoch;
    apply(isOlder ? { ...image, epoch: known.epoch, counter: known.counter + 1 } : image);
  };
});

export type Frame = (
  from: Incarnation,
  type: number,
  buffer: Buffer,
  start: number,
  end: number,
) => void;

/** Between links and whom their frames are for. */
export function hearing(around: (life: SimLife, frame: Frame) => Frame): Planted {
  return inNodes((life) => {
    const { mesh } = life;
    const start = mesh.start.bind(mesh);
    mesh.start = (events) => {
      const heard = around(life, (...frame) => events.frame(...frame));
      start({
        ...events,
        frame: heard,
        tablesWanted: (peer) => events.tablesWanted(peer),
        progressed: (peer) => events.progressed(peer),
        lost: (peer, messages) => events.lost(peer, messages),
        down: (peer, forMs) => events.down(peer, forMs),
      });
    };
  });
}

/** The sid and epoch that stand there, instead of those of the call. */
export const unfenced: (twin: Twin) => Twin = (twin) => (db, keys, args, nowMs) => {
  const meta = db.peekHash(keys[0]!);
  const known = meta === undefined ? args : [meta.get('sid')!, meta.get('epoch')!];
  return twin(db, keys, [known[0]!, known[1]!, ...args.slice(2)], nowMs);
};

let writers = 0;
/** Every append is somebody else's. */
export const undeduped: (twin: Twin) => Twin = (twin) => (db, keys, args, nowMs) => {
  const own = [...args];
  for (let at = 4; at < own.length; at += 5 + Number(own[at + 3])) own[at + 1] = `w${writers++}`;
  return twin(db, keys, own, nowMs);
};

/** What an append of a clean-started session's predecessor says is taken for its own. */
export const ofAnySid: (twin: Twin) => Twin = (twin) => (db, keys, args, nowMs) => {
  const own = [...args];
  for (let slice = 0, at = 4; at < own.length; slice++, at += 5 + Number(own[at + 3])) {
    own[at] = db.peekHash(keys[4 * slice]!)?.get('sid') ?? own[at]!;
  }
  return twin(db, keys, own, nowMs);
};

/** Of those who may still have a session only the last one is asked to let go. */
export const namingOne: (twin: Twin) => Twin = (twin) => (db, keys, args, nowMs) => {
  const reply = twin(db, keys, args, nowMs);
  if (!Array.isArray(reply) || reply[0] !== 'opened') return reply;
  return reply.map((value, at) => (at === 2 ? String(value).split(' ', 1)[0]! : value));
};

export const restarting: (twin: Twin) => Twin = (twin) => (db, keys, args, nowMs) => {
  const [metaKey, , marksKey] = keys as [string, string, string];
  const head = Number(db.peekHash(metaKey)?.get('head') ?? 0);
  if (head > 0) {
    db.hash(metaKey).set('head', '0');
    const marks = db.hash(marksKey);
    const moved = [...marks].map(([at, mark]) => [`${Number(at) - head}`, mark] as const);
    marks.clear();
    for (const [at, mark] of moved) marks.set(at, mark);
  }
  return twin(db, keys, args, nowMs);
};

export class EndlessLease extends OwnLease {
  override get provedMs(): number {
    return Number.POSITIVE_INFINITY;
  }

  override isValid(): boolean {
    return this.endMs > Number.NEGATIVE_INFINITY;
  }
}

/** What Redis answers to an append whose values were all there before. */
export function takenOf(
  args: readonly unknown[],
): [number, number, Buffer, number, number, number][] {
  const answers: [number, number, Buffer, number, number, number][] = [];
  for (let at = 4; at < args.length; at += 5 + Number(args[at + 3])) {
    answers.push([1, 0, Buffer.alloc(0), Number(args[at + 3]), 0, 0]);
  }
  return answers;
}
