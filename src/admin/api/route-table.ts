/** Every endpoint of the API. The one list that routing, document, tests and reference are made from. */
import type { ApiRoute } from './route.ts';
import { aclRoutes } from './routes/acl.ts';
import { banRoutes } from './routes/bans.ts';
import { bridgeRoutes } from './routes/bridges.ts';
import { cassandraRoutes } from './routes/cassandra.ts';
import { clientRoutes } from './routes/clients.ts';
import { clusterRoutes } from './routes/cluster.ts';
import { configurationRoutes } from './routes/configuration.ts';
import { documentRoutes } from './routes/document.ts';
import { drainRoutes } from './routes/drain.ts';
import { linkRoutes } from './routes/links.ts';
import { nodeRoutes } from './routes/node.ts';
import { publishRoutes } from './routes/publish.ts';
import { regionDrainRoutes } from './routes/region-drain.ts';
import { retainedRoutes } from './routes/retained.ts';
import { sessionRoutes } from './routes/sessions.ts';
import { subscriptionRoutes } from './routes/subscriptions.ts';
import { tokenRoutes } from './routes/tokens.ts';
import { traceRoutes } from './routes/trace.ts';

export const routeTable: readonly ApiRoute[] = [
  ...nodeRoutes,
  ...clusterRoutes,
  ...cassandraRoutes,
  ...linkRoutes,
  ...bridgeRoutes,
  ...drainRoutes,
  ...regionDrainRoutes,
  ...clientRoutes,
  ...sessionRoutes,
  ...subscriptionRoutes,
  ...retainedRoutes,
  ...publishRoutes,
  ...traceRoutes,
  ...banRoutes,
  ...aclRoutes,
  ...configurationRoutes,
  ...tokenRoutes,
  ...documentRoutes,
];

/** In front of every path of the table. */
export const BASE_PATH = '/api/v1';
