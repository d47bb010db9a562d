/**
 * `--property NAME=VALUE` and `--user-property NAME=VALUE`: MQTT 5 properties by the names mosquitto's
 * commands use. Each name belongs to CONNECT or to PUBLISH, so the packet need not be said.
 */
import type { MessageProperties } from '../../client/message.ts';
import type { ConnectProperties } from '../../client/options.ts';
import { UsageError } from '../command.ts';
import type { Flags } from './flags.ts';

type Packet = 'connect' | 'publish';
type Kind = 'text' | 'bytes' | 'number' | 'boolean';

interface Known {
  readonly packet: Packet;
  readonly name: keyof ConnectProperties | keyof MessageProperties;
  readonly kind: Kind;
  readonly max?: number;
}

const U16 = 65_535;
const U32 = 4_294_967_295;

const KNOWN: ReadonlyMap<string, Known> = new Map<string, Known>([
  ['session-expiry-interval', number('connect', 'sessionExpiryIntervalS', U32)],
  ['receive-maximum', number('connect', 'receiveMaximum', U16)],
  ['maximum-packet-size', number('connect', 'maximumPacketSize', U32)],
  ['topic-alias-maximum', number('connect', 'topicAliasMaximum', U16)],
  ['request-response-information', flag('requestResponseInformation')],
  ['request-problem-information', flag('requestProblemInformation')],
  ['payload-format-indicator', number('publish', 'payloadFormatIndicator', 1)],
  ['message-expiry-interval', number('publish', 'messageExpiryS', U32)],
  ['content-type', { packet: 'publish', name: 'contentType', kind: 'text' }],
  ['response-topic', { packet: 'publish', name: 'responseTopic', kind: 'text' }],
  ['correlation-data', { packet: 'publish', name: 'correlationData', kind: 'bytes' }],
]);

export const propertyNames: readonly string[] = [...KNOWN.keys()];

function number(packet: Packet, name: Known['name'], max: number): Known {
  return { packet, name, kind: 'number', max };
}

function flag(name: Known['name']): Known {
  return { packet: 'connect', name, kind: 'boolean' };
}

export function connectProperties(flags: Flags): ConnectProperties {
  return readProperties(flags, 'connect') as ConnectProperties;
}

export function messageProperties(flags: Flags): MessageProperties {
  const properties = readProperties(flags, 'publish') as MessageProperties;
  const pairs = userProperties(flags);
  return pairs.length === 0 ? properties : { ...properties, userProperties: pairs };
}

export function userProperties(flags: Flags): [name: string, value: string][] {
  return flags.all('user-property').map((text) => split('user-property', text));
}

/** Refuses properties that a command has no packet for. */
export function refuseProperties(flags: Flags, packet: Packet, command: string): void {
  for (const text of flags.all('property')) {
    const [name] = split('property', text);
    if (KNOWN.get(name)?.packet === packet) {
      throw new UsageError(`${command} sends no packet with the property ${name}`);
    }
  }
}

function readProperties(flags: Flags, packet: Packet): Record<string, unknown> {
  const properties: Record<string, unknown> = {};
  for (const text of flags.all('property')) {
    const [name, value] = split('property', text);
    const known = KNOWN.get(name);
    if (known === undefined) {
      throw new UsageError(`unknown property ${name}; there are ${propertyNames.join(', ')}`);
    }
    if (known.packet === packet) properties[known.name] = readValue(name, value, known);
  }
  return properties;
}

function readValue(name: string, value: string, known: Known): unknown {
  switch (known.kind) {
    case 'text':
      return value;
    case 'bytes':
      return Buffer.from(value);
    case 'boolean':
      if (value === '0' || value === '1') return value === '1';
      throw new UsageError(`the property ${name} is 0 or 1`);
    case 'number': {
      const max = known.max ?? U32;
      if (/^\d+$/.test(value) && Number(value) <= max) return Number(value);
      throw new UsageError(`the property ${name} is a number up to ${max}`);
    }
  }
}

function split(flagName: string, text: string): [name: string, value: string] {
  const equals = text.indexOf('=');
  if (equals < 1) throw new UsageError(`--${flagName} must be NAME=VALUE`);
  return [text.slice(0, equals), text.slice(equals + 1)];
}
