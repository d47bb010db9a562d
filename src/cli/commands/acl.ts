/** `causeway acl test`: may this client do that, and which rule says so. */
import { readFileSync } from 'node:fs';
import { AccessError } from '../../access/access-error.ts';
import { type Explanation, explain } from '../../access/acl/explain.ts';
import type { AclAction } from '../../access/acl/granted-rule.ts';
import { loadRules } from '../../access/acl/load-rules.ts';
import { openRules } from '../../access/acl/rule-set.ts';
import { parsePasswordFile } from '../../access/authn/password-file.ts';
import type { Config } from '../../config/config.ts';
import { systemScheduler } from '../../listeners/scheduler.ts';
import {
  type Command,
  EXIT_FAILED,
  EXIT_OK,
  type Flags,
  readArguments,
  UsageError,
} from '../command.ts';
import { configFlags, loadOrExplain, requestConfig } from '../config-flags.ts';
import { apiFlags, makeApiClient } from '../ctl/api-flags.ts';
import { explainApiError } from '../ctl/exit-code.ts';
import { safeJson, safeText } from '../ctl/terminal-text.ts';

const EXIT_DENIED = 1;
const actions: readonly AclAction[] = ['publish', 'subscribe', 'receive'];

/** As the API takes it. */
interface Question {
  readonly user: string | null;
  readonly clientId: string;
  readonly action: AclAction;
  readonly topic: string;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  readonly address?: string;
  readonly listener?: string;
  readonly tenant?: string;
  readonly claims?: Readonly<Record<string, string | readonly string[]>>;
}

interface Answer {
  readonly allowed: boolean;
  readonly reason: string;
  readonly notes?: readonly string[];
}

export const command: Command = {
  name: 'acl',
  summary: 'ask which rule lets a client publish, subscribe or receive',
  usage: `causeway acl test USER CLIENTID publish|subscribe|receive TOPIC [FLAGS]

Says allow or deny, and the rule that decides with its file and line. Without --url the rule file of
a configuration is asked, no node has to run; with --url a running node, with the rules it has now.
USER is - for a client without one. For subscribe TOPIC is a topic filter.

      --qos N              0 (default), 1 or 2
      --retain             the message is to be retained
      --address ADDRESS    where the client comes from
      --listener NAME      where it connects
      --tenant NAME        whose it is (default: as the password file says)
      --claim NAME=VALUE   of its token; the same name again makes a list
      --json               one JSON document
  -c, --config FILE        configuration whose rule file is asked (option authorization.rulesFile)
      --set NAME=VALUE     any option of it
      --url URL            ask the node at http(s)://HOST:PORT instead
      --token-file FILE    token for it (default: the variable CAUSEWAY_API_TOKEN)
      --ca FILE            authorities to trust instead of the system's

What is not told counts as not known: a rule that asks for it may deny, but does not allow.

Exit codes: 0 allowed; 1 denied; 2 not answered: a wrong command line, rules that do not load, a
node that cannot be reached; 3 the token is missing, wrong or its role not enough.
`,
  async run(args) {
    try {
      return await test(args);
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      // Not 1: that is a denial.
      process.stderr.write(`causeway acl: ${error.message}\n`);
      process.stderr.write('causeway: causeway acl --help shows its usage\n');
      return EXIT_FAILED;
    }
  },
};

async function test(args: readonly string[]): Promise<number> {
  const flags = readArguments(
    args,
    {
      config: configFlags.config!,
      set: configFlags.set!,
      ...apiFlags,
      qos: { type: 'string' },
      retain: { type: 'boolean' },
      address: { type: 'string' },
      listener: { type: 'string' },
      tenant: { type: 'string' },
      claim: { type: 'string', multiple: true },
      json: { type: 'boolean' },
    },
    5,
  );
  const question = readQuestion(flags);
  if (flags.values.has('url')) return askNode(flags, question);
  for (const name of ['token-file', 'ca']) {
    if (flags.values.has(name)) throw new UsageError(`--${name} needs --url`);
  }
  const loaded = loadOrExplain(requestConfig(flags, undefined));
  if (loaded === null) return EXIT_FAILED;
  try {
    return tell(flags, await askRules(loaded.config, question));
  } catch (error) {
    if (!(error instanceof AccessError)) throw error;
    process.stderr.write(`${safeText(error.message)}\n`);
    return EXIT_FAILED;
  }
}

