/**
 * Peer links: CPU per forwarded 64-byte message and peer, by itself: `node bench/micro/links.ts [seconds]`.
 * First encode, link and decode in one process without sockets; then over loopback TCP, with the other
 * nodes in processes of their own, so that sender and receiver are told apart.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { encodeTablesBegin, encodeTablesEnd } from '../../src/cluster/link/frame-codec.ts';
import { PeerMesh } from '../../src/cluster/link/mesh.ts';
import { decodePublished, encodePublish } from '../../src/cluster/link/message-codec.ts';
import { TcpTransport } from '../../src/cluster/link/tcp-transport.ts';
import {
  FrameType,
  type LinkSocket,
  type LinkSocketEvents,
  type LinkTransport,
  type Member,
  type MeshEvents,
} from '../../src/cluster/ports.ts';
import { makeMessage } from '../../src/core/message.ts';
import type { Log } from '../../src/core/ports.ts';
import { Publication } from '../../src/core/publication.ts';
import { systemClock, systemRandom, systemScheduler } from '../../src/listeners/scheduler.ts';

const quiet: Log = { debug() {}, info() {}, warn() {}, error: console.error };
const LIMITS = { leaseMs: 3000, bufferBytesMax: 64 * 1024 * 1024, frameBytesMax: 1024 * 1024 };
/** What a few sockets bring in one turn of the loop. */
const BURST = 256;
/** Not acked at a time: what publishers' windows allow. */
const WINDOW = 16_384;

class Node implements MeshEvents {
  readonly member: Member;
  readonly mesh: PeerMesh;
  received = 0;
  progress: () => void = () => {};

  constructor(name: string, address: string, transport: LinkTransport) {
    this.member = { incarnation: name, nodeId: name, address, release: '1', protocol: 1 };
    this.mesh = new PeerMesh({
      transport,
      clock: systemClock,
      random: systemRandom,
      scheduler: systemScheduler,
      log: quiet,
      limits: LIMITS,
      release: '1',
    });
    this.mesh.identify('bench', 'bench');
    this.mesh.start(this);
  }

  frame(_from: string, type: number, buffer: Buffer, start: number, end: number): void {
    if (type !== FrameType.PUBLISH) return;
    const { payload } = decodePublished(buffer, start, end, 0);
    if (payload.length !== 64) throw new Error('another message');
    this.received++;
  }

  tablesWanted(peer: string): void {
    this.mesh.send(peer, encodeTablesBegin());
    this.mesh.send(peer, encodeTablesEnd(0));
  }

  progressed(): void {
    this.progress();
  }

  lost(): void {
    throw new Error('messages were lost');
  }

  down(): void {}
  ended(): void {}
  up(): void {}
  refused(): void {}
}

/** Sockets that hand over what was written in the next turn. */
class Shortcut {
  readonly #accept: Map<string, (socket: LinkSocket) => LinkSocketEvents> = new Map();

  transport(address: string): LinkTransport {
    return {
      listen: (accepted) => {
        this.#accept.set(address, accepted);
      },
      dial: (to, events) => {
        const near = new ShortcutEnd();
        const far = new ShortcutEnd();
        near.far = events;
        setImmediate(() => {
          far.far = this.#accept.get(to)!(near);
          events.opened();
        });
        near.out = far;
        far.out = near;
        return { write: (buffer) => far.put(buffer), unsentBytes: 0, close() {} };
      },
    };
  }
}

class ShortcutEnd implements LinkSocket {
  readonly unsentBytes = 0;
  far: LinkSocketEvents | null = null;
  out: ShortcutEnd | null = null;
  #queue: Buffer[] = [];

  write(buffer: Buffer): void {
    this.put(buffer);
  }

