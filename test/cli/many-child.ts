// Child of `run-many.ts`: runs command lines one after the other in one process and answers with what
// each printed. Standard output is for the answer alone.
import { json } from 'node:stream/consumers';
import { UsageError } from '../../src/cli/command.ts';
import { loadCommand } from '../../src/cli/commands.ts';
import type { Outcome } from './run.ts';

interface Line {
  readonly args: readonly string[];
  readonly cwd: string | null;
  readonly env: Readonly<Record<string, string>>;
}

const write = process.stdout.write.bind(process.stdout);
const own = { ...process.env };
const home = process.cwd();

async function run({ args, cwd, env }: Line): Promise<Outcome> {
  const printed = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    process[name].write = ((chunk: string | Buffer) => {
      printed[name] += String(chunk);
      return true;
    }) as typeof process.stdout.write;
  }
  process.env = { ...own, ...env };
  process.chdir(cwd ?? home);
  const [name = '', ...rest] = args;
  try {
    const command = await loadCommand(name);
    return { code: await command!.run(rest), ...printed };
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    return { code: 1, stdout: printed.stdout, stderr: `${printed.stderr}${error.message}\n` };
  }
}

const outcomes: Outcome[] = [];
for (const line of (await json(process.stdin)) as Line[]) outcomes.push(await run(line));
write(`${JSON.stringify(outcomes)}\n`);
