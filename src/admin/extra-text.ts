/** Metrics of other rooms as Prometheus text: their names are not known before they come. Pure. */
import type { ExtraMetric } from './metric-sources.ts';

export function extraText(metrics: Iterable<ExtraMetric>): string {
  const lines: string[] = [];
  const told = new Set<string>();
  for (const { name, type, help, labels, value } of metrics) {
    if (!told.has(name)) {
      told.add(name);
      lines.push(`# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}`);
      lines.push(`# TYPE ${name} ${type}`);
    }
    const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escaped(text)}"`);
    lines.push(`${name}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${value}`);
  }
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`;
}

/** Tenants and users are named by others. */
function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
