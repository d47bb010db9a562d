/** An MQTT 5 client of a few bytes, for tests that look at a node from outside. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

export class RawClient {
  readonly socket: Socket;
  #received: Buffer = Buffer.alloc(0);
  #isClosed = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk]);
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#isClosed = true;
    });
  }

  /** Connects and waits for the CONNACK. */
  static async open(port: number, clientId = ''): Promise<RawClient> {
    const client = await RawClient.dial(port);
    const id = Buffer.from(clientId);
    const rest = Buffer.from([0, 4, ...Buffer.from('MQTT'), 5, 2, 0, 60, 0, 0, id.length, ...id]);
    client.socket.write(Buffer.from([0x10, rest.length, ...rest]));
    const connack = await client.packet(0x20);
    if (connack[3] !== 0) throw new Error(`refused: ${connack.toString('hex')}`);
    return client;
  }

  static async dial(port: number): Promise<RawClient> {
    const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
    const client = new RawClient(socket);
    await once(socket, 'connect');
    return client;
  }

  /** The next packet, which has to begin with this byte. */
  async packet(first: number): Promise<Buffer> {
    const endMs = performance.now() + 10_000;
    while (performance.now() < endMs) {
      const length = 2 + (this.#received[1] ?? 0);
      if (this.#received.length >= 2 && this.#received.length >= length) {
        const packet = this.#received.subarray(0, length);
        this.#received = this.#received.subarray(length);
        if (packet[0] !== first) throw new Error(`unexpected packet ${packet.toString('hex')}`);
        return packet;
      }
      if (this.#isClosed) break;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    throw new Error(`no packet ${first.toString(16)}; there is ${this.#received.toString('hex')}`);
  }

  /** The value of a CONNACK property with four bytes, read from a new connection. */
  static async maximumPacketSize(port: number): Promise<number | null> {
    const client = await RawClient.dial(port);
    const rest = Buffer.from([0, 4, ...Buffer.from('MQTT'), 5, 2, 0, 60, 0, 0, 0]);
    client.socket.write(Buffer.from([0x10, rest.length, ...rest]));
    const connack = await client.packet(0x20);
    client.socket.destroy();
    const at = connack.indexOf(0x27, 5);
    return at === -1 ? null : connack.readUInt32BE(at + 1);
  }
}
