// mosquitto's acl_file: what we make of it is what mosquitto itself does with it.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { AccessError } from '../../../src/access/access-error.ts';
import { isAllowed } from '../../../src/access/acl/decision.ts';
import { parseRules } from '../../../src/access/acl/load-rules.ts';
import { atOnce } from '../../../src/access/slices.ts';
import { Client } from '../../../src/client/client.ts';
import { subject } from './subjects.ts';

const file = `# Who may do what
user boss
topic readwrite #

topic_before user
`;

const acl = `# general: clients without a user
topic read public/#
topic deny public/hidden
topic readwrite box

user alice
topic readwrite a/#
topic deny a/secret
topic write only/write
topic read only/read
topic both words and blanks
topic 100%u/x

user bob
topic b/+/c
topic read #

user alice
topic deny a/+/late

pattern readwrite own/%u/%c
pattern deny own/%u/never
pattern read shared/#
pattern write client/%c/#

user boss
topic readwrite #
`.replace('topic both words', 'topic readwrite both words');

const topics = [
  'public/x',
  'public/hidden',
  'box',
  'a',
  'a/b',
  'a/secret',
  'a/x/late',
  'only/write',
  'only/read',
  'both words and blanks',
  '100%u/x',
  '100alice/x',
  'b/1/c',
  'b/1/d',
  'own/alice/c1',
  'own/alice/never',
  'own/bob/c1',
  'own/bob/never',
  'own/nobody/c1',
  'own//c1',
  'shared/x',
  'client/c1/x',
  'client/c2/x',
  'never',
];

const people: readonly (readonly [user: string | null, clientId: string])[] = [
  [null, 'c1'],
  ['alice', 'c1'],
  ['alice', 'never'],
  ['bob', 'c1'],
  ['nobody', 'c1'],
  ['nobody', '$c'],
];

const rules = atOnce(parseRules(acl, 'acl_file'));

function ours(user: string | null, clientId: string): string[] {
  const client = rules.compile(subject({ user, clientId }));
  return topics.flatMap((topic) => {
    const write = isAllowed(client.publish(topic, 1, false)) ? [`write ${topic}`] : [];
    const reads = isAllowed(client.subscribe('#', 1)) && isAllowed(client.receive(topic));
    return reads ? [...write, `read ${topic}`] : write;
  });
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** What mosquitto 2.0.11 let each of them do. */
const recorded: readonly (readonly string[])[] = [
  ['read public/x', 'write box', 'read box', 'read shared/x', 'write client/c1/x'],
  [
    'write a',
    'read a',
    'write a/b',
    'read a/b',
    'write only/write',
    'read only/read',
    'write both words and blanks',
    'read both words and blanks',
    'write 100%u/x',
    'read 100%u/x',
    'write own/alice/c1',
    'read own/alice/c1',
    'read shared/x',
    'write client/c1/x',
  ],
  [
    'write a',
    'read a',
    'write a/b',
    'read a/b',
    'write only/write',
    'read only/read',
    'write both words and blanks',
    'read both words and blanks',
    'write 100%u/x',
    'read 100%u/x',
    'read shared/x',
  ],
  [
    'read public/x',
    'read public/hidden',
    'read box',
    'read a',
    'read a/b',
    'read a/secret',
    'read a/x/late',
    'read only/write',
    'read only/read',
    'read both words and blanks',
    'read 100%u/x',
    'read 100alice/x',
    'write b/1/c',
    'read b/1/c',
    'read b/1/d',
    'read own/alice/c1',
    'read own/alice/never',
    'write own/bob/c1',
    'read own/bob/c1',
    'read own/bob/never',
    'read own/nobody/c1',
    'read own//c1',
    'read shared/x',
    'write client/c1/x',
    'read client/c1/x',
    'read client/c2/x',
    'read never',
  ],
  ['write own/nobody/c1', 'read own/nobody/c1', 'read shared/x', 'write client/c1/x'],
  ['read shared/x'],
];

/** The server, where it is installed. */
const server = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin']
  .map((folder) => join(folder, 'mosquitto'))
  .find((path) => existsSync(path));

t.test('the same clients may do the same as under mosquitto 2.0.11, as recorded', async (t) => {
  for (const [i, [user, clientId]] of people.entries()) {
    t.strictSame(ours(user, clientId), recorded[i], `${user} as ${clientId}`);
  }
});

t.test('the same clients may do the same as under the mosquitto at hand', async (t) => {
  if (server === undefined) {
    t.comment('mosquitto is not installed: what was recorded with it is above');
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), 'causeway-mosquitto-acl-'));
  const port = await freePort();
  writeFileSync(join(folder, 'acl'), acl, { mode: 0o644 });
  writeFileSync(
    join(folder, 'conf'),
    `listener ${port} 127.0.0.1\nallow_anonymous true\nacl_file ${join(folder, 'acl')}\nuser root\n`,
  );
  const child = spawn(server, ['-c', join(folder, 'conf')], { stdio: 'ignore' });
  t.teardown(async () => {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    rmSync(folder, { recursive: true, force: true });
  });
  const open = async (user: string | null, clientId: string, heard: string[]): Promise<Client> => {
    const client = new Client({
      url: `mqtt://127.0.0.1:${port}`,
      clientId,
      ...(user === null ? {} : { username: user }),
      onMessage: ({ topic, payload }) => {
        heard.push(`${payload.toString()} ${topic}`);
      },
    });
    await client.connect();
    return client;
  };
  for (let tries = 0; ; tries += 1) {
    try {
      const probe = await open('boss', 'probe', []);
      await probe.disconnect();
      break;
    } catch (error) {
      if (tries === 100) throw error;
      await sleep(50);
    }
  }
  const seen: string[] = [];
  const boss = await open('boss', 'boss', seen);
  await boss.subscribe('#');
  for (const [user, clientId] of people) {
    seen.length = 0;
    const heard: string[] = [];
    const client = await open(user, clientId, heard);
    const [answer] = await client.subscribe('#');
    t.ok(answer !== undefined && answer.reasonCode < 0x80, 'every subscription is granted');
    for (const topic of topics) await client.publish(topic, 'write', { qos: 1 }).catch(() => null);
    for (const topic of topics) await boss.publish(topic, 'read', { qos: 1 });
    // What is not read has no end to wait for: a topic that is heard by the boss comes last.
    await boss.publish('end', 'end', { qos: 1 });
    while (!seen.includes('end end')) await sleep(5);
    const ping = await client.subscribe('#');
    t.equal(ping.length, 1, 'everything before this answer has arrived');
    const theirs = topics.flatMap((topic) => [
      ...(seen.includes(`write ${topic}`) ? [`write ${topic}`] : []),
      ...(heard.includes(`read ${topic}`) ? [`read ${topic}`] : []),
    ]);
    t.strictSame(ours(user, clientId), theirs, `${user} as ${clientId}: ${theirs.length} rights`);
    await client.disconnect();
  }
  await boss.disconnect();
});

