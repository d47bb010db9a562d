// Makes docs/reference/metrics.md from the tables of metrics, topics and reasons; a test compares the
// file with it. Run after changing one of them: node test/admin/metrics-reference.ts
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bridgeMetricTable } from '../../src/admin/bridge-metrics.ts';
import {
  cassandraMetricTable,
  REQUEST_TIME_HELP,
  REQUEST_TIME_NAME,
} from '../../src/admin/cassandra-metrics.ts';
import {
  clusterMetricTable,
  ROUND_TRIP_HELP,
  ROUND_TRIP_NAME,
} from '../../src/admin/cluster-metrics.ts';
import { directoryMetricTable, moveMetricTable } from '../../src/admin/directory-metrics.ts';
import { LOOP_DELAY_HELP, LOOP_DELAY_NAME } from '../../src/admin/event-loop-delay.ts';
import { GC_HELP, GC_NAME } from '../../src/admin/gc-pauses.ts';
import { linkMetricTable } from '../../src/admin/link-metrics.ts';
import { metricTable } from '../../src/admin/metric-table.ts';
import { runtimeTable } from '../../src/admin/runtime-table.ts';
import { sysLoadTable, sysTopicTable } from '../../src/admin/sys-topics.ts';
import { steeredMetric } from '../../src/app/region-desk.ts';
import { closeTable } from '../../src/core/close-reason.ts';
import { dropTable } from '../../src/core/drop-reason.ts';
import { refuseTable } from '../../src/core/refuse-reason.ts';
import { rightsMetricRows } from '../app/rights-metrics.ts';

export const metricsReferencePath: string = join(
  import.meta.dirname,
  '../../docs/reference/metrics.md',
);

interface Row {
  readonly name: string;
  readonly type: string;
  readonly labels: readonly string[];
  readonly help: string;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function code(text: string): string {
  return `\`${text}\``;
}

function metrics(rows: readonly Row[]): string {
  return table(
    ['Metric', 'Type', 'Labels', 'Meaning'],
    rows.map(({ name, type, labels, help }) => [
      code(name),
      type,
      labels.map(code).join(', ') || '–',
      help,
    ]),
  );
}

function reasons(spec: Readonly<Record<string, string>>): string {
  return table(
    ['Reason', 'Meaning'],
    Object.entries(spec).map(([reason, help]) => [code(reason), help]),
  );
}

export async function metricsReference(): Promise<string> {
  const histograms: Row[] = [
    { name: LOOP_DELAY_NAME, type: 'histogram', labels: [], help: LOOP_DELAY_HELP },
    { name: GC_NAME, type: 'histogram', labels: ['kind'], help: GC_HELP },
  ];
  const roundTrips = {
    name: ROUND_TRIP_NAME,
    type: 'histogram',
    labels: [],
    help: ROUND_TRIP_HELP,
  };
  const requestTimes = {
    name: REQUEST_TIME_NAME,
    type: 'histogram',
    labels: [],
    help: REQUEST_TIME_HELP,
  };
  const closes = Object.fromEntries(
    Object.entries(closeTable).map(([reason, { help }]) => [reason, help]),
  );
  const refusals = Object.fromEntries(
    Object.entries(refuseTable).map(([reason, { help }]) => [reason, help]),
  );
  return `# Metrics

<!-- Made by \`node test/admin/metrics-reference.ts\` from the tables; do not edit. -->

\`GET /metrics\` on the admin address answers in the Prometheus text format. What to watch, and alerts
to begin with, are in [the monitoring guide](../guides/monitoring.md).

## The broker

${metrics(metricTable)}

## Access and quotas

Labels hold names of the configuration, never of clients. What is not configured has no series.

${metrics(await rightsMetricRows())}

## The datacenter

Shown when the node is one of a cluster ([its guide](../guides/cluster.md)). \`node\` is the label of a
peer; \`direction\` is \`out\` where this node sends.

${metrics([...clusterMetricTable, roundTrips])}

## Cassandra

Shown when the node is one of a region with a Cassandra ([its guide](../guides/cassandra.md)). \`code\` says
why, in the words of the log.

${metrics([...cassandraMetricTable, requestTimes])}

## Regions

Shown when the node has \`regions\` ([their guide](../guides/regions.md)). \`region\` is the other one: of
\`causeway_link_\` the one that messages are fetched from, of \`causeway_fetcher_\` the one that fetches.

${metrics(linkMetricTable)}

With \`regions.directory\` or \`regions.roaming\`:

${metrics(directoryMetricTable)}

With \`regions.roaming\`:

${metrics(moveMetricTable)}

## Bridges

Shown when the node has \`bridges\` ([their guide](../guides/bridges.md)).

${metrics(bridgeMetricTable)}

## Steering

Shown when the configuration has the section \`steering\` ([its guide](../guides/steering.md)).

${metrics([{ ...steeredMetric, labels: ['policy'] }])}

## The process

${metrics([...runtimeTable, ...histograms])}

## Why clients are refused

Values of \`reason\` in \`causeway_connects_refused_total\`, in the log and in traces.

${reasons(refusals)}

## Why connections end

Values of \`reason\` in \`causeway_connections_closed_total\`, in the log and in the API.

${reasons(closes)}

## Why messages are dropped

Values of \`reason\` in \`causeway_messages_dropped_total\`, in the log and in the API.

${reasons(dropTable)}

## Topics of \`$SYS\`

Retained below \`$SYS/broker/\`, published every \`sysIntervalS\` seconds when they have changed.

${table(
  ['Topic', 'Meaning'],
  [
    [code('version'), 'Name and version of the broker.'],
    [code('uptime'), 'Seconds since the start.'],
    ...sysTopicTable.map(({ topic, help }) => [code(topic), help]),
    ...sysLoadTable.map(({ topic, help }) => [
      code(`load/${topic}/1min`),
      `${help.replace(/\.$/, '')}, averaged; also \`5min\` and \`15min\`.`,
    ]),
  ],
)}
`;
}

if (process.argv[1] === import.meta.filename) {
  writeFileSync(metricsReferencePath, await metricsReference());
}
