/**
 * One listener of mosquitto as ours: addresses, TLS, WebSocket, bounds, and by what its clients prove
 * who they are. Gives null when a part that keeps others out could not be carried: then the listener is
 * left out, for an open door is worse than none. Called by `convert.ts`.
 */
import { X509Certificate } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { join, resolve } from 'node:path';
import type { Tree } from '../../config/layer.ts';
import type { Machine } from '../machine.ts';
import { isTrue, type MosquittoListener, type Settings } from './mosquitto-config.ts';
import type { Notes } from './note.ts';

export interface ConvertedListener {
  /** One per address. */
  readonly urls: readonly string[];
  /** The listener's section but its URL and authentication. */
  readonly section: Tree;
  readonly isLoopback: boolean;
  /** What proves a client: in the order asked. Empty: nobody is asked. */
  readonly chain: readonly string[];
  /** Clients without credentials are let in. */
  readonly anonymous: boolean;
}

/** Facts of the whole configuration that a listener depends on. */
export interface ListenerContext {
  readonly folder: string;
  readonly machine: Machine;
  readonly notes: Notes;
  readonly hasPlugin: boolean;
  /** Files to write beside the configuration: name and content. */
  readonly made: Map<string, string>;
}

const certificateOptions = ['certfile', 'keyfile'] as const;

export function convertListener(
  listener: MosquittoListener,
  security: Settings,
  context: ListenerContext,
): ConvertedListener | null {
  return new ListenerConverter(listener, security, context).convert();
}

class ListenerConverter {
  readonly #listener: MosquittoListener;
  readonly #options: Settings;
  readonly #security: Settings;
  readonly #context: ListenerContext;
  readonly #notes: Notes;
  #isClosed = false;

  constructor(listener: MosquittoListener, security: Settings, context: ListenerContext) {
    this.#listener = listener;
    this.#options = listener.options;
    this.#security = security;
    this.#context = context;
    this.#notes = context.notes;
  }

  convert(): ConvertedListener | null {
    const isTls = this.#has('certfile') || this.#has('keyfile') || this.#has('psk_hint');
    const section: Tree = {};
    const tls = isTls ? this.#tls() : null;
    if (tls !== null) section.tls = tls;
    this.#limits(section);
    this.#webSocket(section);
    this.#others();
    const urls = this.#urls(isTls);
    const { chain, anonymous } = this.#authentication(isTls);
    if (this.#isClosed) return null;
    const isLoopback = urls.every((url) => /^unix:|\/\/(127\.|\[::1\]|localhost[:/])/.test(url));
    return { urls, section, isLoopback, chain, anonymous };
  }

  #has(name: string): boolean {
    return this.#options.get(name) !== null;
  }

