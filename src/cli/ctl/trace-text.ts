/** An event of a trace as one line for people, and the summary at the end. Used by `causeway trace`. */
import { safeText } from './terminal-text.ts';

export type TraceEvent = Readonly<Record<string, unknown>>;

/** Towards the broker, away from it, and what never left. */
const signs: ReadonlyMap<string, string> = new Map([
  ['connect', '-->'],
  ['subscribe', '-->'],
  ['unsubscribe', '-->'],
  ['publish', '-->'],
  ['disconnect', '---'],
  ['refused', '--x'],
  ['deliver', '<--'],
  ['drop', 'x--'],
]);

/** Null: nothing to show. */
export function traceLine(event: TraceEvent): string | null {
  const kind = String(event.event ?? '');
  const sign = signs.get(kind);
  const time = timeOf(event.atMs);
  if (sign === undefined) {
    if (kind === 'missed') return `${time} !!! ${count(event)} events were too many to be told`;
    if (kind === 'ended') return `${time} === the node ended the trace: ${text(event.reason)}`;
    return null;
  }
  const details = detailsOf(event);
  const shown = details.map(([name, value]) => `${name}=${value}`).join(' ');
  const subject = text(event.topic ?? event.filter ?? '');
  const parts = [time, sign, kind.padEnd(11), text(event.clientId), subject, shown];
  return parts.filter((part) => part !== '').join(' ');
}

function detailsOf(event: TraceEvent): [string, string][] {
  const details: [string, string][] = [];
  const add = (name: string, value: unknown): void => {
    if (value !== undefined && value !== null && value !== '') details.push([name, text(value)]);
  };
  add('user', event.identity);
  if (event.remoteAddress !== undefined) {
    add('from', `${String(event.remoteAddress)}:${String(event.remotePort)}`);
    add('listener', event.listener);
    add('mqtt', event.protocolVersion);
  }
  add('qos', event.qos);
  if (event.retain === true) add('retain', true);
  add('bytes', event.bytes);
  if (typeof event.reasonCode === 'number') {
    add('code', `0x${event.reasonCode.toString(16).padStart(2, '0')}`);
  }
  add('reason', event.reason);
  return details;
}

function text(value: unknown): string {
  return safeText(String(value ?? ''));
}

function count(event: TraceEvent): string {
  return text(event.count);
}

/** Local time of day: a trace is looked at while it runs. */
function timeOf(atMs: unknown): string {
  if (typeof atMs !== 'number') return '--:--:--.---';
  const time = new Date(atMs);
  const two = (value: number): string => String(value).padStart(2, '0');
  const clock = [time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(':');
  return `${clock}.${String(time.getMilliseconds()).padStart(3, '0')}`;
}

/** Counts what a trace has shown. */
export class TraceSummary {
  readonly #counts = new Map<string, number>();
  #bytes = 0;

  add(event: TraceEvent): void {
    const kind = String(event.event ?? '');
    if (kind === 'missed') {
      this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + Number(event.count ?? 0));
      return;
    }
    if (!signs.has(kind)) return;
    this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + 1);
    if (typeof event.bytes === 'number') this.#bytes += event.bytes;
  }

  toString(): string {
    const counts = [...this.#counts].map(([kind, number]) => `${kind} ${number}`);
    return counts.length === 0 ? 'nothing happened' : `${counts.join(', ')}; ${this.#bytes} bytes`;
  }
}
