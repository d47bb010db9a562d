/**
 * The WebSocket handshake of one listener: path, subprotocol, Origin, nothing else. Its HTTP server
 * never listens: it is fed with accepted sockets, as the TLS stage is. Control plane.
 */
import http, { type IncomingMessage } from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TlsOptions as NodeTlsOptions, TLSSocket } from 'node:tls';
import { WebSocketServer } from 'ws';
import type { Log } from '../core/ports.ts';
import type { Arrival } from './arrival.ts';
import type { ListenerPlan } from './listener-plan.ts';
import { peerCertificate } from './peer-certificate.ts';
import type { Stage, StageHost } from './stage.ts';
import { watchHandshakes } from './tls.ts';
import { WebSocketSink } from './web-socket-sink.ts';

/** Subprotocols of MQTT; `mqttv3.1` is what 3.1 clients ask for. */
const SUBPROTOCOLS = ['mqtt', 'mqttv3.1'];
const HEADER_BYTES_MAX = 8192;
const HEADERS_MAX = 64;
/** Room for what MQTT clients put into one message beside one packet. */
const MESSAGE_BYTES_MARGIN = 64 * 1024;
const PACKET_BYTES_MAX_DEFAULT = 1024 * 1024;
/** Pieces of one message that are kept until it is whole. */
const FRAGMENTS_MAX = 4096;

export class WebSocketStage implements Stage {
  readonly #server: http.Server | https.Server;
  readonly #webSockets: WebSocketServer;
  readonly #plan: ListenerPlan;
  readonly #host: StageHost;
  readonly #log: Log;

  /** `material` is null for `ws://`. */
  constructor(plan: ListenerPlan, material: NodeTlsOptions | null, host: StageHost, log: Log) {
    this.#plan = plan;
    this.#host = host;
    this.#log = log;
    const options = {
      maxHeaderSize: HEADER_BYTES_MAX,
      headersTimeout: plan.options.handshakeTimeoutMs,
      requestTimeout: plan.options.handshakeTimeoutMs,
      keepAlive: false,
    };
    if (material === null) {
      this.#server = http.createServer(options);
    } else {
      const server = https.createServer({
        ...options,
        ...material,
        handshakeTimeout: plan.options.handshakeTimeoutMs,
      });
      watchHandshakes(server, host);
      this.#server = server;
    }
    this.#server.maxHeadersCount = HEADERS_MAX;
    const packetBytesMax = plan.options.limits.packetBytesMax ?? PACKET_BYTES_MAX_DEFAULT;
    const webSocketOptions = {
      noServer: true,
      perMessageDeflate: false,
      maxPayload: packetBytesMax + MESSAGE_BYTES_MARGIN,
      maxFragments: FRAGMENTS_MAX,
      skipUTF8Validation: true,
      clientTracking: false,
      handleProtocols: (offered: Set<string>) =>
        SUBPROTOCOLS.find((protocol) => offered.has(protocol)) ?? false,
    };
    this.#webSockets = new WebSocketServer(webSocketOptions);
    this.#server.on('request', (request, response) => {
      const isOurs = pathOf(request) === plan.websocketPath;
      const status = isOurs ? 426 : 404;
      response.writeHead(status, {
        'content-type': 'text/plain',
        connection: 'close',
        ...(isOurs ? { upgrade: 'websocket' } : {}),
      });
      response.end(
        isOurs
          ? 'This is an MQTT broker: connect with WebSocket, subprotocol mqtt.\n'
          : 'Not found.\n',
      );
      this.#fail(request, `plain HTTP request answered with ${status}`);
    });
    this.#server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
    this.#server.on('clientError', (error, socket) => {
      if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n');
      const arrival = host.arrivalOf(socket as Socket);
      host.failed(arrival, `HTTP: ${error.message}`, arrival?.remoteAddress ?? '');
    });
  }

  take(arrival: Arrival): void {
    this.#server.emit('connection', arrival.socket);
    // It was accepted paused. TLS reads from the handle by itself.
    if (this.#plan.transport === 'ws') arrival.socket.resume();
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const refusal = this.#refusal(request);
    if (refusal !== null) {
      const [status, text] = refusal;
      const body = `${text}\n`;
      socket.end(
        `HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\nConnection: close\r\n` +
          `Content-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
      );
      this.#fail(request, text);
      return;
    }
    const arrival = this.#host.arrivalOf(socket as Socket);
    if (arrival === null) {
      socket.destroy();
      return;
    }
    const isTls = this.#plan.transport === 'wss';
    this.#webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      this.#host.arrived(
        arrival,
        new WebSocketSink(webSocket, socket, {
          remoteAddress: arrival.remoteAddress,
          remotePort: arrival.remotePort,
          certificate: isTls ? peerCertificate(socket as TLSSocket) : null,
          copiesWrites: isTls,
          log: this.#log,
        }),
      );
    });
  }

  /** Status and reason, or null: welcome. */
  #refusal(request: IncomingMessage): [number, string] | null {
    if (pathOf(request) !== this.#plan.websocketPath) {
      return [404, `MQTT is served at ${this.#plan.websocketPath}.`];
    }
    const { origin, host } = request.headers;
    if (!this.#plan.origins.allows(origin, host)) {
      return [403, `Pages of ${origin} may not connect; see websocket.allowedOrigins.`];
    }
    const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',');
    // [MQTT5-6.0.0-3]
    if (!offered.some((protocol) => SUBPROTOCOLS.includes(protocol.trim()))) {
      return [400, 'The WebSocket subprotocol must be mqtt.'];
    }
    return null;
  }

  #fail(request: IncomingMessage, problem: string): void {
    const arrival = this.#host.arrivalOf(request.socket);
    this.#host.failed(arrival, problem, arrival?.remoteAddress ?? '');
  }
}

/** Without the query. */
function pathOf(request: IncomingMessage): string {
  const url = request.url ?? '';
  const query = url.indexOf('?');
  return query === -1 ? url : url.slice(0, query);
}
