/**
 * The log of a node: pino, JSON lines on stdout, or readable lines on a terminal. Written without
 * blocking, so a reader of stdout that stalls does not stall the broker; what then does not fit is
 * dropped and counted. Made by the composition root.
 */
import { type DestinationStream, destination, type Logger, pino, stdTimeFunctions } from 'pino';
import type { LogConfig, LogLevel } from '../config/config.ts';

/** Held while stdout takes nothing. */
const BUFFER_BYTES_MAX = 4 * 1024 * 1024;
/** A reader of stdout that takes nothing does not keep the process from ending. */
const FLUSH_MS_MAX = 1000;

export interface NodeLog {
  readonly log: Logger;
  setLevel(level: LogLevel): void;
  /** Resolves when all is written, or soon when stdout takes nothing; before the process ends. */
  flush(): Promise<void>;
  /** The same without waiting, for a process that must not go on. */
  flushNow(): void;
}

export async function createLog(config: LogConfig, isTerminal: boolean): Promise<NodeLog> {
  const isPretty = config.format === 'pretty' || (config.format === 'auto' && isTerminal);
  const stream = isPretty ? await prettyStream() : jsonStream();
  const log = pino(
    {
      level: config.level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    stream.to,
  );
  stream.onDropped((count) => log.warn({ count }, 'log entries were dropped, stdout was not read'));
  return {
    log,
    setLevel: (level) => {
      log.level = level;
    },
    flush: stream.flush,
    flushNow: stream.flushNow,
  };
}

interface LogStream {
  readonly to: DestinationStream;
  readonly flush: () => Promise<void>;
  readonly flushNow: () => void;
  readonly onDropped: (tell: (count: number) => void) => void;
}

function jsonStream(): LogStream {
  // With a minimum of 0, its default, `flush` would wait for nothing.
  const to = destination({ dest: 1, sync: false, minLength: 1, maxLength: BUFFER_BYTES_MAX });
  let droppedCount = 0;
  to.on('drop', () => {
    droppedCount += 1;
  });
  const flush = async (): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, FLUSH_MS_MAX);
    to.flush(() => resolve());
    await promise;
    clearTimeout(timer);
  };
  const flushNow = (): void => {
    try {
      to.flushSync();
    } catch {
      // stdout is gone, and with it the only place to say so
    }
  };
  const onDropped = (tell: (count: number) => void): void => {
    to.on('drain', () => {
      if (droppedCount === 0) return;
      const count = droppedCount;
      droppedCount = 0;
      tell(count);
    });
  };
  return { to, flush, flushNow, onDropped };
}

/** Loaded only when somebody looks: it costs as much as the rest of the log together. */
async function prettyStream(): Promise<LogStream> {
  const { default: pretty } = await import('pino-pretty');
  const to = pretty({ destination: 1, sync: true, translateTime: 'SYS:HH:MM:ss.l' });
  return { to, flush: async () => {}, flushNow: () => {}, onDropped: () => {} };
}
