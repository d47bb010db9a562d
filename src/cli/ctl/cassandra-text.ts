/** The answer of /cassandra as lines for people. Pure. */
import { valueText } from './value-text.ts';

type Fields = Readonly<Record<string, unknown>>;

function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : {};
}

export function cassandraPairs(answer: unknown): [string, string][] {
  const top = fieldsOf(answer);
  const [round, retained] = [fieldsOf(top.round), fieldsOf(top.retained)];
  const text = (fields: Fields, name: string): string => valueText(name, fields[name]);
  const pairs: [string, string][] = [
    [
      'cassandra',
      `${text(top, 'state')}  ${text(top, 'localDatacenter')}, keyspace ${text(top, 'keyspace')}`,
    ],
  ];
  for (const reason of Array.isArray(top.reasons) ? top.reasons : []) {
    pairs.push(['', valueText('reason', reason)]);
  }
  if (top.warning) pairs.push(['  warning', text(top, 'warning')]);
  const lag = `the oldest for ${text(top, 'lagMs')} ms`;
  const waiting = text(top, 'waitingTopics');
  pairs.push(['  waiting', waiting === '0' ? 'nothing' : `${waiting} topics, ${lag}`]);
  pairs.push(['  last round', valueText('beganAtMs', top.lastRoundMs)]);
  const whose = top.isComparing === true ? 'this node' : 'another node';
  const percent = Math.floor(Number(round.progress ?? 0) * 100);
  const isOn = top.round !== null && top.round !== undefined;
  const filling = top.isFilling === true ? ', no listener is open before' : '';
  const now = isOn ? `: ${percent} % of the ring` : '';
  pairs.push(['  compared by', `${whose}${now}${filling}`]);
  const found = `${text(retained, 'takenOver')} taken over, ${text(retained, 'rewritten')} written again`;
  pairs.push(['  found', `${found}, ${text(retained, 'damaged')} damaged`]);
  return pairs;
}
