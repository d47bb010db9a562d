// Who looks through what dead nodes have left in Redis, and when: once ready, a while after that and after
// each death, then now and then; nobody is forgotten before it is settled.
import t from 'tap';
import { Estates } from '../../src/cluster/estates.ts';
import type { Incarnation } from '../../src/core/cluster-ports.ts';
import { ManualTime, SeededRandom } from '../core/manual-time.ts';

const HOUR_MS = 3_600_000;

class Scene {
  readonly time: ManualTime = new ManualTime();
  dead: Incarnation[] | null = ['one', 'two'];
  readonly settled: Incarnation[] = [];
  readonly forgotten: Incarnation[] = [];
  looks = 0;
  serves = true;
  readonly estates: Estates = new Estates({
    clock: this.time,
    random: new SeededRandom(1),
    membership: () => ({
      dead: (done) => {
        this.looks++;
        done(this.dead);
      },
      forget: (dead) => this.forgotten.push(dead),
    }),
    mayServe: () => this.serves,
    settle: (dead, settled) => this.settle(dead, settled),
  });

  settle = (dead: Incarnation, settled: () => void): void => {
    this.settled.push(dead);
    settled();
  };

  pass(ms: number): void {
    for (let passed = 0; passed < ms; passed += 500) {
      this.time.nowMs += 500;
      this.estates.tick(this.time.nowMs);
    }
  }
}

t.test('at once when ready, and again when what was on its way has come', async (t) => {
  const scene = new Scene();
  scene.pass(10_000);
  t.equal(scene.looks, 0, 'not before');
  scene.estates.ready();
  scene.pass(500);
  t.strictSame(scene.settled, ['one', 'two']);
  t.strictSame(scene.forgotten, ['one', 'two']);
  scene.pass(10_000);
  t.equal(
    scene.looks,
    2,
    'when all were down, a call of one of them was executed after the first look',
  );
  scene.pass(HOUR_MS / 2 - 20_000);
  t.equal(scene.looks, 2);
  scene.pass(HOUR_MS + 20_000);
  t.equal(scene.looks, 3, 'and now and then');
});

t.test('after a death, when Redis did not answer, and not without a lease', async (t) => {
  const scene = new Scene();
  scene.estates.ready();
  scene.pass(10_000);
  scene.estates.died();
  scene.pass(7000);
  t.equal(scene.looks, 2);
  scene.serves = false;
  scene.pass(5000);
  t.equal(scene.looks, 2);
  scene.serves = true;
  scene.dead = null;
  scene.pass(500);
  t.equal(scene.looks, 3);
  scene.pass(2000);
  t.equal(scene.looks, 4, 'again soon');
  scene.estates.lost();
  scene.pass(2 * HOUR_MS);
  t.equal(scene.looks, 4, 'a dead node looks at nothing');
});

t.test('what comes of the dead is waited for, as long as something may', async (t) => {
  const scene = new Scene();
  scene.estates.ready();
  scene.pass(1000);
  t.ok(scene.estates.isOpen, 'nobody knows for how long the others had been there');
  scene.pass(8000);
  t.notOk(scene.estates.isOpen);
  scene.estates.died();
  t.ok(scene.estates.isOpen);
  scene.pass(5000);
  scene.estates.died();
  scene.pass(5000);
  t.ok(scene.estates.isOpen, 'of the second one');
  scene.dead = null;
  scene.pass(5000);
  t.ok(scene.estates.isOpen, 'Redis does not say who has died');
  scene.dead = ['one'];
  const { settle } = scene;
  scene.settle = () => {};
  scene.pass(5000);
  t.ok(scene.estates.isOpen, 'what it had is not settled');
  scene.settle = settle;
  scene.estates.lost();
  t.ok(scene.estates.isOpen);
});
