/**
 * The CONNECT of our client, from its options. Called by `client.ts` for every connection.
 */
import { Buffer } from 'node:buffer';
import type { ConnectPacket, WillPacket } from '../wire/connect.ts';
import { RECEIVE_MAXIMUM_DEFAULT, SESSION_EXPIRY_NEVER } from '../wire/connect.ts';
import { bodyStart } from '../wire/framing.ts';
import { encodeProperties, NO_USER_PROPERTIES, WILL_PROPERTIES } from '../wire/properties.ts';
import { Reader } from '../wire/reader.ts';
import { Writer } from '../wire/writer.ts';
import { ClientError } from './client-error.ts';
import type { Endpoint } from './endpoint.ts';
import { checkField, checkMessage, checkUserProperties } from './message.ts';
import type { ClientOptions, Will } from './options.ts';
import { clientDefaults } from './options.ts';

/** Throws ClientError `invalid_argument` for what CONNECT cannot carry. */
export function connectPacket(
  options: ClientOptions,
  endpoint: Endpoint,
  clientId: string,
  cleanStart: boolean,
): ConnectPacket {
  const { properties = {} } = options;
  const version = options.version ?? clientDefaults.version;
  const username = options.username ?? endpoint.username;
  const secret = options.password ?? endpoint.password;
  const password = secret === null ? null : Buffer.from(secret as string);
  const keepAliveS = options.keepAliveS ?? clientDefaults.keepAliveS;
  checkField('client identifier', clientId);
  checkField('user name', username ?? undefined);
  checkField('password', password ?? undefined);
  checkField('authentication method', properties.authenticationMethod);
  checkUserProperties(properties.userProperties);
  checkNumber('keep alive', keepAliveS, 0, 65_535);
  checkNumber('session expiry', properties.sessionExpiryIntervalS ?? 0, 0, SESSION_EXPIRY_NEVER);
  checkNumber('receive maximum', properties.receiveMaximum ?? 1, 1, RECEIVE_MAXIMUM_DEFAULT);
  checkNumber('topic alias maximum', properties.topicAliasMaximum ?? 0, 0, 65_535);
  checkNumber('maximum packet size', properties.maximumPacketSize ?? 1, 1, 0xffff_ffff);
  if (version !== 5 && password !== null && username === null) {
    throw new ClientError('invalid_argument', 'MQTT 3.1.1 has no password without a user name');
  }
  return {
    protocolVersion: version,
    cleanStart,
    keepAliveS,
    clientId,
    username,
    password,
    will: options.will === undefined ? null : willPacket(options.will),
    sessionExpiryIntervalS: properties.sessionExpiryIntervalS ?? 0,
    receiveMaximum: properties.receiveMaximum ?? clientDefaults.receiveMaximum,
    maximumPacketSize: properties.maximumPacketSize ?? 0,
    topicAliasMaximum: properties.topicAliasMaximum ?? clientDefaults.topicAliasMaximum,
    requestResponseInformation: properties.requestResponseInformation ?? false,
    requestProblemInformation: properties.requestProblemInformation ?? true,
    userProperties: properties.userProperties ?? NO_USER_PROPERTIES,
    authenticationMethod: properties.authenticationMethod ?? null,
    authenticationData: null,
  };
}

function willPacket(will: Will): WillPacket {
  const { topic, payload, qos = 0, retain = false, delayIntervalS = 0, properties = {} } = will;
  checkMessage({ topic, payload, qos, retain, properties });
  checkField('will payload', payload);
  checkNumber('will delay', delayIntervalS, 0, 0xffff_ffff);
  return {
    topic,
    payload,
    qos,
    retain,
    delayIntervalS,
    messageExpiryS: properties.messageExpiryS ?? -1,
    properties: willProperties(properties),
  };
}

/** The will's properties as bytes without their length, as CONNECT takes them. */
function willProperties(properties: Will['properties']): Buffer {
  const writer = new Writer();
  encodeProperties(writer, WILL_PROPERTIES, { ...properties, messageExpiryS: undefined });
  const packet = writer.finish(0);
  const block = new Reader(packet, bodyStart(packet, 0), packet.length);
  block.varint();
  return packet.subarray(block.pos);
}

function checkNumber(what: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw new ClientError('invalid_argument', `${what} must be a number from ${min} to ${max}`);
}
