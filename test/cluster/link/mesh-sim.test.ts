/**
 * The mesh over a simulated network: what the links promise (docs/adr/0012), held against the ledger of
 * mesh-world.ts at every step of seeded schedules with cuts, partitions, pauses and deaths.
 */
import t from 'tap';
import { Kernel } from '../../sim/kernel.ts';
import { LinkNetwork } from '../../sim/link-network.ts';
import { LIMITS, MeshWorld } from './mesh-world.ts';

/** More of them by hand: LINK_SEEDS=100000. */
const SEEDS = Number(process.env.LINK_SEEDS ?? 800);
const FIRST_SEED = Number(process.env.LINK_SEED ?? 1);

function world(seed: number, limits = LIMITS, nodes = 3): MeshWorld {
  const kernel = new Kernel(seed, { isTracing: process.env.LINK_SEED !== undefined });
  const made = new MeshWorld(kernel, new LinkNetwork(kernel), limits);
  for (let i = 0; i < nodes; i++) made.add(`node-${i}`);
  return made;
}

/** Nodes publish to each other all the time. */
function traffic(made: MeshWorld, everyMs: number): { stop(): void } {
  let isOn = true;
  const { kernel } = made;
  const again = (): void => {
    if (!isOn) return;
    const [from, to] = [
      made.nodes[kernel.chance.below(made.nodes.length)]!,
      made.nodes[kernel.chance.below(made.nodes.length)]!,
    ];
    const count = 1 + kernel.chance.below(5);
    kernel.after(from.node, 0, () => {
      if (from === to || from.mesh.position(to.incarnation) === 0) return;
      for (let i = 0; i < count; i++) {
        if (kernel.chance.next() < 0.1) from.announce(to.incarnation);
        else from.publish(to.incarnation, kernel.chance.next() < 0.3);
      }
    });
    kernel.after(null, everyMs * 2 * kernel.chance.next(), again);
  };
  again();
  return {
    stop: () => {
      isOn = false;
    },
  };
}

/** One fault, chosen by the seed. */
function harm(made: MeshWorld): void {
  const { kernel, network, nodes } = made;
  const { chance } = kernel;
  const a = nodes[chance.below(nodes.length)]!;
  const b = nodes[chance.below(nodes.length)]!;
  const [from, to] = [a.member.address, b.member.address];
  const forMs = chance.next() * 4000;
  switch (chance.below(10)) {
    case 0:
      network.cut(from, to);
      break;
    case 1:
      network.cut(from, to, 'half', true);
      break;
    case 2:
      network.cut(from, to, 'silent');
      break;
    case 3:
      network.block(from, to);
      kernel.after(null, forMs, () => network.unblock(from, to));
      break;
    case 4:
      network.block(from, to);
      network.block(to, from);
      kernel.after(null, forMs, () => {
        network.unblock(from, to);
        network.unblock(to, from);
      });
      break;
    case 5:
      kernel.pause(a.node, forMs);
      break;
    case 6:
      for (let i = 0; i < 3; i++) kernel.after(null, i * 150, () => network.cut(from, to));
      break;
    case 7:
      // Its next connection overtakes what is under way on this one.
      network.stall(from, to, forMs, true);
      break;
    case 8:
      network.stall(from, to, forMs * 2);
      break;
    case 9:
      if (chance.next() < 0.5) break;
      kernel.kill(a.node);
      made.add(a.member.nodeId);
      made.gather(chance.next() * 1500);
      break;
  }
}

function schedule(seed: number, limits: typeof LIMITS, paddingBytes: number): MeshWorld {
  const made = world(seed, limits);
  const { kernel } = made;
  for (const node of made.nodes) {
    node.paddingBytes = paddingBytes;
    node.tablesMs = kernel.chance.below(2) * kernel.chance.below(100);
  }
  made.gather(800);
  const flow = traffic(made, 10);
  const harmed = (): void => {
    harm(made);
    if (kernel.nowMs < 6000) kernel.after(null, kernel.chance.next() * 1500, harmed);
  };
  kernel.after(null, 300, harmed);
  kernel.run(8000);
  flow.stop();
  made.network.unblockAll();
  kernel.run(() => made.isSettled, 200_000);
  if (!made.isSettled) kernel.fail('it never settles');
  return made;
}

t.test('whatever the network does, frames are applied once and in order', async (t) => {
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
    const made = schedule(seed, LIMITS, 0);
    for (const { sent } of made.nodes) {
      for (const { lost, dropped } of sent.values()) {
        if (lost > 0 || dropped > 0) made.kernel.fail(`${lost} lost, ${dropped} dropped`);
      }
    }
  }
  t.pass(`${SEEDS} schedules`);
});

t.test('and when buffers overflow, what is lost or dropped is counted', async (t) => {
  let lost = 0;
  let dropped = 0;
  const seeds = Math.ceil(SEEDS / 4);
  for (let seed = FIRST_SEED; seed < FIRST_SEED + seeds; seed++) {
    const made = schedule(seed, { ...LIMITS, bufferBytesMax: 20_000 }, 400);
    for (const sender of made.nodes) {
      for (const receiver of made.nodes) {
        if (sender === receiver) continue;
        const sent = sender.sentTo(receiver.incarnation);
        const applied = receiver.appliedFrom(sender.incarnation);
        lost += sent.lost;
        dropped += sent.dropped;
        // What was applied but not acked counts as lost too.
        if (applied.publications + sent.lost < sent.publications) {
          made.kernel.fail(
            `${sent.publications} sent, ${applied.publications} applied, ${sent.lost} lost`,
          );
        }
        const state = sender.mesh
          .links()
          .find(({ peer, direction }) => peer === receiver.incarnation && direction === 'out')!;
        if (state.dropped !== sent.dropped) made.kernel.fail('drops are not counted');
      }
    }
  }
  t.ok(lost > 100, `${lost} lost`);
  t.ok(dropped > 100, `${dropped} dropped`);
});

t.test('the same seed is the same run', async (t) => {
  t.equal(schedule(77, LIMITS, 10).kernel.steps, schedule(77, LIMITS, 10).kernel.steps);
});
