/** `causeway cassandra init`: keyspace and tables of a region. */
import { type Command, EXIT_USAGE, readArguments, UsageError } from '../command.ts';
import { configSourcesUsage, loadOrExplain, requestConfig } from '../config-flags.ts';

const FLAGS = {
  config: { type: 'string', short: 'c' },
  'contact-points': { type: 'string' },
  'local-datacenter': { type: 'string' },
  keyspace: { type: 'string' },
  replication: { type: 'string' },
  set: { type: 'string', multiple: true },
} as const;

export const command: Command = {
  name: 'cassandra',
  summary: 'make or change the tables of a region in Cassandra',
  usage: `causeway cassandra init --contact-points HOST,… --local-datacenter NAME
                        --replication DC=COPIES[,DC=COPIES…] [--keyspace NAME]

Makes the keyspace with NetworkTopologyStrategy and the tables, or brings them to the version of this
release. It may be run again, also while nodes run; a keyspace that is there keeps its replication
unless --replication says another one, after which nodetool repair has to be run on every node of
Cassandra. Nothing is ever dropped.

      --contact-points HOST[:PORT],…
                      nodes of Cassandra (option cassandra.contactPoints)
      --local-datacenter NAME
                      as nodetool status shows it (option cassandra.localDatacenter)
      --keyspace NAME (option cassandra.keyspace, default causeway)
      --replication DC=COPIES,…
                      copies in each datacenter of Cassandra: 3 survive the loss of one node
  -c, --config FILE   the configuration of the node: TLS, user and password of Cassandra, and so on
      --set NAME=VALUE
                      any option, such as cassandra.passwordFile=FILE; may be repeated

${configSourcesUsage}

Exit codes: 0 done; 1 the command line or the configuration is wrong; 2 Cassandra cannot be reached, or
refuses.
`,
  async run(args) {
    const { values, positionals } = readArguments(args, FLAGS, 1);
    if (positionals[0] !== 'init') throw new UsageError('there is one: causeway cassandra init');
    const set = [...(values.get('set') ?? [])];
    const single = (name: string): string | undefined => values.get(name)?.[0];
    const datacenter = single('local-datacenter');
    const keyspace = single('keyspace');
    if (datacenter !== undefined) set.push(`cassandra.localDatacenter=${datacenter}`);
    if (keyspace !== undefined) set.push(`cassandra.keyspace=${keyspace}`);
    const given = new Map(values);
    given.set('set', set);
    const loaded = loadOrExplain(requestConfig({ values: given, positionals: [] }, undefined));
    if (loaded === null) return EXIT_USAGE;
    const { cassandra } = loaded.config;
    if (cassandra === undefined) {
      throw new UsageError('init needs --contact-points and --local-datacenter');
    }
    const replication = readReplication(single('replication'));
    const { runInit } = await import('../cassandra/run-init.ts');
    return runInit(cassandra, replication);
  },
};

/** `dc1=3,dc2=3`; null: none was given. */
function readReplication(text: string | undefined): ReadonlyMap<string, number> | null {
  if (text === undefined) return null;
  const copies = new Map<string, number>();
  for (const word of text.split(',')) {
    const match = /^([A-Za-z0-9_.-]{1,64})=([1-9]\d?)$/.exec(word);
    if (match === null) {
      throw new UsageError(`--replication needs DC=COPIES,…, such as dc1=3,dc2=3; found ${word}`);
    }
    copies.set(match[1]!, Number(match[2]));
  }
  return copies;
}
