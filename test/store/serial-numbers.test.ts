// Numbers of records are given once, also over a crash, and the disk is told of them now and then only.
import t from 'tap';
import type { Batch } from '../../src/store/embedded/database.ts';
import { SerialNumbers } from '../../src/store/embedded/serial-numbers.ts';
import { decodeNumbers } from '../../src/store/embedded/session-codec.ts';

/** What the disk knows, as the last batch has it. */
class Disk {
  next = 0;
  writes = 0;

  write(numbers: SerialNumbers): void {
    const put = (_key: Buffer, value: Buffer): void => {
      this.writes++;
      this.next = decodeNumbers(value)[0]!;
    };
    numbers.write({ put } as unknown as Batch);
  }
}

t.test('after a crash they go on behind all that was given', async (t) => {
  const numbers = new SerialNumbers();
  const disk = new Disk();
  numbers.begin(7);
  disk.write(numbers);
  t.equal(disk.writes, 0, 'nothing was given');
  let last = 0;
  for (let i = 0; i < 10_000; i++) {
    last = numbers.take();
    disk.write(numbers);
    if (disk.next <= last) t.fail(`${last} is given, and the disk goes on at ${disk.next}`);
  }
  t.equal(last, 10_006);
  t.equal(disk.writes, 3);
  const again = new SerialNumbers();
  again.begin(disk.next);
  t.ok(again.take() > last);
});

t.test('a write that has failed comes again', async (t) => {
  const numbers = new SerialNumbers();
  const disk = new Disk();
  numbers.begin(1);
  numbers.take();
  disk.write(numbers);
  disk.write(numbers);
  t.equal(disk.writes, 1);
  numbers.touch();
  disk.write(numbers);
  t.equal(disk.writes, 2);
});