  put(buffer: Buffer): void {
    this.#queue.push(buffer);
    if (this.#queue.length > 1) return;
    setImmediate(() => {
      const queue = this.#queue;
      this.#queue = [];
      for (const one of queue) this.far!.bytes(one, 0, one.length);
    });
  }

  close(): void {}
}

interface Figure {
  readonly messages: number;
  readonly cpuUs: number;
  readonly wallMs: number;
}

/** Publishes bursts to all peers, as fast as their acks allow. */
async function drive(
  node: Node,
  peers: readonly Node['member'][],
  seconds: number,
): Promise<Figure> {
  const { mesh } = node;
  const names = peers.map(({ incarnation }) => incarnation);
  const publication = new Publication();
  const message = makeMessage(0, 'bench/device-17/state', Buffer.alloc(64, 0x78));
  while (mesh.linksUp < names.length) await new Promise((resolve) => setTimeout(resolve, 10));
  const run = (untilMs: number): Promise<number> =>
    new Promise((resolve) => {
      let sent = 0;
      const behind = (): boolean =>
        names.some((it) => mesh.position(it) - mesh.applied(it) > WINDOW);
      const burst = (): void => {
        for (let i = 0; i < BURST; i++) {
          publication.setMessage(message, ++sent);
          const frame = encodePublish(publication, 0);
          for (const name of names) mesh.send(name, frame);
        }
        if (performance.now() < untilMs) {
          if (behind()) node.progress = next;
          else setImmediate(burst);
          return;
        }
        node.progress = () => {
          if (names.every((it) => mesh.position(it) === mesh.applied(it))) resolve(sent);
        };
      };
      const next = (): void => {
        if (behind()) return;
        node.progress = () => {};
        setImmediate(burst);
      };
      burst();
    });
  await run(performance.now() + 500);
  const cpu = process.cpuUsage();
  const startMs = performance.now();
  const messages = await run(startMs + seconds * 1000);
  const used = process.cpuUsage(cpu);
  return { messages, cpuUs: used.user + used.system, wallMs: performance.now() - startMs };
}

function show(what: string, figure: Figure, peers: number): void {
  const perPeer = figure.cpuUs / figure.messages / peers;
  const rate = figure.messages / figure.wallMs;
  process.stdout.write(
    `${what.padEnd(34)} ${perPeer.toFixed(3)} µs CPU per message and peer, ${rate.toFixed(0)} k messages/s\n`,
  );
}

async function inProcess(peers: number, seconds: number): Promise<void> {
  const shortcut = new Shortcut();
  const names = ['sender', ...Array.from({ length: peers }, (_, i) => `peer-${i}`)];
  const nodes = names.map((name) => new Node(name, name, shortcut.transport(name)));
  const members = nodes.map(({ member }) => member);
  for (const { mesh, member } of nodes) mesh.setMembers(member.incarnation, members);
  const figure = await drive(nodes[0]!, members.slice(1), seconds);
  for (const { mesh } of nodes) mesh.stop();
  show(`in one process, both sides, ${peers} peer${peers > 1 ? 's' : ''}`, figure, peers);
}

async function opened(transport: TcpTransport): Promise<string> {
  const endpoint = await new Promise<{ port: number }>((resolve, reject) => {
    transport.open((error, bound) => (error === null ? resolve(bound!) : reject(error)));
  });
  return `127.0.0.1:${endpoint.port}`;
}

function loopback(): TcpTransport {
  return new TcpTransport({ host: '127.0.0.1', port: 0, tls: null, connectTimeoutMs: 3000 });
}

async function overTcp(peers: number, seconds: number): Promise<void> {
  const children: ChildProcess[] = [];
  const members: Member[] = [];
  const ask = <T>(child: ChildProcess, question: unknown): Promise<T> =>
    new Promise((resolve) => {
      child.once('message', (answer) => resolve(answer as T));
      child.send(question as object);
    });
  const transport = loopback();
  const node = new Node('sender', await opened(transport), transport);
  for (let i = 0; i < peers; i++) {
    const child = fork(fileURLToPath(import.meta.url), ['--peer', `peer-${i}`]);
    children.push(child);
    members.push(await ask<Member>(child, { join: node.member }));
  }
  node.mesh.setMembers('sender', [node.member, ...members]);
  await drive(node, members, 0.5);
  for (const child of children) await ask(child, 'begin');
  const figure = await drive(node, members, seconds);
  const used = await Promise.all(children.map((child) => ask<Figure>(child, 'end')));
  show(`loopback TCP, sender, ${peers} peer${peers > 1 ? 's' : ''}`, figure, peers);
  for (const one of used.slice(0, 1)) {
    show(
      `loopback TCP, receiver, ${peers} peer${peers > 1 ? 's' : ''}`,
      { ...one, wallMs: figure.wallMs + 500 },
      1,
    );
  }
  node.mesh.stop();
  transport.close(() => {});
  for (const child of children) child.disconnect();
}

/** The other end, in a process of its own. */
async function bePeer(name: string): Promise<void> {
  const transport = loopback();
  const node = new Node(name, await opened(transport), transport);
  let cpu = process.cpuUsage();
  let received = 0;
  process.on('message', (question: 'begin' | 'end' | { join: Member }) => {
    if (question === 'begin') {
      cpu = process.cpuUsage();
      ({ received } = node);
      process.send!(null);
    } else if (question === 'end') {
      const used = process.cpuUsage(cpu);
      const messages = node.received - received;
      process.send!({ messages, cpuUs: used.user + used.system, wallMs: 0 });
    } else {
      node.mesh.setMembers(name, [question.join, node.member]);
      process.send!(node.member);
    }
  });
  process.on('disconnect', () => process.exit());
}

if (process.argv[2] === '--peer') {
  await bePeer(process.argv[3]!);
} else {
  const seconds = Number(process.argv[2] ?? 3);
  for (const peers of [1, 3]) await inProcess(peers, seconds);
  for (const peers of [1, 2]) await overTcp(peers, seconds);
}
