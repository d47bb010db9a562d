/**
 * The schemas that several endpoints answer with: the `components` of the document. Field by field as
 * the ports of the core have them.
 */
import { banKinds, banOrigins } from '../ports.ts';
import { roles } from '../role.ts';
import {
  boolean,
  integer,
  type JsonSchema,
  list,
  nullable,
  number,
  object,
  oneOf,
  orNull,
  string,
} from '../schema.ts';

const clientId = string('Client identifier.');
const identity = nullable(string('The user that was proven; null: anonymous.'));
const tenant = string("Whose quotas it shares; '': nobody's.");
const expiresAtMs = integer('Wall-clock ms; 0: never.');
const qos = oneOf('Quality of service.', [0, 1, 2]);

const summary = {
  clientId,
  protocolVersion: oneOf('3: MQTT 3.1, 4: 3.1.1, 5: 5.0.', [3, 4, 5]),
  listener: string('Name of the listener it came over.'),
  remoteAddress: string("'' for Unix sockets."),
  remotePort: integer('0 for Unix sockets.'),
  identity,
  tenant,
};

const subscription = {
  filter: string('As subscribed, `$share/…` included.'),
  qos,
  noLocal: boolean("The client's own messages are left out."),
  retainAsPublished: boolean('The RETAIN flag is passed on.'),
  retainHandling: oneOf(
    '0: retained messages at each SUBSCRIBE, 1: at a new one, 2: never.',
    [0, 1, 2],
  ),
  subscriptionId: integer('0: none.'),
};

const retained = {
  topic: string('Topic name.'),
  qos,
  bytes: integer('Of topic, payload and properties.'),
  publisherId: nullable(string('Client identifier of who published it; null: not known.')),
  publisherUser: nullable(string('User of who published it; null: none, or not known.')),
  expiresAtMs,
};

const token = {
  name: string('Name of the token.'),
  role: oneOf('What it may do; each role may all that the ones before it may.', roles),
  createdAt: nullable(string('ISO 8601; null: with the process.')),
  expiresAt: nullable(string('ISO 8601; null: never.')),
  origin: oneOf('`environment`: CAUSEWAY_ADMIN_TOKEN.', ['file', 'environment']),
};

const traced = (
  event: string,
  description: string,
  properties: Readonly<Record<string, JsonSchema>> = {},
): JsonSchema =>
  object(description, {
    atMs: integer('Wall-clock ms.'),
    event: { type: 'string', const: event },
    ...properties,
  });

const topic = string('Topic name.');
const bytes = integer('Payload bytes; payloads themselves are never shown.');

