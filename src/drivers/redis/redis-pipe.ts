/**
 * One connection to one Redis server, from the first packet until it is lost: TCP, TLS or a Unix
 * socket, login, commands written once per loop turn, replies handed out in order, and a heartbeat that
 * notices a server that is connected but deaf. It does not reconnect and knows no command but those of
 * the login; redis-shard.ts does the rest.
 */
import { connect as connectTcp, isIP, type OnReadOpts, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import { Ring } from '../../util/ring.ts';
import { describeFailure } from './redis-error.ts';
import type { RedisAddress } from './redis-url.ts';
import { RespError, RespReader, type RespReply, RespViolation } from './resp-reader.ts';
import { RespWriter } from './resp-writer.ts';

export interface PipeTls {
  /** Authorities; null: those of the system. */
  readonly ca: readonly string[] | null;
  readonly cert: string | null;
  readonly key: string | null;
  /** The name that the server's certificate must have; null: the host's. */
  readonly servername: string | null;
}

export interface PipeOptions {
  /** Runs a task when what is ready in this turn of the loop has been read. */
  readonly endOfTurn: (task: () => void) => void;
  readonly username: string | null;
  readonly password: string | null;
  readonly database: number;
  /** For CLIENT LIST; '' : none. */
  readonly connectionName: string;
  readonly tls: PipeTls;
  /** From the first packet until `greeted` is called. */
  readonly connectTimeoutMs: number;
  readonly heartbeatMs: number;
  readonly heartbeatTimeoutMs: number;
}

/** Somebody who waits for the reply to a command. */
export interface PipeReceiver {
  /** Has its answer already and only waits for its turn: nothing was written for it. */
  readonly isLocal: boolean;
  replied(reply: RespReply): void;
  /** The connection is gone before the reply; `wasSent`: its bytes were given to the socket. */
  lost(wasSent: boolean): void;
}

export interface PipeEvents {
  /** Connected and logged in. */
  pipeOpen(pipe: RedisPipe): void;
  /** The end; called once. Those who wait are told by `abandon`. */
  pipeClosed(pipe: RedisPipe, code: string, why: string): void;
  /** All replies of a chunk have been handed out. */
  pipeRead(pipe: RedisPipe): void;
  /** What was written is about to leave: the last chance to write something behind it. */
  pipeFlush(pipe: RedisPipe): void;
  /** A batch has been answered completely, this long after it was handed to the socket. */
  pipeBatch(roundTripMs: number): void;
  /** A message of a channel, on a connection that has subscribed. */
  pipeMessage(pipe: RedisPipe, payload: string): void;
}

interface Batch {
  /** `pushed` after its last command. */
  readonly end: number;
  readonly sentMs: number;
}

const READ_BYTES = 64 * 1024;

class Query implements PipeReceiver {
  readonly isLocal: boolean = false;
  readonly #done: (reply: RespReply | null, isLost: boolean) => void;

  constructor(done: (reply: RespReply | null, isLost: boolean) => void) {
    this.#done = done;
  }

  replied(reply: RespReply): void {
    this.#done(reply, false);
  }

  lost(): void {
    this.#done(null, true);
  }
}

const pong: PipeReceiver = { isLocal: false, replied: () => {}, lost: () => {} };

export class RedisPipe {
  readonly address: RedisAddress;
  readonly writer: RespWriter = new RespWriter();
  readonly #options: PipeOptions;
  readonly #events: PipeEvents;
  readonly #socket: Socket;
  readonly #reader: RespReader;
  readonly #receivers: Ring<PipeReceiver> = new Ring(1024);
  readonly #batches: Ring<Batch> = new Ring();
  #locals = 0;
  /** Receivers ever pushed, answered, and pushed when the last write left. */
  #pushed = 0;
  #answered = 0;
  #sent = 0;
  #isOpen = false;
  #isClosed = false;
  #isWriting = false;
  #isFlushDue = false;
  #isSubscribed = false;
  #taken: Buffer | null = null;
  #connectTimer: NodeJS.Timeout;
  #beatTimer: NodeJS.Timeout | undefined;
  #heardMs = 0;
  #askedMs = 0;
  #tickMs = 0;

  constructor(address: RedisAddress, options: PipeOptions, events: PipeEvents) {
    this.address = address;
    this.#options = options;
    this.#events = events;
    this.#reader = new RespReader({ reply: (reply) => this.#reply(reply) });
    this.#connectTimer = setTimeout(
      () => this.close('TIMEOUT', 'no answer to the login in time'),
      options.connectTimeoutMs,
    );
    this.#socket = this.#connect();
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Commands whose reply has not come, and locals behind them. */
  get waiting(): number {
    return this.#receivers.length;
  }

  /** Position of the last receiver so far. */
  get pushed(): number {
    return this.#pushed;
  }

  /** Position of the last receiver that was answered. */
  get answered(): number {
    return this.#answered;
  }

  /** The caller has written a command into `writer`; its reply goes to `receiver`. */
  expect(receiver: PipeReceiver): void {
    if (this.#receivers.length === 0) this.#askedMs = performance.now();
    this.#receivers.push(receiver);
    this.#pushed += 1;
    if (receiver.isLocal) this.#locals += 1;
    else this.#flushLater();
  }

  /** Writes a whole command. For the control plane: it costs a closure. */
  query(
    args: readonly (string | number | Buffer)[],
    done: (reply: RespReply | null, isLost: boolean) => void,
  ): void {
    this.#write(args);
    this.expect(new Query(done));
  }

  /** From here on messages of the channel go to `pipeMessage`. */
  subscribe(channel: string): void {
    this.#isSubscribed = true;
    this.#write(['SUBSCRIBE', channel]);
    this.expect(pong);
  }

  /** The handshake is over; from now on the heartbeat judges. */
  greeted(): void {
    clearTimeout(this.#connectTimer);
    if (this.#isClosed || this.#beatTimer !== undefined) return;
    const { heartbeatMs, heartbeatTimeoutMs } = this.#options;
    this.#tickMs = performance.now();
    const intervalMs = Math.max(10, Math.min(heartbeatMs, heartbeatTimeoutMs / 2) / 2);
    this.#beatTimer = setInterval(() => this.#beat(intervalMs), intervalMs);
  }

  /** Ends the connection. */
  close(code: string, why: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#connectTimer);
    clearInterval(this.#beatTimer);
    // Not before the constructor has it: a timeout of 0 is not possible there.
    this.#socket.destroy();
    this.#events.pipeClosed(this, code, why);
  }

  /** Tells all who wait, in order, that no reply will come. */
  abandon(): void {
    let position = this.#answered;
    for (let next = this.#receivers.shift(); next !== undefined; next = this.#receivers.shift()) {
      position += 1;
      this.#answered = position;
      next.lost(position <= this.#sent);
    }
    this.#locals = 0;
  }

  #connect(): Socket {
    const { address } = this;
    const { tls } = this.#options;
    const onread: OnReadOpts = {
      buffer: Buffer.allocUnsafeSlow(READ_BYTES),
      callback: (bytes, buffer) => {
        this.#read(buffer as Buffer, bytes);
        return !this.#isClosed;
      },
    };
    const place =
      address.path !== null ? { path: address.path } : { host: address.host, port: address.port };
    let socket: Socket;
    if (address.isTls) {
      const name = tls.servername ?? (isIP(address.host) === 0 ? address.host : null);
      const options: ConnectionOptions & { onread: OnReadOpts } = {
        ...place,
        onread,
        minVersion: 'TLSv1.2',
        // Said explicitly, so that no environment variable can switch it off.
        rejectUnauthorized: true,
        ...(name === null ? {} : { servername: name }),
        ...(tls.ca === null ? {} : { ca: [...tls.ca] }),
        ...(tls.cert === null ? {} : { cert: tls.cert }),
        ...(tls.key === null ? {} : { key: tls.key }),
      };
      socket = connectTls(options);
      socket.once('secureConnect', () => this.#login());
    } else {
      socket = connectTcp({ ...place, onread });
      socket.once('connect', () => this.#login());
    }
    if (address.path === null) {
      socket.setNoDelay(true);
      socket.setKeepAlive(true, 10_000);
    }
    socket.on('error', (error) => {
      const word = describeFailure(error);
      this.close(word, word);
    });
    socket.on('end', () => this.close('CLOSED', 'Redis closed the connection'));
    socket.on('close', () => this.close('CLOSED', 'the connection to Redis closed'));
    return socket;
  }

  /** AUTH, SELECT, CLIENT SETNAME and a PING, in one write; a deaf server does not pass for a well one. */
  #login(): void {
    if (this.#isClosed) return;
    const { username, password, database, connectionName } = this.#options;
    const fatal = (what: string) => (reply: RespReply | null) => {
      if (!(reply instanceof RespError)) return;
      const { code } = reply;
      this.close(code, `${what} refused: ${code}${explain(code)}`);
    };
    const only = (what: string) => (reply: RespReply | null) => {
      if (reply instanceof RespError && reply.code === 'NOAUTH') fatal(what)(reply);
    };
    if (password !== null) {
      const args = username === null ? ['AUTH', password] : ['AUTH', username, password];
      this.query(args, fatal('login'));
    }
    if (database !== 0) this.query(['SELECT', database], fatal(`database ${database}`));
    // Not every user may; nothing depends on it.
    if (connectionName !== '') {
      this.query(['CLIENT', 'SETNAME', connectionName], only('login'));
    }
    this.query(['PING'], (reply, isLost) => {
      only('login')(reply);
      if (isLost || this.#isClosed) return;
      if (reply instanceof RespError && reply.code !== 'NOPERM' && reply.code !== 'LOADING') {
        this.close(reply.code, `Redis answers ${reply.code} to PING`);
        return;
      }
      this.#isOpen = true;
      this.#events.pipeOpen(this);
    });
  }

  #write(args: readonly (string | number | Buffer)[]): void {
    const { writer } = this;
    writer.command(args.length);
    for (const arg of args) {
      if (typeof arg === 'string') writer.text(arg);
      else if (typeof arg === 'number') writer.number(arg);
      else writer.bytes(arg);
    }
  }

  #flushLater(): void {
    if (this.#isFlushDue || this.#isWriting || this.#isClosed) return;
    this.#isFlushDue = true;
    this.#options.endOfTurn(this.#flush);
  }

  readonly #flush = (): void => {
    this.#isFlushDue = false;
    if (this.#isClosed || this.#isWriting || this.writer.length === 0) return;
    if (this.#isOpen) this.#events.pipeFlush(this);
    this.#isWriting = true;
    this.#sent = this.#pushed;
    this.#batches.push({ end: this.#pushed, sentMs: performance.now() });
    this.#taken = this.writer.take();
    this.#socket.write(this.#taken, this.#onWritten);
  };

  /** One write is under way at a time: what comes meanwhile is not sent, and can be said to be not. */
  readonly #onWritten = (): void => {
    this.#isWriting = false;
    if (this.#taken !== null) this.writer.release(this.#taken);
    this.#taken = null;
    if (this.writer.length > 0) this.#flushLater();
  };

  #read(buffer: Buffer, bytes: number): void {
    if (this.#isClosed) return;
    this.#heardMs = performance.now();
    try {
      this.#reader.push(buffer, bytes);
    } catch (error) {
      if (!(error instanceof RespViolation)) throw error;
      this.close('PROTOCOL', `what Redis sent cannot be read: ${error.message}`);
      return;
    }
    if (this.#isClosed) return;
    this.#measure();
    this.#events.pipeRead(this);
  }

  #reply(reply: RespReply): void {
    if (this.#isClosed) return;
    if (this.#isSubscribed && this.#isMessage(reply)) return;
    const receiver = this.#receivers.shift();
    if (receiver === undefined) throw new RespViolation('a reply to nothing');
    this.#answered += 1;
    receiver.replied(reply);
    if (this.#locals > 0) this.#passLocals();
  }

  #passLocals(): void {
    while (!this.#isClosed && this.#receivers.at(0)?.isLocal === true) {
      const local = this.#receivers.shift() as PipeReceiver;
      this.#locals -= 1;
      this.#answered += 1;
      local.replied(null);
    }
  }

  #isMessage(reply: RespReply): boolean {
    if (!Array.isArray(reply) || reply.length !== 3) return false;
    const [kind, , payload] = reply;
    if (!Buffer.isBuffer(kind) || !Buffer.isBuffer(payload)) return false;
    if (kind.toString() !== 'message') return false;
    this.#events.pipeMessage(this, payload.toString());
    return true;
  }

  #measure(): void {
    const batches = this.#batches;
    for (let first = batches.at(0); first !== undefined; first = batches.at(0)) {
      if (first.end > this.#answered) return;
      batches.shift();
      this.#events.pipeBatch(this.#heardMs - first.sentMs);
    }
  }

  #beat(intervalMs: number): void {
    const nowMs = performance.now();
    // After a pause of this process the answers may be there, unread: judge at the next tick.
    const isLate = nowMs - this.#tickMs > 2 * intervalMs + 50;
    this.#tickMs = nowMs;
    if (isLate) {
      this.#heardMs = Math.max(this.#heardMs, nowMs - this.#options.heartbeatTimeoutMs / 2);
      return;
    }
    const silentMs =
      nowMs - Math.max(this.#heardMs, this.#receivers.length > 0 ? this.#askedMs : 0);
    if (this.#receivers.length > 0) {
      if (silentMs < this.#options.heartbeatTimeoutMs) return;
      this.close('TIMEOUT', 'Redis did not answer in time');
      return;
    }
    if (silentMs < this.#options.heartbeatMs) return;
    this.#write(['PING']);
    this.expect(pong);
  }
}

function explain(code: string): string {
  if (code === 'WRONGPASS') return ', user or password is wrong';
  if (code === 'NOAUTH') return ', it wants a password';
  if (code === 'NOPERM') return ', the user lacks a right';
  if (code === 'ERR') return ', Redis may have no password, no such user or database';
  return '';
}
