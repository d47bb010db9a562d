/**
 * The Cassandra that tests share, behind a proxy of one test's own: for that test it can stand still, be gone
 * and come back, and for nobody else. What a server of one's own costs is 10 s of CPU for each start.
 */
import type { Test } from 'tap';
import { CQL_PORT } from '../../scripts/cassandra-node.ts';
import { type SharedCassandra, sharedCassandra } from './cassandra-server.ts';
import { TcpProxy } from './tcp-proxy.ts';

export class CassandraDoor {
  /** Through the proxy. */
  readonly server: SharedCassandra;
  readonly #proxy: TcpProxy;

  private constructor(server: SharedCassandra, proxy: TcpProxy) {
    this.server = server;
    this.#proxy = proxy;
  }

  static async open(t: Test): Promise<CassandraDoor> {
    const shared = await sharedCassandra(t);
    const [host = '', port = CQL_PORT] = shared.contactPoints[0]?.split(':') ?? [];
    const proxy = await TcpProxy.start(Number(port), host);
    t.teardown(() => proxy.close());
    return new CassandraDoor({ ...shared, contactPoints: [`127.0.0.1:${proxy.port}`] }, proxy);
  }

  /** Connections are kept, and nothing comes through them. */
  stand(): void {
    this.#proxy.pause();
  }

  goOn(): void {
    this.#proxy.resume();
  }

  /** Connections are reset, and there are no new ones. */
  die(): void {
    this.#proxy.refuse(true);
    this.#proxy.cut();
  }

  comeBack(): void {
    this.#proxy.refuse(false);
  }
}