export const shapes: Readonly<Record<string, JsonSchema>> = {
  Problem: object(
    'Why a request failed (RFC 9457).',
    {
      type: { type: 'string', const: 'about:blank' },
      title: string('What the status is called.'),
      status: integer('HTTP status.'),
      detail: string('One sentence for people.'),
      errors: list(
        'What is wrong with which field, file or option.',
        object('One fault.', {
          field: string("Name of it; '' for the whole."),
          message: string('What is wrong.'),
        }),
      ),
    },
    ['errors'],
  ),
  Certificate: object('What a client certificate says.', {
    subjectCommonName: string('CN of the subject.'),
    subjectAltNames: list('With their kinds: `DNS:a.example`.', string('One name.')),
    organization: string('O of the subject.'),
    organizationalUnit: string('OU of the subject.'),
    issuerCommonName: string('CN of the issuer.'),
    serialNumber: string('Hexadecimal.'),
    fingerprint256: string('SHA-256 of the certificate.'),
    validToMs: integer('Wall-clock ms.'),
  }),
  Client: object('A connection of a client.', {
    ...summary,
    connectedAtMs: integer('Wall-clock ms.'),
    keepAliveS: number('Seconds; 0: none.'),
    certificate: orNull({ $ref: '#/components/schemas/Certificate' }),
    outboxBytes: integer('Accepted for the client and not taken by its socket.'),
  }),
  Session: object('A session, connected or not.', {
    clientId,
    identity,
    tenant,
    connected: boolean('A client holds it now.'),
    durable: boolean('Outlives its connection.'),
    expiryIntervalS: integer('How long; 4294967295: for ever.'),
    disconnectedAtMs: integer('Wall-clock ms; 0: connected.'),
    subscriptions: integer('How many.'),
    queuedMessages: integer('Waiting or in flight.'),
    queuedBytes: integer('Of those.'),
    inflightMessages: integer('Sent and not acknowledged.'),
    will: orNull(
      object('The will of its connection.', {
        topic,
        delayS: integer('Seconds after the end of the connection.'),
      }),
    ),
  }),
  Subscription: object('One subscription of a session.', subscription),
  SubscriptionOfClient: object('One subscription and whose it is.', { clientId, ...subscription }),
  QueuedMessage: object('One message of a queue, without payload.', {
    seq: integer('Position in the queue.'),
    topic,
    qos: oneOf('Of the delivery.', [1, 2]),
    retain: boolean('The RETAIN flag it is sent with.'),
    bytes: integer('Of topic, payload and properties.'),
    sent: boolean('Sent and not acknowledged.'),
    expiresAtMs,
  }),
  Route: object('Who receives by one filter; a filter with many may go on on the next page.', {
    filter: string('As subscribed, `$share/…` included: one of its members gets each message.'),
    subscribers: list('Sessions.', object('One of them.', { clientId, qos })),
  }),
  RetainedMessage: object('A retained message without its payload.', retained),
  RetainedPayload: object('A retained message.', {
    ...retained,
    payload: string('As `encoding` says.'),
    encoding: oneOf('`utf8` when the payload is text.', ['utf8', 'base64']),
    payloadBytes: integer('Of the whole payload.'),
    truncated: boolean('Only the beginning of the payload is shown.'),
  }),
  Ban: object(
    'Who is kept out.',
    {
      id: string('For lifting it.'),
      kind: oneOf('What `value` is.', banKinds),
      value: string('Client identifier, user, address or network, certificate fingerprint.'),
      user: nullable(
        string('Only together with this user (null: with none); absent: whoever it is.'),
      ),
      origin: oneOf('An operator, or what the broker noticed by itself.', banOrigins),
      reason: string('For people.'),
      by: string("Name of the token; '' when the broker did it."),
      createdAtMs: integer('Wall-clock ms.'),
      expiresAtMs,
      hits: integer('Refusals since the start.'),
    },
    ['user'],
  ),
  Limit: object('A limit of the node and its current use.', {
    kind: { type: 'string', const: 'limit' },
    name: string('As in the configuration, below `limits`.'),
    unit: string('What is counted.'),
    used: nullable(integer('Of it; null: not one number for the whole node.')),
    max: integer('In force.'),
    told: string('What a client is told when it meets it.'),
    help: string('What it bounds.'),
  }),
  Quota: object('A quota and its use by one of those it is counted for.', {
    kind: { type: 'string', const: 'quota' },
    name: string('As in the configuration.'),
    of: string('What is counted.'),
    per: oneOf('For whom.', ['client', 'user', 'tenant', 'listener', 'node']),
    subject: string("Whose use it is; '' for the node."),
    used: number('Of it; of a rate: in the current second.'),
    max: number('In force.'),
    action: string('What happens at the limit.'),
    reached: integer('How often it was met since the start.'),
  }),
  Token: object('A token of the API, without the token.', token),
  NewToken: object('A token that was just made.', {
    ...token,
    token: string('Shown this once; only its hash is kept.'),
  }),
  AuditEntry: object('One call that changed something, or was refused to.', {
    atMs: integer('Wall-clock ms.'),
    name: string('Name of the token.'),
    role: oneOf('Of the token.', roles),
    address: string('Where the call came from.'),
    method: string('HTTP method.'),
    path: string('Path of the endpoint.'),
    target: string('What it was about, perhaps shortened.'),
    status: integer('HTTP status of the answer.'),
  }),
  TraceLine: {
    description: 'One line of a trace.',
    oneOf: [
      traced('started', 'From here on everything is seen.', {
        clientId: nullable(clientId),
        filter: nullable(string('Topic filter.')),
        durationS: integer('The trace ends by itself after this.'),
      }),
      traced('connect', 'A CONNECT was accepted.', summary),
      traced('refused', 'A CONNECT was refused.', { ...summary, reason: string('Why.') }),
      traced('disconnect', 'A connection ended.', { ...summary, reason: string('Why.') }),
      traced('subscribe', 'A SUBSCRIBE was answered.', {
        clientId,
        filter: subscription.filter,
        qos: integer('Asked for.'),
        reasonCode: integer('Of the SUBACK.'),
      }),
      traced('unsubscribe', 'A subscription ended.', { clientId, filter: subscription.filter }),
      traced('publish', 'A message was accepted from a client.', {
        clientId,
        topic,
        qos,
        retain: boolean('The RETAIN flag.'),
        bytes,
      }),
      traced('deliver', 'A message was sent to a client.', { clientId, topic, qos, bytes }),
      traced('drop', 'A message did not reach a receiver.', {
        clientId,
        topic,
        reason: string('Why.'),
      }),
      traced('missed', 'Events that did not fit: more happened than a trace takes.', {
        count: integer('How many.'),
      }),
      traced('heartbeat', 'Nothing else happened for a while.'),
      traced('ended', 'The last line.', {
        reason: oneOf('Why.', ['duration', 'token_revoked', 'shutting_down']),
      }),
    ],
  },
};
