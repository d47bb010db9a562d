// The $SYS tree: customary names, averages, and nothing that has not changed.
import t from 'tap';
import { LoadAverage } from '../../src/admin/load-average.ts';
import { startSysTopics, sysLoadTable, sysTopicTable } from '../../src/admin/sys-topics.ts';
import { Drop } from '../../src/core/drop-reason.ts';
import { Stats } from '../../src/core/stats.ts';

function world(intervalMs = 10_000) {
  const stats = new Stats();
  const published: [topic: string, payload: string][] = [];
  const clock = { nowMs: 5000, monotonicMs: () => clock.nowMs, wallMs: () => 0 };
  let tick: (() => void) | null = null;
  let everyMs = 0;
  const topics = startSysTopics({
    version: '9.9.9',
    stats,
    publish: (topic, payload) => published.push([topic, payload]),
    clock,
    scheduler: {
      every: (ms, task) => {
        everyMs = ms;
        tick = task;
        return () => {
          tick = null;
        };
      },
    },
    intervalMs,
  });
  /** Lets an interval pass and gives what was published. */
  const pass = (ms = intervalMs): Map<string, string> => {
    published.length = 0;
    clock.nowMs += ms;
    tick?.();
    return new Map(published);
  };
  const isRunning = (): boolean => tick !== null;
  return { stats, published, topics, pass, isRunning, everyMs: () => everyMs };
}

/** As `mosquitto_sub -t '$SYS/#'` shows them, without its heap and deprecated ones. */
const CUSTOMARY = [
  'version',
  'uptime',
  'clients/connected',
  'clients/disconnected',
  'clients/total',
  'clients/maximum',
  'clients/expired',
  'messages/received',
  'messages/sent',
  'messages/stored',
  'publish/messages/received',
  'publish/messages/sent',
  'publish/messages/dropped',
  'publish/bytes/received',
  'publish/bytes/sent',
  'bytes/received',
  'bytes/sent',
  'subscriptions/count',
  'shared_subscriptions/count',
  'retained messages/count',
  'store/messages/count',
  'store/messages/bytes',
  ...[
    'messages/received',
    'messages/sent',
    'publish/received',
    'publish/sent',
    'publish/dropped',
    'bytes/received',
    'bytes/sent',
    'sockets',
    'connections',
  ].flatMap((name) => ['1min', '5min', '15min'].map((time) => `load/${name}/${time}`)),
].map((name) => `$SYS/broker/${name}`);

t.test('all topics at once, then only what has changed', async (t) => {
  const { stats, published, pass, everyMs } = world();
  t.strictSame(published.map(([topic]) => topic).sort(), [...CUSTOMARY].sort());
  t.equal(everyMs(), 10_000);
  const first = new Map(published);
  t.equal(first.get('$SYS/broker/version'), 'causeway version 9.9.9');
  t.equal(first.get('$SYS/broker/uptime'), '0 seconds');
  t.strictSame([...pass()], [['$SYS/broker/uptime', '10 seconds']]);
  stats.bytesReceived += 600;
  const changed = pass();
  t.equal(changed.get('$SYS/broker/bytes/received'), '600');
  // 600 in 10 s are 3600 a minute; a sixth of a minute weighs 1 - e^(-1/6)
  t.equal(changed.get('$SYS/broker/load/bytes/received/1min'), '552.67');
  t.equal(changed.get('$SYS/broker/load/bytes/received/15min'), '39.78');
  t.equal(changed.size, 5);
  const faded = 3600 * (1 - Math.exp(-1 / 6)) * Math.exp(-1 / 6);
  t.equal(pass().get('$SYS/broker/load/bytes/received/1min'), faded.toFixed(2), 'and fades');
});

t.test('every topic moves with its counter', async (t) => {
  const { stats, pass } = world();
  stats.clientsConnected = 2;
  stats.sessions = 7;
  stats.clientsConnectedMaximum = 5;
  stats.sessionsExpired = 1;
  stats.packetsReceived[1] = 2;
  stats.packetsReceived[3] = 9;
  stats.packetsSent[2] = 4;
  stats.retainedMessages = 3;
  stats.queuedMessages = 10;
  stats.publishReceived[0] = 1;
  stats.publishReceived[2] = 8;
  stats.publishSent[1] = 6;
  stats.dropped[Drop.expired] = 2;
  stats.dropped[Drop.queue_full] = 5;
  stats.publishBytesReceived = 100;
  stats.publishBytesSent = 200;
  stats.bytesReceived = 300;
  stats.bytesSent = 400;
  stats.subscriptions = 12;
  stats.sharedSubscriptions = 11;
  stats.retainedBytes = 1000;
  stats.queuedBytes = 2000;
  stats.socketsAccepted = 20;
  stats.connectsAccepted = 15;
  stats.connectsRefused = 1;
  const now = pass(60_000);
  const wanted: Record<string, string> = {
    'clients/connected': '2',
    'clients/disconnected': '5',
    'clients/total': '7',
    'clients/maximum': '5',
    'clients/expired': '1',
    'messages/received': '11',
    'messages/sent': '4',
    'messages/stored': '13',
    'publish/messages/received': '9',
    'publish/messages/sent': '6',
    'publish/messages/dropped': '7',
    'publish/bytes/received': '100',
    'publish/bytes/sent': '200',
    'bytes/received': '300',
    'bytes/sent': '400',
    'subscriptions/count': '12',
    'shared_subscriptions/count': '11',
    'retained messages/count': '3',
    'store/messages/count': '13',
    'store/messages/bytes': '3000',
  };
  t.strictSame(Object.keys(wanted).sort(), sysTopicTable.map(({ topic }) => topic).sort());
  for (const [topic, value] of Object.entries(wanted)) {
    t.equal(now.get(`$SYS/broker/${topic}`), value, topic);
  }
  const rates = [11, 4, 9, 6, 7, 300, 400, 20, 16];
  for (const [index, { topic }] of sysLoadTable.entries()) {
    const perMinute = (1 - Math.exp(-1)) * rates[index]!;
    t.equal(now.get(`$SYS/broker/load/${topic}/1min`), perMinute.toFixed(2), topic);
  }
});

t.test('off, and stopped', async (t) => {
  const off = world(0);
  t.strictSame([off.published, off.isRunning()], [[], false]);
  off.topics.stop();
  const on = world();
  t.ok(on.isRunning());
  on.topics.stop();
  t.notOk(on.isRunning());
});

t.test('a steady rate becomes the average', async (t) => {
  const load = new LoadAverage(1000);
  let total = 1000;
  let averages: Float64Array = new Float64Array(3);
  for (let i = 0; i < 1000; i++) {
    total += 50;
    averages = load.update(total, 10_000);
  }
  for (const average of averages) t.ok(Math.abs(average - 300) < 0.1, `${average} a minute`);
  t.strictSame([...load.update(total + 5, 0)], [...averages], 'no time, no change');
});