t.test('every subscription is granted, nothing unread is delivered', async (t) => {
  const client = rules.compile(subject({ user: 'nobody', clientId: 'c1' }));
  for (const filter of ['#', 'a/#', '$SYS/#', 'never']) {
    t.ok(isAllowed(client.subscribe(filter, 2)), filter);
  }
  t.ok(client.filtersReceive);
  t.notOk(isAllowed(client.receive('$SYS/broker/uptime')));
  t.notOk(isAllowed(client.receive('never')));
});

t.test('[class 4] stricter than mosquitto with dangerous identities', async (t) => {
  for (const clientId of ['#', '+', 'a/b', 'c1/#']) {
    const client = rules.compile(subject({ user: 'nobody', clientId }));
    const opened = topics.filter((topic) => isAllowed(client.publish(topic, 0, false)));
    t.strictSame(opened, [], clientId);
  }
});

t.test('places: rules and problems', async (t) => {
  const client = rules.compile(subject({ user: 'alice' }));
  const rule = client.ruleOf(client.publish('a/secret', 0, false));
  t.match(rule, { allow: false, text: 'topic deny a/secret', source: { line: 8, column: 1 } });
  const wrong = `${file}topic write\ntopic wrote a\n  user\npattern read a/#/b\r\npattern %c/#\ntopic`;
  try {
    atOnce(parseRules(wrong, 'acl'));
    t.fail('was taken');
  } catch (error) {
    t.type(error, AccessError);
    t.strictSame(
      (error as AccessError).problems.map(({ where, message }) => `${where} ${message}`),
      [
        'acl:5:1 unknown: `topic_before`; user, topic and pattern are known',
        'acl:7:7 unknown: `wrote`; read, write, readwrite and deny are known',
        'acl:8:7 expected a user name after `user`',
        'acl:9:14 is no topic filter: + and # stand alone between slashes, and # comes last',
        'acl:11:6 expected a topic after `topic`',
      ],
    );
  }
});
