/**
 * A WebSocket as a byte stream: every frame's bytes are the next bytes of the MQTT stream, however
 * they are cut. Opened by `transport.ts`; knows nothing of MQTT beyond the subprotocol's name.
 */
import type { ConnectionOptions } from 'node:tls';
import { WebSocket } from 'ws';
import type { Endpoint } from './endpoint.ts';
import type { Transport, TransportHandler } from './transport.ts';

/** [MQTT5-6.0.0-4] the subprotocol; MQTT 3.1 had another name, which servers accept too. */
const SUBPROTOCOL = 'mqtt';

export function openWebSocket(
  endpoint: Endpoint,
  tlsSettings: ConnectionOptions,
  handler: TransportHandler,
): Transport {
  const host = endpoint.host.includes(':') ? `[${endpoint.host}]` : endpoint.host;
  const url = `${endpoint.transport}://${host}:${endpoint.port}${endpoint.path}`;
  const socket = new WebSocket(url, [SUBPROTOCOL], {
    ...(endpoint.transport === 'wss' ? tlsSettings : {}),
    perMessageDeflate: false,
    followRedirects: false,
  });
  return new WebSocketTransport(socket, handler);
}

class WebSocketTransport implements Transport {
  readonly #socket: WebSocket;
  readonly #handler: TransportHandler;
  /** One closure for all writes. */
  readonly #sent = (): void => {
    if (this.#socket.bufferedAmount === 0) this.#handler.onDrained();
  };

  constructor(socket: WebSocket, handler: TransportHandler) {
    this.#socket = socket;
    this.#handler = handler;
    let failure: Error | null = null;
    socket.binaryType = 'nodebuffer';
    socket.on('open', () => handler.onOpen());
    socket.on('message', (data: Buffer, isBinary: boolean) => {
      // [MQTT5-6.0.0-1] anything but binary frames ends the connection.
      if (isBinary) handler.onBytes(data);
      else {
        failure = new Error('the server sent a text frame');
        socket.terminate();
      }
    });
    socket.on('error', (error: Error) => {
      failure = error;
    });
    socket.on('close', () => handler.onClosed(failure));
  }

  write(bytes: Buffer): void {
    if (this.#socket.readyState === WebSocket.OPEN) {
      this.#socket.send(bytes, { binary: true }, this.#sent);
    }
  }

  unsentBytes(): number {
    return this.#socket.bufferedAmount;
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  end(): void {
    this.#socket.close(1000);
  }

  destroy(): void {
    this.#socket.terminate();
  }
}
