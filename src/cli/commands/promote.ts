/** `causeway promote`: sessions of a node alone become those of a datacenter. */
import { type Command, EXIT_USAGE, readArguments, UsageError } from '../command.ts';
import { configSourcesUsage, loadOrExplain, requestConfig } from '../config-flags.ts';

const FLAGS = {
  config: { type: 'string', short: 'c' },
  data: { type: 'string', short: 'd' },
  redis: { type: 'string' },
  'key-prefix': { type: 'string' },
  set: { type: 'string', multiple: true },
  'dry-run': { type: 'boolean' },
  keep: { type: 'boolean' },
  json: { type: 'boolean' },
} as const;

export const command: Command = {
  name: 'promote',
  summary: 'move the sessions of a node alone into a datacenter',
  usage: `causeway promote --data DIR --redis URL [--key-prefix P] [--dry-run] [--keep] [--json]

Moves what a node alone has in its data directory DIR into the Redis of a datacenter: sessions with
their subscriptions, queues (in order, under the packet ids that clients know, with the states of QoS 2
messages), packet ids of inbound QoS 2 messages, wills. What was found, what was not moved and why, and
what Redis holds is counted and printed. When the counts are equal, and not before, the sessions that
moved are removed from DIR; a Redis that keeps nothing on its disk (appendonly no) and has no replicas
to wait for is refused, unless they stay (--keep). Retained messages stay in DIR: each node of a
datacenter keeps all of them, and one that is started on DIR brings those it has.

The node of DIR must be stopped, and so must all nodes of the datacenter: they learn of sessions when
they start. A client id that has a session in the datacenter is named and not moved; its session stays
in DIR. After a crash, run it again: nothing is lost, and nothing is moved twice.

  -d, --data DIR      data directory of the node (option data)
      --redis URL     Redis of the datacenter, as for start (option cluster.redis.url)
      --key-prefix P  before every key (option cluster.redis.keyPrefix)
  -c, --config FILE   the configuration of the node: TLS, user and password of Redis, and so on
      --set NAME=VALUE
                      any option, such as cluster.redis.passwordFile=FILE; may be repeated
      --dry-run       count, ask Redis what is there, and write nothing
      --keep          leave the sessions in DIR, too: never start a node alone on it again
      --json          one JSON document instead of the table; names and warnings go to stderr as ever

${configSourcesUsage}

Exit codes: 0 everything has moved; 1 the command line or the configuration is wrong, or the counts
differ: nothing was removed; 2 the data or Redis cannot be used, or nodes are running; 3 done, but
something was not moved and was named.
`,
  async run(args) {
    const { values, positionals } = readArguments(args, FLAGS);
    const prefix = values.get('key-prefix')?.[0];
    const set = values.get('set') ?? [];
    const given = new Map(values);
    if (prefix !== undefined) given.set('set', [...set, `cluster.redis.keyPrefix=${prefix}`]);
    const loaded = loadOrExplain(requestConfig({ values: given, positionals }, undefined));
    if (loaded === null) return EXIT_USAGE;
    const { cluster, data, store } = loaded.config;
    if (cluster === undefined) {
      throw new UsageError('promote needs --redis URL, the Redis of the datacenter');
    }
    if (store === 'memory') {
      throw new UsageError(
        'a node that keeps everything in memory has nothing to move (--data DIR)',
      );
    }
    const { runPromote } = await import('../promote/run-promote.ts');
    const isDryRun = values.has('dry-run');
    return runPromote({
      directory: data,
      cluster,
      isDryRun,
      isKept: values.has('keep'),
      isJson: values.has('json'),
    });
  },
};
