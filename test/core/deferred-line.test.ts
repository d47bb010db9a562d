// In which order what is read behind a QoS 2 message that must be stored first is begun, and handed on.
import t from 'tap';
import type { Awaited } from '../../src/core/awaited.ts';
import { DeferredLine } from '../../src/core/deferred-line.ts';
import { DeferredPublish } from '../../src/core/deferred-publish.ts';

class Line {
  closed = false;
  hasUnsafePubacks = false;
  serves = true;
  readonly line: DeferredLine = new DeferredLine(this);
  /** What was begun or handed on, in order. */
  readonly done: string[] = [];
  readonly #stored: Map<string, Awaited> = new Map();

  mayServe(): boolean {
    return this.serves;
  }

  messageSafe(): void {
    this.line.release();
  }

  /** Another message that has to be stored first. */
  stored(name: string, isStill: () => boolean = () => true): void {
    const store = (awaited: Awaited): void => {
      this.done.push(`store ${name}`);
      awaited.unsafeCount++;
      this.#stored.set(name, awaited);
    };
    this.line.push(new DeferredPublish(store, (failed) => this.#go(name, failed), isStill));
  }

  plain(name: string): void {
    this.line.push(new DeferredPublish(null, (failed) => this.#go(name, failed)));
  }

  #go(name: string, failed: boolean): void {
    this.done.push(failed ? `failed ${name}` : name);
  }

  commit(name: string, failed = false): void {
    const awaited = this.#stored.get(name)!;
    awaited.unsafeCount--;
    awaited.failed = failed;
    awaited.waiter!.messageSafe();
  }
}

t.test('what follows goes when the first is stored, and not before', async (t) => {
  const line = new Line();
  line.stored('a');
  line.plain('b');
  t.notOk(line.line.release());
  t.same(line.done, ['store a']);
  line.commit('a');
  t.same(line.done, ['store a', 'a', 'b']);
  t.equal(line.line.length, 0);
  t.ok(line.line.release(), 'nothing is left');
});

t.test('QoS 2 behind QoS 2 is stored along; behind QoS 1 it is not', async (t) => {
  const line = new Line();
  for (const name of ['a', 'b']) line.stored(name);
  line.plain('c');
  line.stored('d');
  line.line.release();
  t.same(line.done, ['store a', 'store b']);
  line.commit('b');
  t.same(line.done, ['store a', 'store b'], 'in the order they were read');
  line.commit('a', true);
  t.same(line.done.slice(2), ['failed a', 'b', 'c', 'store d']);
});

t.test('nothing is stored before the QoS 1 messages read earlier are safe', async (t) => {
  const line = new Line();
  line.hasUnsafePubacks = true;
  line.stored('a');
  t.notOk(line.line.release());
  t.same(line.done, []);
  line.hasUnsafePubacks = false;
  line.line.release();
  t.same(line.done, ['store a']);
});

t.test('a node that may not serve hands nothing on', async (t) => {
  const line = new Line();
  line.stored('a');
  line.line.release();
  line.serves = false;
  line.commit('a');
  t.same(line.done, ['store a']);
  line.serves = true;
  t.ok(line.line.release());
  t.same(line.done, ['store a', 'a']);
});

t.test('what is not as it was is stored anew, and with the connection all is over', async (t) => {
  const line = new Line();
  let isStill = false;
  line.stored('a', () => isStill);
  line.line.release();
  line.commit('a');
  t.same(line.done, ['store a', 'store a']);
  isStill = true;
  line.plain('b');
  line.closed = true;
  line.commit('a');
  t.same(line.done, ['store a', 'store a']);
  t.ok(line.line.release());
});
