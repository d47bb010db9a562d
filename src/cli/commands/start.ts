/**
 * `causeway start`: runs a node until a signal ends it. Signals, the last exception and the exit code
 * are here; everything else is `app/node.ts`, loaded after the configuration was found good.
 */

import type { NodeLog } from '../../app/logger.ts';
import type { BrokerNode } from '../../app/node.ts';
import { type Command, EXIT_FAILED, EXIT_OK, EXIT_USAGE, readArguments } from '../command.ts';
import {
  type ConfigRequest,
  configFlags,
  configFlagsUsage,
  configSourcesUsage,
  loadOrExplain,
  requestConfig,
} from '../config-flags.ts';
import { version } from '../version.ts';

/** Beyond shutdownGraceMs, for a store that is slow to close. */
const STOP_MARGIN_MS = 1000;

export const command: Command = {
  name: 'start',
  summary: 'run the broker',
  usage: `causeway start [FLAGS]

Runs a broker until SIGTERM or SIGINT. Without flags: MQTT on 127.0.0.1:1883, WebSocket on
127.0.0.1:8083/mqtt, metrics and health on 127.0.0.1:8080, data in ./data.

${configFlagsUsage}

${configSourcesUsage}

Signals:
  SIGTERM, SIGINT     stop: no new clients, DISCONNECT 0x8B to all, flush, close; within
                      shutdownGraceMs. A second one ends the process at once.
  SIGHUP              reload the configuration and certificates. Errors change nothing; options
                      that need a restart are named in the log.

Logs are JSON lines on stdout, or readable lines when stdout is a terminal.
`,
  async run(args) {
    const request = requestConfig(readArguments(args, configFlags), undefined);
    const loaded = loadOrExplain(request);
    if (loaded === null) return EXIT_USAGE;
    const { createLog } = await import('../../app/logger.ts');
    const log = await createLog(loaded.config.log, process.stdout.isTTY === true);
    crashOnException(log);
    return runNode(request, loaded, log);
  },
};

/** Crash-only: after an error nobody expected no state can be trusted but what is on disk. */
function crashOnException(log: NodeLog): void {
  process.on('uncaughtException', (error, origin) => {
    log.log.fatal({ err: error, origin }, 'unexpected error, the process ends');
    log.flushNow();
    process.exit(EXIT_USAGE);
  });
}

async function runNode(
  request: ConfigRequest,
  loaded: ReturnType<ConfigRequest['load']>,
  log: NodeLog,
): Promise<number> {
  const { promise: asked, resolve: ask } = Promise.withResolvers<NodeJS.Signals>();
  let isAsked = false;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (isAsked) endNow(log);
      isAsked = true;
      ask(signal);
    });
  }

  let node: BrokerNode | null = null;
  // Before the node is there its default would end the process.
  process.on('SIGHUP', () => void node?.reload());
  try {
    const { BrokerNode } = await import('../../app/node.ts');
    node = await BrokerNode.start({
      loaded,
      load: request.load,
      log,
      version,
      stopAsked: asked,
    });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    // An error with a code is about this machine, not about this program: no stack.
    log.log.fatal(code === undefined ? { err: error } : { code }, `cannot start: ${message}`);
    return end(log, EXIT_FAILED);
  }
  const signal = await asked;
  log.log.info({ signal }, 'stopping');
  const graceMs = node.shutdownGraceMs;
  setTimeout(() => {
    log.log.error({ graceMs }, 'not stopped within shutdownGraceMs, ending all the same');
    endNow(log);
  }, graceMs + STOP_MARGIN_MS);
  await node.stop();
  log.log.info({ signal }, 'stopped');
  return end(log, EXIT_OK);
}

/** Ends although sockets linger and timers wait: they are of no use any more. */
async function end(log: NodeLog, code: number): Promise<never> {
  await log.flush();
  process.exit(code);
}

function endNow(log: NodeLog): never {
  log.flushNow();
  process.exit(EXIT_FAILED);
}
