/**
 * A whole garbage collection, after which V8 gives back to the system what it holds and does not use. It
 * does not of its own accord: a node at rest would keep for ever what its start has left behind, about
 * 70 MiB after a million retained messages.
 */

/** Beyond, the pause could be of seconds on a busy machine: other nodes would take this one for dead. */
const HEAP_BYTES_MAX = 128 * 1024 * 1024;

/** False: it was not done. */
export async function collectGarbage(heapBytesMax: number = HEAP_BYTES_MAX): Promise<boolean> {
  // Some builds of Node are without.
  if (!process.features.inspector) return false;
  if (process.memoryUsage().heapUsed > heapBytesMax) return false;
  const { Session } = process.getBuiltinModule('node:inspector/promises');
  const session = new Session();
  session.connect();
  try {
    await session.post('HeapProfiler.collectGarbage');
  } finally {
    session.disconnect();
  }
  return true;
}
