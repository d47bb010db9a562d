/**
 * How `sub` and `rr` print a message: the payload, `-v` the topic before it, or a format of `-F` with
 * the letters of mosquitto_sub. Compiled once; bytes of payloads are passed through unchanged.
 */
import { isUtf8 } from 'node:buffer';
import type { ReceivedMessage } from '../../client/message.ts';
import { UsageError } from '../command.ts';

export type MessagePrinter = (message: ReceivedMessage) => Buffer;

type Part = (message: ReceivedMessage, now: Date) => string | Buffer;

export const formatUsage = `Formats (-F):
  %t topic   %p payload   %q QoS   %r retain (0 or 1)   %l bytes of the payload
  %x payload in hex   %j all as JSON   %J the same with a JSON payload inside
  %U seconds since 1970   %I date and time   %C content type   %R response topic
  %D correlation data   %P user properties   %%  \\n  \\t  \\\\`;

const PARTS: Readonly<Record<string, Part>> = {
  t: ({ topic }) => topic,
  p: ({ payload }) => payload,
  q: ({ qos }) => String(qos),
  r: ({ retain }) => (retain ? '1' : '0'),
  l: ({ payload }) => String(payload.length),
  x: ({ payload }) => payload.toString('hex'),
  j: (message, now) => JSON.stringify(describe(message, now, false)),
  J: (message, now) => JSON.stringify(describe(message, now, true)),
  U: (_message, now) => (now.getTime() / 1000).toFixed(6),
  I: (_message, now) => now.toISOString(),
  C: ({ properties }) => properties.contentType ?? '',
  R: ({ properties }) => properties.responseTopic ?? '',
  D: ({ properties }) => properties.correlationData ?? '',
  P: ({ properties }) =>
    (properties.userProperties ?? []).map(([name, value]) => `${name}:${value}`).join(' '),
};

const ESCAPES: Readonly<Record<string, string>> = {
  n: '\n',
  t: '\t',
  r: '\r',
  e: '\x1b',
  '\\': '\\',
};

export function payloadPrinter(withTopic: boolean, newline: boolean): MessagePrinter {
  return compile([
    ...(withTopic ? [PARTS.t!, constant(' ')] : []),
    PARTS.p!,
    ...(newline ? [constant('\n')] : []),
  ]);
}

/** Throws UsageError for a letter that means nothing. */
export function formatPrinter(format: string, newline: boolean): MessagePrinter {
  const parts: Part[] = [];
  let text = '';
  for (let i = 0; i < format.length; i++) {
    const letter = format[i]!;
    const next = format[i + 1];
    if (letter === '\\') {
      const escaped = next === undefined ? undefined : ESCAPES[next];
      if (escaped === undefined) throw new UsageError(`-F: \\${next ?? ''} means nothing`);
      text += escaped;
      i++;
    } else if (letter === '%' && next === '%') {
      text += '%';
      i++;
    } else if (letter === '%') {
      const part = next !== undefined && Object.hasOwn(PARTS, next) ? PARTS[next] : undefined;
      if (part === undefined) throw new UsageError(`-F: %${next ?? ''} means nothing`);
      if (text !== '') parts.push(constant(text));
      text = '';
      parts.push(part);
      i++;
    } else {
      text += letter;
    }
  }
  if (newline) text += '\n';
  if (text !== '') parts.push(constant(text));
  return compile(parts);
}

function constant(text: string): Part {
  return () => text;
}

function compile(parts: readonly Part[]): MessagePrinter {
  return (message) => {
    const now = new Date();
    return Buffer.concat(
      parts.map((part) => {
        const piece = part(message, now);
        return typeof piece === 'string' ? Buffer.from(piece) : piece;
      }),
    );
  };
}

/** The names mosquitto_sub gives the fields; bytes that are no text are said in hex. */
function describe(message: ReceivedMessage, now: Date, isJson: boolean): object {
  const { topic, payload, qos, retain } = message;
  return {
    tst: now.toISOString(),
    topic,
    qos,
    retain: retain ? 1 : 0,
    payloadlen: payload.length,
    ...(hasProperties(message) ? { properties: describeProperties(message) } : {}),
    ...describePayload(payload, isJson),
  };
}

function describePayload(payload: Buffer, isJson: boolean): object {
  if (!isUtf8(payload)) return { payload_hex: payload.toString('hex') };
  const text = payload.toString('utf8');
  if (!isJson) return { payload: text };
  try {
    return { payload: JSON.parse(text) as unknown };
  } catch {
    return { payload: text };
  }
}

function hasProperties({ properties, subscriptionIds }: ReceivedMessage): boolean {
  return subscriptionIds.length > 0 || Object.keys(properties).length > 0;
}

function describeProperties({ properties, subscriptionIds }: ReceivedMessage): object {
  const { correlationData, userProperties } = properties;
  const text: Record<string, unknown> = {};
  if (properties.payloadFormatIndicator !== undefined) {
    text['payload-format-indicator'] = properties.payloadFormatIndicator;
  }
  if (properties.messageExpiryS !== undefined) {
    text['message-expiry-interval'] = properties.messageExpiryS;
  }
  if (properties.contentType !== undefined) text['content-type'] = properties.contentType;
  if (properties.responseTopic !== undefined) text['response-topic'] = properties.responseTopic;
  if (correlationData !== undefined) {
    if (isUtf8(correlationData)) text['correlation-data'] = correlationData.toString('utf8');
    else text['correlation-data-hex'] = correlationData.toString('hex');
  }
  // Pairs, as names may repeat and may be anything.
  if (userProperties !== undefined) text['user-properties'] = userProperties;
  if (subscriptionIds.length > 0) text['subscription-identifier'] = subscriptionIds;
  return text;
}
