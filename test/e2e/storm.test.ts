/**
 * 2,000 wrong passwords a second from 50 addresses: whoever comes from elsewhere gets in, every time,
 * the addresses are blocked by name, and neither memory nor the event loop gives way. In its long form:
 * `node test/e2e/run-storm.ts`.
 */
import t from 'tap';
import { describeStorm, runStorm } from './login-storm.ts';

const MIB = 1024 * 1024;

t.test(
  'a storm of wrong passwords locks nobody out but itself',
  { timeout: 120_000 },
  async (t) => {
    const report = await runStorm(t, {
      attemptsPerS: 2000,
      addresses: 50,
      seconds: 2,
      // However busy the machine: until all are blocked.
      secondsMax: 60,
      // Less than `causeway passwd` takes, so that the storm is over in time; two threads are busy
      // with it all the same.
      scryptCost: 10,
    });
    const said = describeStorm(report);
    for (const line of said.split('\n')) t.comment(line);
    t.strictSame(
      report.goodCodes.filter((code) => code !== 0),
      [],
      'who knows the password gets in, each time',
    );
    t.ok(report.goodCodes.length >= 3, said);
    t.equal(report.outcomes.get('0x0'), undefined, 'and nobody else');
    // How fast is for bench/ to say: a machine with other work is slow, not wrong.
    t.ok(Math.max(...report.talkMs) < 10_000, `who is connected goes on: ${said}`);
    t.strictSame(
      [...report.blocked].sort(),
      [...report.stormAddresses].sort(),
      'each address of the storm is blocked, and no other',
    );
    t.ok(report.grownBytes < 150 * MIB, said);
    t.ok(report.waitingMax <= 2000, said);
    t.ok(report.lateShare < 0.3, said);
    t.strictSame(report.errors, []);
  },
);
