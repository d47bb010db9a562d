// The aedes peer of the benchmark: one process, one loopback listener, in-memory persistence,
// everybody allowed. Started by ../aedes.ts with the port as its only parameter.

import { createServer } from 'node:net';
import { Aedes } from 'aedes';

const port = Number(process.argv[2]);
const broker = await Aedes.createBroker();
const server = createServer({ noDelay: true }, (socket) => {
  broker.handle(socket);
});
server.listen(port, '127.0.0.1');

process.on('SIGTERM', () => {
  process.exit(0);
});