  #isOn(name: string): boolean {
    const directive = this.#options.get(name);
    return directive !== null && isTrue(directive.value);
  }

  /** A part is missing without which more would be let in. */
  #close(name: string, why: string): void {
    const where = this.#options.get(name)?.where ?? this.#listener.where;
    this.#notes.closed(where, `${name}: ${why}; the listener is left out`);
    this.#isClosed = true;
  }

  #file(name: string): string | null {
    const value = this.#options.get(name)?.value;
    return value === undefined ? null : resolve(this.#context.folder, value);
  }

  #urls(isTls: boolean): string[] {
    const { port, bind } = this.#listener;
    if (port === 0) return [`unix:${resolve(this.#context.folder, bind ?? '')}`];
    const isWeb = this.#options.get('protocol')?.value === 'websockets';
    const scheme = isWeb ? (isTls ? 'wss' : 'ws') : isTls ? 'mqtts' : 'mqtt';
    return this.#hosts(bind).map((host) => {
      const shown = isIPv6(host) ? `[${host}]` : host;
      return `${scheme}://${shown}:${port}${isWeb ? '/mqtt' : ''}`;
    });
  }

  #hosts(bind: string | null): string[] {
    const { machine } = this.#context;
    const domain = this.#options.get('socket_domain')?.value;
    const device = this.#options.get('bind_interface')?.value;
    if (device !== undefined) {
      const address = machine.addressOf(device);
      if (address === null) {
        this.#close(
          'bind_interface',
          'this machine has no such interface, so no address to bind to',
        );
        return [];
      }
      this.#notes.differs(
        this.#options.get('bind_interface')!.where,
        `bind_interface: bound to ${address}, which the interface has now`,
      );
      return [address];
    }
    const both = (four: string, six: string): string[] => {
      if (domain === 'ipv4') return [four];
      if (domain === 'ipv6') return [six];
      return machine.hasIpv6 ? [four, six] : [four];
    };
    if (bind === 'localhost') return both('127.0.0.1', '::1');
    if (bind !== null) return [bind];
    // `[::]` takes both where there is IPv6.
    if (domain === 'ipv4' || (domain === undefined && !machine.hasIpv6)) return ['0.0.0.0'];
    return ['::'];
  }

  #tls(): Tree | null {
    const tls: Tree = {};
    for (const name of ['tls_engine', 'tls_keyform'] as const) {
      if (this.#has(name) && this.#options.get(name)!.value !== 'pem') {
        this.#close(name, 'a key inside an engine cannot be used; keep it in a PEM file');
      }
    }
    if (this.#has('psk_hint')) {
      tls.psk = true;
      this.#notes.differs(this.#options.get('psk_hint')!.where, 'psk_hint: no hint is sent');
    } else {
      for (const name of certificateOptions) {
        if (!this.#has(name)) this.#close(name, 'certfile and keyfile go together');
      }
    }
    const [certFile, keyFile] = [this.#file('certfile'), this.#file('keyfile')];
    if (certFile !== null) tls.certFile = certFile;
    if (keyFile !== null) tls.keyFile = keyFile;
    this.#clientCertificates(tls, certFile);
    const version = this.#options.get('tls_version');
    if (version?.value === 'tlsv1.3') tls.minVersion = 'TLSv1.3';
    else if (version !== null && version.value !== 'tlsv1.2') {
      this.#notes.lost(version.where, 'tls_version: TLS 1.2 is the oldest version there is here');
    }
    const suites = this.#options.get('ciphers_tls1.3')?.value;
    const ciphers = this.#options.get('ciphers')?.value;
    // One list here: without one of the halves its default has to be named.
    if (suites !== undefined) tls.ciphers = `${suites}:${ciphers ?? 'DEFAULT'}`;
    else if (ciphers !== undefined) tls.ciphers = ciphers;
    return tls;
  }

  #clientCertificates(tls: Tree, certFile: string | null): void {
    const isAsked =
      this.#isOn('require_certificate') ||
      (!this.#has('psk_hint') &&
        (this.#isOn('use_identity_as_username') || this.#isOn('use_subject_as_username')));
    const cafile = this.#file('cafile');
    if (cafile !== null && certFile !== null) this.#checkChain(certFile, cafile);
    if (!isAsked) {
      for (const name of ['crlfile', 'disable_client_cert_date_checks'] as const) {
        const directive = this.#options.get(name);
        if (directive !== null) {
          this.#notes.differs(directive.where, `${name}: no effect, clients show no certificate`);
        }
      }
      return;
    }
    // Without require_certificate mosquitto asks for none and then refuses everybody.
    tls.clientCertificate = 'required';
    if (cafile !== null) tls.caFile = cafile;
    else if (this.#has('capath')) tls.caFile = this.#authorities();
    else this.#close('require_certificate', 'there is no cafile that could tell whom to trust');
    const crl = this.#file('crlfile');
    if (crl !== null) tls.crlFile = crl;
    if (this.#isOn('disable_client_cert_date_checks')) {
      this.#notes.lost(
        this.#options.get('disable_client_cert_date_checks')!.where,
        'disable_client_cert_date_checks: certificates that ran out are refused; issue new ones',
      );
    }
  }

  /** A folder of authorities as one file beside the configuration. */
  #authorities(): string {
    const directive = this.#options.get('capath')!;
    const folder = resolve(this.#context.folder, directive.value);
    const name = `ca-${this.#listener.port}.pem`;
    try {
      const files = readdirSync(folder).filter((file) => file.endsWith('.pem'));
      const pems = files.sort().map((file) => readFileSync(join(folder, file), 'utf8'));
      if (pems.length === 0) throw new Error('there is no .pem file in it');
      this.#context.made.set(name, pems.map((pem) => `${pem.trimEnd()}\n`).join(''));
    } catch (error) {
      this.#close('capath', (error as Error).message);
    }
    this.#notes.differs(
      directive.where,
      `capath: its certificates are copied to ${name}; copy again when they change`,
    );
    return name;
  }

  /** OpenSSL completes mosquitto's chain from cafile; here certFile has to hold it. */
  #checkChain(certFile: string, cafile: string): void {
    const chain = certificatesIn(certFile);
    const last = chain.at(-1);
    if (last === undefined || last.checkIssued(last)) return;
    const issuer = certificatesIn(cafile).find((one) => last.checkIssued(one));
    if (issuer === undefined || issuer.checkIssued(issuer)) return;
    this.#notes.lost(
      this.#options.get('certfile')!.where,
      'certfile: it lacks an intermediate that mosquitto took from cafile; append it to the ' +
        'certificate, or use the file of the whole chain (fullchain.pem)',
    );
  }

  #limits(section: Tree): void {
    const limits: Tree = {};
    const connections = this.#options.get('max_connections');
    if (connections !== null && !connections.value.startsWith('-')) {
      const count = Number(connections.value.split(/[ \t]/, 1)[0]);
      if (!(count >= 1)) this.#close('max_connections', 'it lets nobody in');
      else limits.connectionsMax = count;
    }
    const alias = this.#options.get('max_topic_alias');
    if (alias !== null) limits.topicAliasMax = Number(alias.value.split(/[ \t]/, 1)[0]);
    if (Object.keys(limits).length > 0) section.limits = limits;
  }

  #webSocket(section: Tree): void {
    const protocol = this.#options.get('protocol');
    if (protocol === null || protocol.value === 'mqtt') return;
    if (protocol.value !== 'websockets') {
      this.#close('protocol', 'mqtt and websockets are served');
      return;
    }
    const origins = this.#options.all('websockets_origin').map(({ value }) => value);
    section.websocket = { allowedOrigins: origins.length > 0 ? origins : ['*'] };
    this.#notes.differs(
      protocol.where,
      'protocol websockets: clients have to use the path /mqtt (mosquitto takes any)' +
        (origins.length > 0 ? '' : '; every web page may connect, as before: see allowedOrigins'),
    );
  }

  #others(): void {
    const lost: readonly (readonly [string, (value: string) => boolean, string])[] = [
      ['max_qos', (value) => value !== '2', 'allow with the condition qos in the rules instead'],
      ['use_username_as_clientid', isTrue, 'a session can only be resumed by the user who made it'],
      ['accept_protocol_versions', () => true, 'MQTT 3.1, 3.1.1 and 5 are all accepted'],
      ['http_dir', () => true, 'files are served by a web server'],
      ['max_topic_alias_broker', () => true, 'see limits.topicAliasOutMax, of the whole node'],
    ];
    for (const [name, isMeant, how] of lost) {
      const directive = this.#options.get(name);
      if (directive !== null && isMeant(directive.value)) {
        this.#notes.lost(directive.where, `${name}: ${how}`);
      }
    }
    if (this.#has('mount_point')) {
      this.#close(
        'mount_point',
        'topics of a listener cannot be moved below a prefix; use tenants',
      );
    }
    if (this.#has('enable_proxy_protocol')) {
      this.#close('enable_proxy_protocol', 'say whom to trust: proxyProtocol.trustedAddresses');
    }
    const zeroLength = this.#security.get('allow_zero_length_clientid');
    if (zeroLength !== null && !isTrue(zeroLength.value)) {
      this.#notes.lost(
        zeroLength.where,
        'allow_zero_length_clientid false: a client without an identifier is given one',
      );
    }
    const prefix = this.#security.get('auto_id_prefix');
    if (prefix !== null) {
      this.#notes.lost(prefix.where, 'auto_id_prefix: identifiers that are given have no prefix');
    }
  }

  #authentication(isTls: boolean): { readonly chain: string[]; readonly anonymous: boolean } {
    const allow = this.#security.get('allow_anonymous');
    const mayBeAnonymous = allow === null ? this.#listener.isLocalOnly : isTrue(allow.value);
    if (isTls && !this.#has('psk_hint')) {
      if (this.#isOn('use_identity_as_username'))
        return { chain: ['certificate'], anonymous: false };
      if (this.#isOn('use_subject_as_username')) {
        this.#close(
          'use_subject_as_username',
          'a subject is no user name here; use the common name (use_identity_as_username), and write ' +
            'rules and acl_file for it',
        );
      }
    }
    if (this.#has('psk_hint') && this.#isOn('use_identity_as_username')) {
      return { chain: ['psk'], anonymous: false };
    }
    // What a plugin would have refused nobody knows: only who has a password is let in.
    if (this.#context.hasPlugin) return { chain: ['password'], anonymous: false };
    const hasPasswords = this.#security.get('password_file') !== null;
    if (!hasPasswords && mayBeAnonymous) return { chain: [], anonymous: true };
    return { chain: ['password'], anonymous: mayBeAnonymous };
  }
}

function certificatesIn(file: string): X509Certificate[] {
  try {
    const pems = readFileSync(file, 'utf8').match(
      /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g,
    );
    return (pems ?? []).map((pem) => new X509Certificate(pem));
  } catch {
    // `check` says what is wrong with it.
    return [];
  }
}
