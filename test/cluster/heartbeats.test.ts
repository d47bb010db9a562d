// What a node says of itself to each member, and how often.
import t from 'tap';
import { Heartbeats } from '../../src/cluster/heartbeats.ts';
import { decodeHeartbeat } from '../../src/cluster/link/frame-codec.ts';
import { FrameType, type Heartbeat } from '../../src/cluster/ports.ts';

const HEADER_BYTES = 5;

class Sender {
  readonly peers: Map<string, { incarnation: string; heardSentMs: number }> = new Map();
  readonly sent: { readonly peer: string; readonly heartbeat: Heartbeat }[] = [];
  readonly table = { items: 3, digest: 77 };
  hasRedis = true;
  readonly heartbeats: Heartbeats = new Heartbeats({
    mesh: {
      linksUp: 2,
      position: (peer) => peer.length,
      send: (peer, frame) => {
        if (frame[HEADER_BYTES - 1] !== FrameType.HEARTBEAT) throw new Error('another frame');
        const heartbeat = decodeHeartbeat(frame, HEADER_BYTES, frame.length);
        this.sent.push({ peer, heartbeat });
      },
    },
    peers: this.peers,
    table: this.table,
    hasRedis: () => this.hasRedis,
    leaseMs: 3000,
  });

  peer(incarnation: string, heardSentMs: number): void {
    this.peers.set(incarnation, { incarnation, heardSentMs });
  }
}

t.test('each member is told how things are, with the echo of its own', async (t) => {
  const sender = new Sender();
  sender.peer('a', 40);
  sender.peer('bb', 50);
  sender.heartbeats.tick(100);
  const common = { sentMs: 100, hasRedis: true, linksUp: 2, items: 3, digest: 77 };
  t.same(sender.sent, [
    { peer: 'a', heartbeat: { ...common, echoMs: 40, position: 1 } },
    { peer: 'bb', heartbeat: { ...common, echoMs: 50, position: 2 } },
  ]);
});

t.test('six times within a lease, as it is then', async (t) => {
  const sender = new Sender();
  sender.peer('a', 0);
  for (let nowMs = 0; nowMs < 3000; nowMs += 50) sender.heartbeats.tick(nowMs);
  t.same(
    sender.sent.map(({ heartbeat }) => heartbeat.sentMs),
    [0, 500, 1000, 1500, 2000, 2500],
  );
  sender.hasRedis = false;
  sender.table.items = 4;
  sender.heartbeats.tick(3000);
  t.match(sender.sent.at(-1), { heartbeat: { hasRedis: false, items: 4 } });
});
