/** Meshes over real sockets of this machine, for tests: each with a record of what it heard. */
import net from 'node:net';
import { encodeTablesBegin, encodeTablesEnd } from '../../../src/cluster/link/frame-codec.ts';
import { FrameReader } from '../../../src/cluster/link/frame-reader.ts';
import { FrameWriter } from '../../../src/cluster/link/frame-writer.ts';
import type { LinkLimits } from '../../../src/cluster/link/link-world.ts';
import { PeerMesh } from '../../../src/cluster/link/mesh.ts';
import { type PeerTls, TcpTransport } from '../../../src/cluster/link/tcp-transport.ts';
import {
  FrameType,
  type LinkState,
  type Member,
  type MeshEvents,
} from '../../../src/cluster/ports.ts';
import { systemClock, systemRandom, systemScheduler } from '../../../src/listeners/scheduler.ts';
import { resetSocket } from '../../support/reset-socket.ts';
import { LIMITS, quietLog } from './mesh-world.ts';

export interface TcpMeshOptions {
  readonly tls?: PeerTls | null;
  readonly secret?: string;
  readonly limits?: LinkLimits;
}

export class TcpMesh implements MeshEvents {
  readonly transport: TcpTransport;
  readonly mesh: PeerMesh;
  readonly name: string;
  readonly warnings: string[] = [];
  readonly strangers: string[] = [];
  port = 0;
  /** Numbers of PUBLISH frames by sender, checked to be without gap or repetition. */
  readonly heard: Map<string, number> = new Map();
  readonly wrong: string[] = [];
  tables = 0;
  lostMessages = 0;
  #sent = 0;

  constructor(name: string, options: TcpMeshOptions = {}) {
    this.name = name;
    this.transport = new TcpTransport({
      host: '127.0.0.1',
      port: 0,
      tls: options.tls ?? null,
      connectTimeoutMs: 3000,
    });
    const note = (fields: object): void => {
      this.warnings.push((fields as { why?: string }).why ?? '');
    };
    this.mesh = new PeerMesh({
      transport: this.transport,
      clock: systemClock,
      random: systemRandom,
      scheduler: systemScheduler,
      log: { ...quietLog, warn: note },
      limits: options.limits ?? LIMITS,
      release: '1.0.0',
      strangerCalls: (incarnation) => this.strangers.push(incarnation),
    });
    this.mesh.identify('generation', options.secret ?? 'the secret');
    this.mesh.start(this);
  }

  get member(): Member {
    const address = `127.0.0.1:${this.port}`;
    return { incarnation: this.name, nodeId: this.name, address, release: '1.0.0', protocol: 1 };
  }

  open(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.transport.open((error, endpoint) => {
        if (error !== null) return reject(error);
        this.port = endpoint!.port;
        resolve();
      });
    });
  }

  close(): Promise<void> {
    this.mesh.stop();
    return new Promise((resolve) => this.transport.close(resolve));
  }

  /** One more numbered PUBLISH for the peer. */
  publish(peer: string, bytes: number): void {
    const writer = new FrameWriter();
    writer.u32(++this.#sent);
    writer.skip(bytes);
    this.mesh.send(peer, writer.finish(FrameType.PUBLISH));
  }

  link(peer: string, direction: 'out' | 'in' = 'out'): LinkState {
    return this.mesh.links().find((state) => state.peer === peer && state.direction === direction)!;
  }

  frame(from: string, type: number, buffer: Buffer, start: number, end: number): void {
    if (type !== FrameType.PUBLISH) return;
    const number = new FrameReader(buffer, start, end).u32();
    const before = this.heard.get(from) ?? 0;
    if (number !== before + 1) this.wrong.push(`${number} after ${before}`);
    this.heard.set(from, number);
  }

  tablesWanted(peer: string): void {
    this.tables++;
    this.mesh.send(peer, encodeTablesBegin());
    this.mesh.send(peer, encodeTablesEnd(this.mesh.position(peer)));
  }

  progressed(): void {}

  lost(_peer: string, messages: number): void {
    this.lostMessages += messages;
  }

  down(): void {}
  ended(): void {}
  up(): void {}
  refused(): void {}
}

/** A test, as far as it matters here. */
export interface Teardown {
  teardown(clean: () => Promise<void>): unknown;
}

/** Open meshes that know each other, closed after the test. */
export async function makeMeshes(
  test: Teardown,
  ...options: readonly TcpMeshOptions[]
): Promise<TcpMesh[]> {
  const meshes = options.map((each, i) => new TcpMesh('abcdef'[i]!, each));
  for (const mesh of meshes) await mesh.open();
  test.teardown(async () => {
    for (const mesh of meshes) await mesh.close();
  });
  const members = meshes.map((mesh) => mesh.member);
  for (const mesh of meshes) mesh.mesh.setMembers(mesh.name, members);
  return meshes;
}

export async function until(what: string, isSo: () => boolean, withinMs = 10_000): Promise<void> {
  const endMs = Date.now() + withinMs;
  while (!isSo()) {
    if (Date.now() > endMs) throw new Error(`waited in vain for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A TCP proxy whose connections can be torn; reached instead of `port`. */
export class Tearable {
  port = 0;
  torn = 0;
  readonly #server: net.Server;
  readonly #pairs: Set<readonly [net.Socket, net.Socket]> = new Set();

  constructor(to: () => number) {
    this.#server = net.createServer((near) => {
      const far = net.connect(to(), '127.0.0.1');
      const pair = [near, far] as const;
      this.#pairs.add(pair);
      for (const socket of pair) {
        socket.on('error', () => {});
        socket.on('close', () => {
          this.#pairs.delete(pair);
          for (const other of pair) other.destroy();
        });
      }
      near.pipe(far);
      far.pipe(near);
    });
  }

  open(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.listen(0, '127.0.0.1', () => {
        this.port = (this.#server.address() as net.AddressInfo).port;
        resolve();
      });
    });
  }

  tear(): void {
    for (const pair of [...this.#pairs]) {
      this.torn++;
      for (const socket of pair) resetSocket(socket);
    }
  }

  close(): Promise<void> {
    this.tear();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }
}
