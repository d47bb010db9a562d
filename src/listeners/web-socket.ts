/**
 * The WebSocket handshake of one listener: path, subprotocol, Origin, nothing else. Its HTTP server
 * never listens: it is fed with the streams of arrivals, plain or out of the TLS stage, whose time
 * and number the listener bounds. Control plane.
 */
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocketServer } from 'ws';
import { limitTable } from '../core/limits.ts';
import type { Log } from '../core/ports.ts';
import type { Arrival } from './arrival.ts';
import type { ListenerPlan } from './listener-plan.ts';
import type { Stage, StageHost } from './stage.ts';
import { CLOSE_TIMEOUT_MS, WebSocketSink } from './web-socket-sink.ts';

/** Subprotocols of MQTT; `mqttv3.1` is what 3.1 clients ask for. */
const SUBPROTOCOLS = ['mqtt', 'mqttv3.1'];
const HEADER_BYTES_MAX = 8192;
const HEADERS_MAX = 64;
/** Room for what MQTT clients put into one message beside one packet. */
const MESSAGE_BYTES_MARGIN = 64 * 1024;
/** Pieces of one message that are kept until it is whole. */
const FRAGMENTS_MAX = 4096;
/** Chunks of an unfinished message; one of a single byte costs hundreds. */
const BUFFERED_CHUNKS_MAX = 16_384;

export class WebSocketStage implements Stage {
  readonly #server: http.Server = http.createServer({ maxHeaderSize: HEADER_BYTES_MAX });
  readonly #webSockets: WebSocketServer;
  readonly #plan: ListenerPlan;
  readonly #host: StageHost;
  readonly #log: Log;
  readonly #arrivals: WeakMap<Duplex, Arrival> = new WeakMap();

  constructor(plan: ListenerPlan, host: StageHost, log: Log) {
    this.#plan = plan;
    this.#host = host;
    this.#log = log;
    const packetBytesMax = plan.options.limits.packetBytesMax ?? limitTable.packetBytesMax.default;
    const webSocketOptions = {
      noServer: true,
      perMessageDeflate: false,
      maxPayload: packetBytesMax + MESSAGE_BYTES_MARGIN,
      maxFragments: FRAGMENTS_MAX,
      maxBufferedChunks: BUFFERED_CHUNKS_MAX,
      // Text is refused, so nobody reads it.
      skipUTF8Validation: true,
      clientTracking: false,
      closeTimeout: CLOSE_TIMEOUT_MS,
      handleProtocols: (offered: Set<string>) =>
        SUBPROTOCOLS.find((protocol) => offered.has(protocol)) ?? false,
    };
    this.#webSockets = new WebSocketServer(webSocketOptions);
    this.#webSockets.on('wsClientError', (error, stream, request) => {
      this.#refuse(request, stream, 400, error.message);
    });
    this.#server.maxHeadersCount = HEADERS_MAX;
    this.#server.on('request', (request, response) => this.#answer(request, response));
    this.#server.on('upgrade', (request, stream, head) => this.#upgrade(request, stream, head));
    this.#server.on('clientError', (error: Error, stream) => {
      if (stream.writable) stream.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n');
      const arrival = this.#arrivals.get(stream);
      if (arrival !== undefined) host.failed(arrival, `HTTP: ${error.message}`);
    });
  }

  take(arrival: Arrival): void {
    const { stream } = arrival;
    this.#arrivals.set(stream, arrival);
    this.#server.emit('connection', stream);
    stream.resume();
  }

  /** A plain HTTP request. */
  #answer(request: IncomingMessage, response: ServerResponse): void {
    const isOurs = pathOf(request) === this.#plan.websocketPath;
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
    const arrival = this.#arrivals.get(request.socket);
    if (arrival !== undefined) {
      this.#host.failed(arrival, `plain HTTP request answered with ${status}`);
    }
  }

  #upgrade(request: IncomingMessage, stream: Duplex, head: Buffer): void {
    const arrival = this.#arrivals.get(request.socket);
    if (arrival === undefined || arrival.hasFailed || stream !== request.socket) {
      // The last: Node wraps the socket of a request with a body, which no WebSocket client sends.
      request.socket.destroy();
      return;
    }
    const refusal = this.#refusal(request);
    if (refusal !== null) {
      this.#refuse(request, stream, refusal[0], refusal[1]);
      return;
    }
    this.#webSockets.handleUpgrade(request, stream as Socket, head, (webSocket) => {
      this.#host.arrived(
        arrival,
        new WebSocketSink(webSocket, stream, {
          remoteAddress: arrival.remoteAddress,
          remotePort: arrival.remotePort,
          certificate: arrival.certificate,
          pskIdentity: arrival.pskIdentity,
          copiesWrites: arrival.isEncrypted,
          log: this.#log,
          bytesUnansweredMax:
            (this.#plan.options.connectBytesMax ?? limitTable.connectBytesMax.default) +
            MESSAGE_BYTES_MARGIN,
        }),
      );
    });
  }

  /** Status and reason, or null: welcome. */
  #refusal(request: IncomingMessage): [number, string] | null {
    if (pathOf(request) !== this.#plan.websocketPath) {
      return [404, `MQTT is served at ${this.#plan.websocketPath}.`];
    }
    // Older versions carry the origin in another header, around the rule below.
    if (request.headers['sec-websocket-version'] !== '13') {
      return [400, 'The WebSocket version must be 13.'];
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

  #refuse(request: IncomingMessage, stream: Duplex, status: number, text: string): void {
    const body = `${text}\n`;
    stream.end(
      `HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\nConnection: close\r\n` +
        `Content-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    );
    // Read on: unread input at the close would reset the answer away.
    stream.resume();
    const arrival = this.#arrivals.get(request.socket);
    if (arrival !== undefined) this.#host.failed(arrival, text);
  }
}

/** Without the query. */
function pathOf(request: IncomingMessage): string {
  const url = request.url ?? '';
  const query = url.indexOf('?');
  return query === -1 ? url : url.slice(0, query);
}
