// How long a publisher waits for its audience, and who goes on with it.
import t from 'tap';
import { AudiencePause, releaseWaiters } from '../../src/core/audience-pause.ts';
import type { Audience, PausedPublisher } from '../../src/core/outlet.ts';
import { TimerWheel } from '../../src/util/timer-wheel.ts';
import { ManualTime } from './manual-time.ts';

class Publisher implements PausedPublisher {
  readonly pause: AudiencePause;
  timesReady = 0;

  constructor(core: { readonly clock: ManualTime; readonly wheel: TimerWheel }) {
    this.pause = new AudiencePause(core, this);
  }

  audienceReady(): void {
    this.timesReady++;
  }
}

class Stage {
  readonly clock: ManualTime = new ManualTime();
  readonly wheel: TimerWheel = new TimerWheel(10, 64, this.clock.nowMs);

  publisher(): Publisher {
    return new Publisher(this);
  }

  pass(ms: number): void {
    this.clock.nowMs += ms;
    this.wheel.advance(this.clock.nowMs);
  }
}

function audience(): Audience {
  return { slow: false, progress: 0, waiters: null, closed: false };
}

t.test('an audience that has caught up lets all go on that wait for it', async (t) => {
  const stage = new Stage();
  const [one, other] = [stage.publisher(), stage.publisher()];
  const receiver = audience();
  one.pause.begin(receiver);
  other.pause.begin(receiver);
  t.ok(one.pause.isOn);
  releaseWaiters(receiver);
  t.same([one.timesReady, other.timesReady], [1, 1]);
  t.notOk(one.pause.isOn);
  t.equal(receiver.waiters, null);
  stage.pass(1000);
  t.notOk(receiver.slow, 'the timer went with it');
  t.equal(one.timesReady, 1);
});

t.test('one that makes no progress is slow after 250 ms, for all that wait for it', async (t) => {
  const stage = new Stage();
  const [one, later] = [stage.publisher(), stage.publisher()];
  const receiver = audience();
  one.pause.begin(receiver);
  stage.pass(200);
  later.pause.begin(receiver);
  receiver.progress += 63;
  t.notOk(receiver.slow);
  stage.pass(60);
  t.ok(receiver.slow);
  t.same([one.timesReady, later.timesReady], [1, 1]);
});

t.test('one that makes progress is waited for again, from where it is then', async (t) => {
  const stage = new Stage();
  const publisher = stage.publisher();
  const receiver = audience();
  receiver.progress = 1000;
  publisher.pause.begin(receiver);
  for (let i = 0; i < 4; i++) {
    receiver.progress += 64;
    stage.pass(260);
  }
  t.ok(publisher.pause.isOn);
  stage.pass(260);
  t.ok(receiver.slow);
  t.equal(publisher.timesReady, 1);
});

t.test('a publisher that is gone is waited for by nobody, and told nothing', async (t) => {
  const stage = new Stage();
  const [gone, stays] = [stage.publisher(), stage.publisher()];
  const receiver = audience();
  gone.pause.begin(receiver);
  stays.pause.begin(receiver);
  gone.pause.end();
  t.same(receiver.waiters, [stays.pause]);
  releaseWaiters(receiver);
  t.same([gone.timesReady, stays.timesReady], [0, 1]);
  gone.pause.end();
  stage.pass(1000);
  t.notOk(receiver.slow);
});
