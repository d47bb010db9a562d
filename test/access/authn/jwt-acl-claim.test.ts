// Rights in a token: three forms are read, and a claim that is not understood whole is refused whole.
import t from 'tap';
import { readAclClaim } from '../../../src/access/authn/jwt-acl-claim.ts';

const OPEN = '$' + '{';
const any = { qos: null, retain: null };

t.test('our own form', async (t) => {
  const rules = readAclClaim(
    [
      { deny: 'all', topic: 'd/secret/#' },
      { allow: ['publish', 'subscribe'], topics: ['d/%c/#', 'u/%u'], qos: [0, 1], retain: false },
      { allow: 'receive', topic: 'x/%{site}', qos: 2 },
    ],
    'acl',
  );
  const second = { allow: true, actions: ['publish', 'subscribe'], qos: [0, 1], retain: false };
  t.strictSame(rules, [
    {
      allow: false,
      actions: ['publish', 'subscribe'],
      topic: 'd/secret/#',
      ...any,
      source: 'token claim acl[0]',
    },
    { ...second, topic: 'd/%c/#', source: 'token claim acl[1]' },
    { ...second, topic: 'u/%u', source: 'token claim acl[1]' },
    {
      allow: true,
      actions: ['receive'],
      topic: 'x/%{site}',
      qos: [2],
      retain: null,
      source: 'token claim acl[2]',
    },
  ]);
  t.strictSame(readAclClaim([], 'acl'), []);
});

t.test('the forms of EMQX', async (t) => {
  const list = [
    { permission: 'deny', action: 'all', topic: `${OPEN}clientid}/private` },
    { permission: 'allow', action: 'publish', topic: `${OPEN}username}/#`, qos: [1], retain: true },
  ];
  t.match(readAclClaim(list, 'rights'), [
    { allow: false, actions: ['publish', 'subscribe'], topic: '%c/private' },
    {
      allow: true,
      actions: ['publish'],
      topic: '%u/#',
      qos: [1],
      retain: true,
      source: 'token claim rights[1]',
    },
  ]);
  const object = { pub: [`a/${OPEN}clientid}`], sub: ['b/#'], all: [] };
  t.strictSame(readAclClaim(object, 'acl'), [
    { allow: true, actions: ['publish'], topic: 'a/%c', ...any, source: 'token claim acl.pub[0]' },
    { allow: true, actions: ['subscribe'], topic: 'b/#', ...any, source: 'token claim acl.sub[0]' },
  ]);
});

t.test('what cannot be understood', async (t) => {
  const wrong: unknown[] = [
    null,
    'all',
    7,
    true,
    [null],
    ['a/#'],
    [[]],
    [{}],
    [{ topic: 'a' }],
    [{ allow: 'publish' }],
    [{ allow: 'publish', deny: 'publish', topic: 'a' }],
    [{ allow: 'publish', topic: 'a', topics: ['b'] }],
    [{ allow: 'write', topic: 'a' }],
    [{ allow: [], topic: 'a' }],
    [{ allow: true, topic: 'a' }],
    [{ allow: 'publish', topic: '' }],
    [{ allow: 'publish', topics: [] }],
    [{ allow: 'publish', topic: 7 }],
    [{ allow: 'publish', topic: 'a/#/b' }],
    [{ allow: 'publish', topic: 'a+' }],
    [{ allow: 'publish', topic: '%x' }],
    [{ allow: 'publish', topic: '$share/g/a' }],
    [{ allow: 'publish', topic: 'a', qos: 3 }],
    [{ allow: 'publish', topic: 'a', qos: [] }],
    [{ allow: 'publish', topic: 'a', qos: '1' }],
    [{ allow: 'publish', topic: 'a', retain: 'yes' }],
    [{ allow: 'publish', topic: 'a', when: 'sunny' }],
    [{ permission: 'allow', action: 'publish', topic: 'eq a/+' }],
    [{ permission: 'allow', action: 'publish', topic: `${OPEN}cert_common_name}` }],
    [{ permission: 'maybe', action: 'publish', topic: 'a' }],
    { pub: 'a' },
    { pub: ['a'], other: [] },
    { pub: [7] },
    JSON.parse('{"__proto__": ["a"]}'),
    Array.from({ length: 501 }, () => ({ allow: 'publish', topic: 'a' })),
    [{ allow: 'publish', topics: Array(501).fill('a') }],
    { all: Array(501).fill('a') },
  ];
  for (const value of wrong) {
    t.type(readAclClaim(value, 'acl'), 'string', JSON.stringify(value).slice(0, 60));
  }
  const canary = [{ allow: 'publish', topic: 'canary#' }];
  t.equal(readAclClaim(canary, 'acl'), '[0] has a topic that cannot be used', 'no value is told');
});
