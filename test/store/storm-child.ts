/**
 * A process that writes to an embedded store until it is killed, and says on stdout what it was told:
 *
 *   A client seq text   about to append      D client seq   reported durable
 *   S client seq        about to settle      R client seq   release reported durable
 *   X client            about to delete      Y client       deletion reported durable
 *
 * Each line is written at once, so that whatever was said was said before the kill.
 */
import { writeSync } from 'node:fs';
import { makeMessage } from '../../src/core/message.ts';
import { EntryState, QueueEntry } from '../../src/core/queue-entry.ts';
import { systemScheduler } from '../../src/listeners/scheduler.ts';
import { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts';
import { LogRecorder, read, sessionRecord } from '../contract/store-recorder.ts';

const [directory, round] = process.argv.slice(2);
const say = (line: string): void => {
  writeSync(1, `${line}\n`);
};

interface Client {
  readonly clientId: string;
  readonly number: number;
  tailSeq: number;
  /** Durable and not settled. */
  readonly held: QueueEntry[];
}

const store = new EmbeddedStore({
  directory: directory!,
  scheduler: systemScheduler,
  log: new LogRecorder(),
});
const byNumber = new Map<number, Client>();
const afterTicket: { readonly ticket: number; readonly run: () => void }[] = [];
await store.start(
  {
    entryDurable: (entry, number) => {
      const client = byNumber.get(number);
      if (client === undefined) return;
      say(`D ${client.clientId} ${entry.seq}`);
      client.held.push(entry);
    },
    entryFailed: (_entry, number) => say(`failed ${number}`),
    committed: (ticket) => {
      while (afterTicket.length > 0 && afterTicket[0]!.ticket <= ticket) afterTicket.shift()!.run();
    },
  },
  {
    session: ({ record, tailSeq }) => {
      const { clientId, sessionNumber } = record;
      byNumber.set(sessionNumber, { clientId, number: sessionNumber, tailSeq, held: [] });
    },
    retained: () => {},
  },
);
let nextNumber = Math.max(0, ...byNumber.keys()) + 1;
for (const client of byNumber.values()) {
  client.held.push(...(await read(store, client.number, { messagesMax: 500 })));
}

function settle(client: Client, entry: QueueEntry): void {
  say(`S ${client.clientId} ${entry.seq}`);
  entry.state = EntryState.SETTLED;
  store.settle(client.number, entry);
}

/** The subscriber's side: PUBACK, or PUBREC and later PUBCOMP. */
function acknowledge(client: Client): void {
  const entry = client.held.splice(Math.floor(Math.random() * client.held.length), 1)[0]!;
  if (entry.qos === 1 || entry.state === EntryState.RELEASED) {
    settle(client, entry);
    return;
  }
  entry.state = EntryState.RELEASED;
  const ticket = store.release(client.number, entry);
  const run = (): void => {
    say(`R ${client.clientId} ${entry.seq}`);
    if (byNumber.has(client.number)) client.held.push(entry);
  };
  afterTicket.push({ ticket, run });
}

function remove(client: Client): void {
  say(`X ${client.clientId}`);
  byNumber.delete(client.number);
  const run = (): void => say(`Y ${client.clientId}`);
  afterTicket.push({ ticket: store.deleteSession(client.number), run });
}

let messages = 0;
function publish(): void {
  const text = `${round}.${messages++}`.padEnd(Math.random() < 0.02 ? 20_000 : 40, '-');
  const message = makeMessage(messages, 'storm', Buffer.from(text), { qos: 2 });
  const isFanOut = Math.random() < 0.5;
  const all = [...byNumber.values()];
  const receivers = isFanOut ? all : [all[Math.floor(Math.random() * all.length)]!];
  for (const client of receivers) {
    const seq = ++client.tailSeq;
    say(`A ${client.clientId} ${seq} ${text.slice(0, 20)}`);
    const qos = Math.random() < 0.5 ? 1 : 2;
    store.append(client.number, new QueueEntry(seq, message, qos, false, null, false));
  }
}

for (;;) {
  if (byNumber.size < 4 || (byNumber.size < 8 && Math.random() < 0.05)) {
    const number = nextNumber++;
    const clientId = `c${round}-${number}`;
    byNumber.set(number, { clientId, number, tailSeq: 0, held: [] });
    store.saveSession(sessionRecord(number, clientId));
  }
  for (let i = Math.floor(Math.random() * 20); i > 0; i--) publish();
  for (const client of byNumber.values()) {
    for (let i = Math.floor(Math.random() * 18); i > 0 && client.held.length > 0; i--) {
      acknowledge(client);
    }
  }
  if (Math.random() < 0.01) remove([...byNumber.values()][0]!);
  await new Promise(setImmediate);
}
