/** Actions of `ctl` about clients, sessions and their subscriptions. Collected by `actions.ts`. */
import type { Action, Column } from './action.ts';
import { pathPart } from './api-client.ts';
import { safeText } from './terminal-text.ts';

const clientColumns: readonly Column[] = [
  { field: 'clientId', title: 'CLIENT ID' },
  { field: 'identity', title: 'USER' },
  { field: 'tenant', title: 'TENANT' },
  { field: 'remoteAddress', title: 'ADDRESS' },
  { field: 'listener', title: 'LISTENER' },
  { field: 'protocolVersion', title: 'MQTT', isNumber: true },
  { field: 'connectedAtMs', title: 'CONNECTED' },
];

const sessionColumns: readonly Column[] = [
  { field: 'clientId', title: 'CLIENT ID' },
  { field: 'identity', title: 'USER' },
  { field: 'connected', title: 'CONNECTED' },
  { field: 'durable', title: 'DURABLE' },
  { field: 'subscriptions', title: 'SUBS', isNumber: true },
  { field: 'queuedMessages', title: 'QUEUED', isNumber: true },
  { field: 'queuedBytes', title: 'BYTES', isNumber: true },
  { field: 'inflightMessages', title: 'INFLIGHT', isNumber: true },
  { field: 'disconnectedAtMs', title: 'SINCE' },
];

const subscriptionColumns: readonly Column[] = [
  { field: 'filter', title: 'FILTER' },
  { field: 'qos', title: 'QOS', isNumber: true },
  { field: 'noLocal', title: 'NO LOCAL' },
  { field: 'retainAsPublished', title: 'AS PUBLISHED' },
  { field: 'retainHandling', title: 'RETAIN', isNumber: true },
  { field: 'subscriptionId', title: 'ID', isNumber: true },
];

const ownedColumns: readonly Column[] = [
  { field: 'clientId', title: 'CLIENT ID' },
  ...subscriptionColumns,
];

const queueColumns: readonly Column[] = [
  { field: 'seq', title: 'SEQ', isNumber: true },
  { field: 'topic', title: 'TOPIC' },
  { field: 'qos', title: 'QOS', isNumber: true },
  { field: 'retain', title: 'RETAIN' },
  { field: 'bytes', title: 'BYTES', isNumber: true },
  { field: 'sent', title: 'SENT' },
  { field: 'expiresAtMs', title: 'EXPIRES' },
];

const text = { type: 'string' } as const;
const whoFlags = { 'client-id': text, user: text, tenant: text };

export const clientActions: readonly Action[] = [
  {
    resource: 'clients',
    verb: 'list',
    args: [],
    flags: { ...whoFlags, listener: text, address: text },
    columns: clientColumns,
    summary: 'connected clients; --client-id, --user, --tenant, --listener, --address GLOB',
    run: (call) =>
      call.list(
        '/clients',
        {
          clientId: call.flag('client-id'),
          user: call.flag('user'),
          tenant: call.flag('tenant'),
          listener: call.flag('listener'),
          address: call.flag('address'),
        },
        clientColumns,
      ),
  },
  {
    resource: 'clients',
    verb: 'show',
    args: ['CLIENT_ID'],
    flags: {},
    summary: 'one connected client',
    run: async (call) => call.show(await call.api.get(`/clients/${pathPart(call.arg(0))}`)),
  },
  {
    resource: 'clients',
    verb: 'disconnect',
    args: ['CLIENT_ID'],
    flags: {},
    summary: 'end the connection; a durable session stays',
    run: async (call) => {
      const answer = await call.api.send('DELETE', `/clients/${pathPart(call.arg(0))}`);
      call.done(`disconnected ${safeText(call.arg(0))}`, answer);
    },
  },
  {
    resource: 'sessions',
    verb: 'list',
    args: [],
    flags: { ...whoFlags, connected: text },
    columns: sessionColumns,
    summary: 'sessions; --client-id, --user, --tenant GLOB, --connected true|false',
    run: (call) =>
      call.list(
        '/sessions',
        {
          clientId: call.flag('client-id'),
          user: call.flag('user'),
          tenant: call.flag('tenant'),
          connected: call.flag('connected'),
        },
        sessionColumns,
      ),
  },
  {
    resource: 'sessions',
    verb: 'show',
    args: ['CLIENT_ID'],
    flags: {},
    summary: 'one session',
    run: async (call) => call.show(await call.api.get(`/sessions/${pathPart(call.arg(0))}`)),
  },
  {
    resource: 'sessions',
    verb: 'queue',
    args: ['CLIENT_ID'],
    flags: {},
    summary: 'messages that wait for the session, without payloads',
    columns: queueColumns,
    run: (call) => call.list(`/sessions/${pathPart(call.arg(0))}/queue`, {}, queueColumns),
  },
  {
    resource: 'sessions',
    verb: 'subscriptions',
    args: ['CLIENT_ID'],
    flags: {},
    summary: 'what the session is subscribed to',
    columns: subscriptionColumns,
    run: (call) =>
      call.list(`/sessions/${pathPart(call.arg(0))}/subscriptions`, {}, subscriptionColumns),
  },
  {
    resource: 'sessions',
    verb: 'unsubscribe',
    args: ['CLIENT_ID', 'FILTER'],
    flags: {},
    summary: 'end one subscription of the session',
    run: async (call) => {
      const path = `/sessions/${pathPart(call.arg(0))}/subscriptions`;
      const answer = await call.api.send('DELETE', path, { filter: call.arg(1) });
      call.done(`${safeText(call.arg(0))} is unsubscribed from ${safeText(call.arg(1))}`, answer);
    },
  },
  {
    resource: 'sessions',
    verb: 'delete',
    args: ['CLIENT_ID'],
    flags: {},
    summary: 'end the session, its connection and its queue',
    run: async (call) => {
      const answer = await call.api.send('DELETE', `/sessions/${pathPart(call.arg(0))}`);
      call.done(`deleted the session of ${safeText(call.arg(0))}`, answer);
    },
  },
  {
    resource: 'subscriptions',
    verb: 'list',
    args: [],
    flags: { filter: text, 'client-id': text, matches: text },
    summary: 'subscriptions of all sessions; --filter, --client-id GLOB, --matches TOPIC',
    columns: ownedColumns,
    run: (call) =>
      call.list(
        '/subscriptions',
        {
          filter: call.flag('filter'),
          clientId: call.flag('client-id'),
          matches: call.flag('matches'),
        },
        ownedColumns,
      ),
  },
];
