// Makes docs/reference/limits.md from the table of quota kinds and that of their metrics; a test
// compares the file with it. Run after changing one of them: node test/quota/limits-reference.ts
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  actionsOf,
  type QuotaKind,
  quotaKindNames,
  quotaKinds,
} from '../../src/quota/quota-kinds.ts';
import { quotaMetricTable } from '../../src/quota/quota-report.ts';

export const limitsReferencePath: string = join(
  import.meta.dirname,
  '../../docs/reference/limits.md',
);

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function code(text: string): string {
  return `\`${text}\``;
}

function kind(name: QuotaKind): readonly string[] {
  const { unit, isRate, per, together, knowsListener, help } = quotaKinds[name];
  const shared = together.length === per.length ? 'all' : together.map(code).join(', ') || '–';
  const scopes = per.map(code).join(', ');
  const lists = knowsListener ? 'users, tenants, listeners' : 'users, tenants';
  return [code(name), `${unit}${isRate ? ' a second' : ''}`, help, scopes, shared, lists];
}

export function limitsReference(): string {
  const told = quotaKindNames.flatMap((name) =>
    actionsOf(name).map((action, index) => [
      code(name),
      `${code(action)}${index === 0 ? ' (default)' : ''}`,
      quotaKinds[name].actions[action] ?? '',
    ]),
  );
  return `# Limits and quotas

<!-- Made by \`node test/quota/limits-reference.ts\` from the tables; do not edit. -->

**Limits** bound what one connection, session or packet may take of the broker. They always hold, and
are listed with the other [options](options.md#limits). **Quotas** are the operator's: how much each
client, user, tenant, listener or the whole node may use. There are none unless \`quotas\` names some.

\`\`\`yaml
quotas:
  - name: gold-rate                  # client, log, metrics and API call it by this name
    of: publishMessagesPerS
    per: client
    max: 1000                        # a second
    burst: 5000                      # at once; max when absent
    tenants: [gold]                  # whom it concerns; everyone when absent
  - name: rate
    of: publishMessagesPerS
    per: client
    max: 50
    action: slow
  - name: tenant-connections
    of: connections
    per: tenant
    max: 10000
\`\`\`

- **Which one holds.** Of the quotas with the same \`of\` and \`per\`, the first in the list that concerns
  a client holds for it: exceptions come before the rule. Quotas with different \`per\` hold together.
- **Whom it concerns.** \`users\`, \`tenants\` and \`listeners\` are lists of names; all that are given must
  fit. All anonymous clients together are one user. Who has no tenant is under no quota per tenant.
- **Rates** are token buckets: \`burst\` at once, \`max\` a second in the long run, over any time. The
  smallest \`burst\` is what 20 ms bring. Who reconnects finds the bucket as it was left.
- **Slowed down** means that the client's socket is not read; nothing is lost. Those who share a quota
  take turns, message by message. A message larger than the burst is sent when all of it is paid for.
- **In a [datacenter](../guides/cluster.md#bans-logins-and-quotas)** the table says which \`per\` are counted
  over all nodes together; all others hold for each node by itself. Rates per tenant: each node may use
  the burst, and draws what comes after it from what all share, in portions of a tenth of a second.
  Connections per tenant: nodes tell each other once a second, so a rush at several of them may go over
  by what that second brings. Retained messages are at every node, so each counts all. Without Redis
  each node goes on with the whole limit, as if it were alone. Limits of the API are each node's own.
- **Over the limit.** What is there is never taken away, neither after a restart nor after a reload that
  lowers a quota: only growth is refused.
- **Reload** takes over a changed list. A quota that keeps its name, \`of\` and \`per\` keeps what it has
  counted.

## What can be counted

${table(
  ['`of`', 'Unit', 'What is counted', '`per`', 'Counted together', 'Lists'],
  quotaKindNames.map(kind),
)}

## What happens at the limit

${table(['`of`', '`action`', 'What the client sees'], told)}

Each time is counted in \`causeway_quota_hits_total\`; the log says \`quota reached\` with the name of the
quota and who met it, at most once in ten seconds per quota.

## Metrics

The only label that names anything is the quota's own; who uses how much is for the API.

${table(
  ['Metric', 'Type', 'Labels', 'Meaning'],
  quotaMetricTable.map(({ name, type, labels, help }) => [
    code(name),
    type,
    labels.map(code).join(', '),
    help,
  ]),
)}
`;
}

if (process.argv[1] === import.meta.filename) {
  writeFileSync(limitsReferencePath, limitsReference());
}