function readQuestion(flags: Flags): Question {
  const [verb, user, clientId, action, topic] = flags.positionals;
  if (verb !== 'test') throw new UsageError('what can be done: acl test');
  if (topic === undefined) {
    throw new UsageError('test needs USER, CLIENTID, publish|subscribe|receive and TOPIC');
  }
  const known = actions.find((one) => one === action);
  if (known === undefined) throw new UsageError(`the action is one of ${actions.join(', ')}`);
  const single = (name: string): string | undefined => flags.values.get(name)?.[0];
  const qos = Number(single('qos') ?? 0);
  if (qos !== 0 && qos !== 1 && qos !== 2) throw new UsageError('--qos is 0, 1 or 2');
  const claims = readClaims(flags.values.get('claim') ?? []);
  const [address, listener, tenant] = ['address', 'listener', 'tenant'].map(single);
  return {
    user: user === '-' ? null : user!,
    clientId: clientId!,
    action: known,
    topic,
    qos,
    retain: flags.values.has('retain'),
    ...(address === undefined ? {} : { address }),
    ...(listener === undefined ? {} : { listener }),
    ...(tenant === undefined ? {} : { tenant }),
    ...(claims.size === 0 ? {} : { claims: Object.fromEntries(claims) }),
  };
}

function readClaims(given: readonly string[]): Map<string, string | string[]> {
  const claims = new Map<string, string | string[]>();
  for (const text of given) {
    const at = text.indexOf('=');
    if (at < 1) throw new UsageError('--claim needs NAME=VALUE');
    const [name, value] = [text.slice(0, at), text.slice(at + 1)];
    const before = claims.get(name);
    claims.set(name, before === undefined ? value : [before, value].flat());
  }
  return claims;
}

async function askNode(flags: Flags, question: Question): Promise<number> {
  const api = makeApiClient(flags);
  try {
    return tell(flags, (await api.send('POST', '/acl/test', {}, question)) as Answer);
  } catch (error) {
    const code = explainApiError('acl', error);
    return code === EXIT_DENIED ? EXIT_FAILED : code;
  } finally {
    api.close();
  }
}

async function askRules(config: Config, question: Question): Promise<Explanation> {
  const { authorization } = config;
  const { rulesFile } = authorization;
  if (authorization.http !== undefined || authorization.redis !== undefined) {
    process.stderr.write(
      'causeway acl: only the rule file is asked; --url asks a node with all its sources\n',
    );
  }
  const { user } = question;
  const stored = user === null ? null : await storedUser(config, user);
  const claims =
    question.claims === undefined ? undefined : new Map(Object.entries(question.claims));
  const rules = rulesFile === undefined ? openRules() : await loadRules(rulesFile, systemScheduler);
  return explain(rules, {
    subject: {
      clientId: question.clientId,
      user,
      tenant: question.tenant ?? stored?.tenant ?? '',
      remoteAddress: question.address,
      listenerName: question.listener,
      certificate: undefined,
      claims,
      isSuperuser: stored?.superuser ?? false,
      grants: null,
    },
    action: question.action,
    topic: question.topic,
    qos: question.qos,
    retain: question.retain,
  });
}

/** What the password file says of the user beside the password; null: nothing. */
async function storedUser(
  { authentication }: Config,
  user: string,
): Promise<{ readonly tenant: string | null; readonly superuser: boolean } | null> {
  const file = authentication.password?.file;
  if (file === undefined || !authentication.chain.includes('password')) return null;
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    const why = (error as Error).message;
    process.stderr.write(`causeway acl: tenant and superuser are not known: ${why}\n`);
    return null;
  }
  return (await parsePasswordFile(bytes, file)).get(user) ?? null;
}

function tell(flags: Flags, answer: Answer): number {
  if (flags.values.has('json')) process.stdout.write(`${safeJson(answer, 2)}\n`);
  else {
    const lines = [answer.allowed ? 'allow' : 'deny', answer.reason, ...(answer.notes ?? [])];
    process.stdout.write(
      lines.map((line, index) => `${index > 1 ? '  ' : ''}${safeText(line)}\n`).join(''),
    );
  }
  return answer.allowed ? EXIT_OK : EXIT_DENIED;
}
