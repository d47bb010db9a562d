/** The options of a node of a region with a Cassandra, for `schema.ts`: docs/adr/0021 says what they do. */
import { z } from 'zod';
import { degradedModes } from '../core/limits.ts';
import type { CassandraConfig } from './cassandra-config.ts';
import { choice, type LeafText, quantity, text, texts } from './leaf.ts';

/** A node is what it is until it is started again. */
const fixed = (help: string): LeafText => ({ help, reloadable: false });
const file = (what: string, help: string): z.ZodType<string | undefined> =>
  text({ expected: `the name of ${what}` }, fixed(help)).optional();

const CONTACT_POINT = /^(?:\[[0-9A-Fa-f:.]+\]:\d{1,5}|[^\s:/@[\]]+(?::\d{1,5})?|[0-9A-Fa-f:]+)$/;
const DATACENTER = /^[A-Za-z0-9_.-]{1,64}$/;
const KEYSPACE = /^[a-z][a-z0-9_]{0,47}$/;

const matching =
  (pattern: RegExp, expected: string) =>
  (word: string): string | null =>
    pattern.test(word) ? null : `expected ${expected}`;

export const cassandra: z.ZodType<CassandraConfig> = z.strictObject({
  contactPoints: texts(
    {
      expected: 'HOST, HOST:PORT or [IPv6]:PORT',
      refuse: matching(CONTACT_POINT, 'HOST, HOST:PORT or [IPv6]:PORT'),
    },
    fixed('Nodes of Cassandra to ask first; the others are learnt from them.'),
  ),
  localDatacenter: text(
    {
      expected: 'the name of a datacenter',
      refuse: matching(DATACENTER, 'the name of a datacenter, as `nodetool status` shows it'),
    },
    fixed('Datacenter of Cassandra that is near; no other one is asked.'),
  ),
  keyspace: text(
    {
      expected: 'the name of a keyspace',
      default: 'causeway',
      refuse: matching(KEYSPACE, '1 to 48 of a-z, 0-9 and _, a letter first'),
    },
    fixed('Keyspace, as `causeway cassandra init` has made it.'),
  ),
  username: text({ expected: 'a user name' }, fixed('Role of Cassandra.')).optional(),
  passwordFile: file('a file with the password', 'Its password.'),
  caFile: file('a PEM file', 'Authorities of TLS; without it Cassandra is spoken to in the clear.'),
  certFile: file('a PEM file', 'Certificate this node shows to Cassandra.'),
  keyFile: file('a PEM file', 'Its private key.'),
  inFlightMax: quantity(
    { unit: 'count', default: 256, min: 1, max: 32_768 },
    fixed('Topics that are written at a time.'),
  ),
  degraded: choice(
    degradedModes,
    'park',
    fixed(
      'Without Cassandra and without any other node: park lets acknowledgements of retained messages wait; local acknowledges what this node has synced.',
    ),
  ),
  tombstoneS: quantity(
    { unit: 's', default: 10 * 86_400, min: 3600, max: 365 * 86_400 },
    fixed(
      'How long Cassandra remembers that a topic was cleared: longer than any node or region is away, and at least gc_grace_seconds.',
    ),
  ),
  reconcileIntervalS: quantity(
    { unit: 's', default: 600, min: 1, max: 86_400 },
    fixed('Pause between two rounds in which one node compares its messages with Cassandra.'),
  ),
  reconcileRowsPerS: quantity(
    { unit: 'count', default: 5000, min: 100, max: 1_000_000 },
    fixed('Rows a second of such a round.'),
  ),
});
