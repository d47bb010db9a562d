/**
 * The broker's side for tests of listeners: an acceptor that records what its connections are told,
 * and sees whether it is called from inside a call of its own. Holds no opinion about MQTT.
 */
import type { Acceptor, ByteHandler, ByteSink, ListenerInfo, Log } from '../../src/core/ports.ts';

/** Longest wait for something that has to happen. */
const WAIT_MS = 15_000;

/** Resolves when `isTrue`, looked at every few milliseconds; fails after a while. */
export async function until(isTrue: () => boolean, what: string): Promise<void> {
  const endMs = performance.now() + WAIT_MS;
  while (!isTrue()) {
    if (performance.now() > endMs) throw new Error(`never happened: ${what}`);
    await sleep(2);
  }
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** One connection as the core would hold it. */
export class RecordedConnection implements ByteHandler {
  readonly sink: ByteSink;
  readonly listener: ListenerInfo;
  readonly chunks: Buffer[] = [];
  bytesReceived = 0;
  drained = 0;
  readonly closes: (Error | null)[] = [];
  /** Names of callbacks that came from inside `call`. */
  readonly reentered: string[] = [];
  /** What the test adds to the callbacks. */
  onBytesToo: ((bytes: Buffer) => void) | null = null;
  onDrainedToo: (() => void) | null = null;
  onClosedToo: (() => void) | null = null;
  #isInCall = false;

  constructor(sink: ByteSink, listener: ListenerInfo) {
    this.sink = sink;
    this.listener = listener;
  }

  onBytes(buffer: Buffer, start: number, end: number): void {
    this.#entered('onBytes');
    const bytes = Buffer.from(buffer.subarray(start, end));
    this.chunks.push(bytes);
    this.bytesReceived += bytes.length;
    this.onBytesToo?.(bytes);
  }

  onDrained(): void {
    this.#entered('onDrained');
    this.drained++;
    this.onDrainedToo?.();
  }

  onClosed(error: Error | null): void {
    this.#entered('onClosed');
    this.closes.push(error);
    this.onClosedToo?.();
  }

  /** Calls the sink; whatever calls back before it returns is noted. */
  call<T>(act: (sink: ByteSink) => T): T {
    this.#isInCall = true;
    try {
      return act(this.sink);
    } finally {
      this.#isInCall = false;
    }
  }

  /** Writes a copy, as the core never would: for tests that are about something else. */
  say(bytes: Buffer | string): void {
    const copy = Buffer.from(bytes);
    this.call((sink) => sink.write(copy, 0, copy.length));
  }

  received(): Buffer {
    return Buffer.concat(this.chunks);
  }

  async receivedBytes(count: number): Promise<Buffer> {
    await until(() => this.bytesReceived >= count, `${count} bytes at the broker`);
    return this.received();
  }

  async closed(): Promise<Error | null> {
    await until(() => this.closes.length > 0, 'onClosed');
    return this.closes[0]!;
  }

  #entered(name: string): void {
    if (this.#isInCall) this.reentered.push(name);
  }
}

export class RecordingAcceptor implements Acceptor {
  readonly connections: RecordedConnection[] = [];
  /** Sees each connection before it is open; false: it is not taken. */
  onAccept: ((connection: RecordedConnection) => boolean) | null = null;
  #taken = 0;

  accept(sink: ByteSink, listener: ListenerInfo): ByteHandler | null {
    const connection = new RecordedConnection(sink, listener);
    if (this.onAccept !== null && !this.onAccept(connection)) return null;
    this.connections.push(connection);
    return connection;
  }

  /** Forgets those that came and were not asked for. */
  skip(): void {
    this.#taken = this.connections.length;
  }

  /** The next connection nobody has asked for yet. */
  async next(): Promise<RecordedConnection> {
    const index = this.#taken++;
    await until(() => this.connections.length > index, 'a connection');
    return this.connections[index]!;
  }
}

export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly fields: Readonly<Record<string, unknown>>;
  readonly message: string;
}

export class RecordingLog implements Log {
  readonly lines: LogLine[] = [];

  debug(fields: object, message: string): void {
    this.#add('debug', fields, message);
  }

  info(fields: object, message: string): void {
    this.#add('info', fields, message);
  }

  warn(fields: object, message: string): void {
    this.#add('warn', fields, message);
  }

  error(fields: object, message: string): void {
    this.#add('error', fields, message);
  }

  /** The `problem` of each refused connection. */
  problems(): string[] {
    return this.lines
      .filter((line) => line.message === 'connection refused')
      .map((line) => String(line.fields.problem));
  }

  #add(level: LogLine['level'], fields: object, message: string): void {
    this.lines.push({ level, fields: fields as Record<string, unknown>, message });
  }
}
