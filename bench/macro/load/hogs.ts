// Clients that publish more than a quota allows, for access/neighbours.ts: a process of its own on
// the load's core. MQTT 5, so that a broker can say what it refuses. One client, or many; each as
// fast as its acks come, or so many messages a second. Thrown out, it comes back after a second or two.
// Says "ready" when all are connected; when its input ends, what it saw, as JSON; then it ends.

import type { Socket, TcpNetConnectOpts } from 'node:net';
import { connect } from 'node:net';
import { connectFrame, publishTemplate } from './frames.ts';
import type { Login } from './protocol.ts';

export interface HogPlan {
  readonly port: number;
  readonly clients: number;
  /** Messages a second of each; 0: as fast as acks and the socket allow. */
  readonly ratePerS: number;
  readonly qos: 0 | 1;
  readonly login: Login;
}

/** Sums of all hogs. */
export interface HogReport {
  readonly sent: number;
  readonly acked: number;
  /** Acks with a reason of 0x80 or above, by reason, e.g. `0x97`. */
  readonly refused: Readonly<Record<string, number>>;
  /** DISCONNECTs by reason, and connections that ended without one. */
  readonly closed: Readonly<Record<string, number>>;
  readonly connects: number;
}

const WINDOW = 100;
const BURST = 16;
const PAYLOAD_BYTES = 64;
const UNSENT_BYTES_MAX = 32 * 1024;
const TURNS_PER_S = 10;
const PHASES = 10;
/** Without letting the loop go on. */
const BURSTS_AT_ONCE = 64;
/** From this to twice as long, so that they do not all come at once. */
const BACK_AFTER_MS = 1000;
const KEEP_ALIVE_S = 600;

const refused: Record<string, number> = {};
const closed: Record<string, number> = {};
let sent = 0;
let acked = 0;
let connects = 0;
let connected = 0;

function note(where: Record<string, number>, what: string): void {
  where[what] = (where[what] ?? 0) + 1;
}

function hex(code: number): string {
  return `0x${code.toString(16)}`;
}

class Hog {
  readonly #plan: HogPlan;
  readonly #clientId: string;
  readonly #packets: Buffer;
  readonly #packetBytes: number;
  readonly #packetIdOffset: number;
  #socket: Socket | undefined;
  #rest: Buffer = Buffer.alloc(0);
  #isConnected = false;
  #inflight = 0;
  #packetId = 0;
  #ending = '';

  constructor(plan: HogPlan, number: number) {
    this.#plan = plan;
    this.#clientId = `${plan.login.username}-${number}`;
    const topics = [`hog/${plan.login.username}/${String(number).padStart(4, '0')}`];
    const template = publishTemplate(5, topics, plan.qos, false, PAYLOAD_BYTES);
    this.#packetBytes = template.packetBytes;
    this.#packetIdOffset = template.packetIdOffset;
    this.#packets = Buffer.concat(Array.from({ length: BURST }, () => template.bytes));
  }

  open(): void {
    connects++;
    const options: TcpNetConnectOpts & { writableHighWaterMark: number } = {
      port: this.#plan.port,
      host: '127.0.0.1',
      localAddress: '127.0.4.1',
      noDelay: true,
      writableHighWaterMark: UNSENT_BYTES_MAX,
    };
    const socket = connect(options);
    this.#socket = socket;
    this.#rest = Buffer.alloc(0);
    this.#inflight = 0;
    this.#ending = 'closed';
    socket.once('connect', () => {
      socket.write(connectFrame(5, this.#clientId, true, KEEP_ALIVE_S, this.#plan.login));
    });
    socket.on('data', (data: Buffer) => this.#read(data));
    socket.on('drain', () => this.#flood());
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#ending = error.code ?? error.message;
    });
    socket.once('close', () => {
      if (this.#isConnected) connected--;
      this.#isConnected = false;
      note(closed, this.#ending);
      setTimeout(() => this.open(), BACK_AFTER_MS * (1 + Math.random()));
    });
  }

  #flood(): void {
    if (this.#plan.ratePerS > 0) return;
    for (let burst = 0; burst < BURSTS_AT_ONCE; burst++) if (!this.publish(BURST)) return;
    setImmediate(() => this.#flood());
  }

  /** Sends up to so many; false when it has to stop for acks or for the socket. */
  publish(most: number): boolean {
    const socket = this.#socket;
    const { qos } = this.#plan;
    if (socket === undefined || !this.#isConnected) return false;
    // `drain` follows: writes end exactly where it was promised.
    if (socket.writableNeedDrain) return false;
    const count = Math.min(most, BURST, qos === 0 ? BURST : WINDOW - this.#inflight);
    if (count <= 0) return false;
    const bytes = Buffer.from(this.#packets.subarray(0, count * this.#packetBytes));
    for (let index = 0; qos > 0 && index < count; index++) {
      this.#packetId = this.#packetId === 65_535 ? 1 : this.#packetId + 1;
      bytes.writeUInt16BE(this.#packetId, index * this.#packetBytes + this.#packetIdOffset);
      this.#inflight++;
    }
    sent += count;
    return socket.write(bytes);
  }

  #read(data: Buffer): void {
    const bytes = this.#rest.length > 0 ? Buffer.concat([this.#rest, data]) : data;
    let start = 0;
    // Whatever a broker says to a hog is shorter than 128 bytes.
    while (bytes.length - start >= 2 && bytes.length - start >= 2 + bytes[start + 1]!) {
      const end = start + 2 + bytes[start + 1]!;
      this.#packet(bytes.subarray(start, end));
      start = end;
    }
    this.#rest = bytes.subarray(start);
    this.#flood();
  }

  #packet(packet: Buffer): void {
    switch (packet[0]! >> 4) {
      case 2:
        if (packet[3] !== 0) {
          this.#ending = `CONNACK ${hex(packet[3]!)}`;
        } else {
          this.#isConnected = true;
          connected++;
        }
        break;
      case 4:
        this.#inflight--;
        acked++;
        if (packet.length > 4 && packet[4]! >= 0x80) note(refused, hex(packet[4]!));
        break;
      case 14:
        this.#ending = `DISCONNECT ${hex(packet[2] ?? 0)}`;
        break;
      default:
        break;
    }
  }
}

/** Every hog has its turn every 100 ms, a tenth of them at a time. */
function keepTime(hogs: readonly Hog[], ratePerS: number): void {
  const perTurn = ratePerS / TURNS_PER_S;
  const due = new Float64Array(PHASES);
  let phase = 0;
  setInterval(
    () => {
      phase = (phase + 1) % PHASES;
      due[phase]! += perTurn;
      const messages = Math.floor(due[phase]!);
      due[phase]! -= messages;
      if (messages === 0) return;
      for (let index = phase; index < hogs.length; index += PHASES) hogs[index]!.publish(messages);
    },
    1000 / TURNS_PER_S / PHASES,
  );
}

function main(plan: HogPlan): void {
  const hogs = Array.from({ length: plan.clients }, (_, index) => new Hog(plan, index));
  for (const hog of hogs) hog.open();
  if (plan.ratePerS > 0) keepTime(hogs, plan.ratePerS);
  const started = setInterval(() => {
    if (connected < plan.clients) return;
    clearInterval(started);
    console.log('ready');
  }, 10);
  process.stdin.resume().once('end', () => {
    const report: HogReport = { sent, acked, refused, closed, connects };
    process.stdout.write(`${JSON.stringify(report)}\n`, () => process.exit(0));
  });
}

if (import.meta.main) main(JSON.parse(process.argv[2]!) as HogPlan);
