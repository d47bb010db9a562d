/** `causeway trace`: follows one client or topic on a running node, live. */

import { type Command, EXIT_OK, readArguments, UsageError } from '../command.ts';
import { apiFlags, apiFlagsUsage, makeApiClient } from '../ctl/api-flags.ts';
import { durationS } from '../ctl/duration.ts';
import { exitCodesUsage, explainApiError } from '../ctl/exit-code.ts';
import { safeJson } from '../ctl/terminal-text.ts';
import { type TraceEvent, TraceSummary, traceLine } from '../ctl/trace-text.ts';
import { Output } from '../mqtt/output.ts';
import { onSignal } from '../mqtt/run.ts';

/** No trace is forgotten for longer: the node ends it. */
const DURATION_MAX_S = 3600;

export const command: Command = {
  name: 'trace',
  summary: 'follow one client or topic on a running node',
  usage: `causeway trace [--client ID] [--topic FILTER] [FLAGS]

Shows what a client does, or what happens to the messages of a topic (with both: what fits both),
until Ctrl-C, which ends it with a summary. Nobody else is slowed down: what is too much to tell is
counted instead. Payloads are never shown.

      --client ID          connects, subscriptions, messages of this client
      --topic FILTER       messages and subscriptions of these topics
      --for DURATION       end after that, such as 10min (default and at most 1h)
      --json               one JSON document a line, as the node sends it
${apiFlagsUsage}

-->  to the broker    <--  to the client    x--  dropped, with the reason    --x  refused

${exitCodesUsage}
`,
  async run(args) {
    const flags = readArguments(args, {
      ...apiFlags,
      client: { type: 'string' },
      topic: { type: 'string' },
      for: { type: 'string' },
      json: { type: 'boolean' },
    });
    const single = (name: string): string | undefined => flags.values.get(name)?.[0];
    const [client, topic] = [single('client'), single('topic')];
    if (client === undefined && topic === undefined) {
      throw new UsageError('--client ID or --topic FILTER is needed');
    }
    const duration = single('for');
    const query = {
      client,
      topic,
      durationS: duration === undefined ? DURATION_MAX_S : durationS('--for', duration),
    };
    const api = makeApiClient(flags);
    const output = new Output();
    const summary = new TraceSummary();
    const stopped = new AbortController();
    const forget = onSignal(() => stopped.abort());
    output.onClosed(() => stopped.abort());
    const isJson = flags.values.has('json');
    const show = (value: unknown): void | Promise<void> => {
      const event = (value ?? {}) as TraceEvent;
      summary.add(event);
      const line = isJson ? safeJson(event) : traceLine(event);
      return line === null ? undefined : output.write(Buffer.from(`${line}\n`));
    };
    try {
      await api.lines('/trace', query, show, stopped.signal);
      if (!output.isClosed) process.stderr.write(`causeway trace: ${summary}\n`);
      return EXIT_OK;
    } catch (error) {
      return explainApiError('trace', error);
    } finally {
      forget();
      api.close();
    }
  },
};
