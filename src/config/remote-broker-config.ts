/** Another broker as links and bridges speak to it. Types only. */
export interface RemoteTlsConfig {
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  readonly serverName?: string | undefined;
  readonly alpnProtocol?: string | undefined;
}
