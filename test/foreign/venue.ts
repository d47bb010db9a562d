/**
 * Where foreign clients meet our broker: one with a TCP, TLS, WebSocket and WSS listener from a YAML
 * file, a data folder and a certificate made for this run. Used by the tests in this folder.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Broker } from '../e2e/broker.ts';

export type Transport = 'mqtt' | 'mqtts' | 'ws' | 'wss';

export interface Venue {
  readonly broker: Broker;
  readonly folder: string;
  /** PEM file of the certificate, which is its own authority. */
  readonly caFile: string;
  readonly ca: Buffer;
  readonly port: (transport: Transport) => number;
  readonly url: (transport: Transport) => string;
  readonly close: () => Promise<void>;
}

export async function openVenue(): Promise<Venue> {
  const folder = mkdtempSync(join(tmpdir(), 'causeway-foreign-'));
  const caFile = join(folder, 'server.pem');
  const keyFile = join(folder, 'server.key');
  const subject = [
    '-subj',
    '/CN=localhost',
    '-addext',
    'subjectAltName=IP:127.0.0.1,DNS:localhost',
  ];
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  const files = ['-keyout', keyFile, '-out', caFile];
  execFileSync('openssl', ['req', '-x509', ...key, ...files, '-days', '2', ...subject], {
    stdio: 'ignore',
  });
  const config = join(folder, 'causeway.yaml');
  const lines = [
    'listeners:',
    '  - mqtt://127.0.0.1:0',
    '  - url: mqtts://127.0.0.1:0',
    '  - ws://127.0.0.1:0/mqtt',
    '  - url: wss://127.0.0.1:0/mqtt',
    'tls:',
    '  certFile: server.pem',
    '  keyFile: server.key',
    'data: data',
    'sysIntervalS: 0',
  ];
  writeFileSync(config, `${lines.join('\n')}\n`);
  const broker = await Broker.start({ config, data: join(folder, 'data') });
  const port = (transport: Transport): number => broker.port(transport);
  return {
    broker,
    folder,
    caFile,
    ca: readFileSync(caFile),
    port,
    url: (transport) => {
      const path = transport.startsWith('ws') ? '/mqtt' : '';
      return `${transport}://127.0.0.1:${port(transport)}${path}`;
    },
    close: async () => {
      await broker.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
