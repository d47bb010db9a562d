/** The counters of the core as JSON: arrays and maps by the names of their places. */
import { dropReasons } from '../../core/drop-reason.ts';
import type { Stats } from '../../core/stats.ts';
import { packetTypeName } from '../../wire/packet-type.ts';

export type StatsJson = Readonly<Record<string, number | Readonly<Record<string, number>>>>;

export function statsJson(stats: Stats): StatsJson {
  const fields: [string, StatsJson[string]][] = [];
  for (const [name, value] of Object.entries(stats)) {
    if (typeof value === 'number') fields.push([name, value]);
    else if (value instanceof Float64Array) fields.push([name, byPlace(name, value)]);
    else if (value instanceof Map) fields.push([name, Object.fromEntries(value)]);
  }
  return Object.fromEntries(fields);
}

function byPlace(name: string, values: Float64Array): Record<string, number> {
  const entries: [string, number][] = [];
  for (const [place, value] of values.entries()) {
    if (name === 'dropped') entries.push([dropReasons[place]!, value]);
    else if (!name.startsWith('packets')) entries.push([`qos${place}`, value]);
    // No packet has type 0.
    else if (place > 0) entries.push([packetTypeName(place).toLowerCase(), value]);
  }
  return Object.fromEntries(entries);
}
