/**
 * Asks authenticators in order who a client is; the first decisive answer counts. Called by the gate
 * at CONNECT. Fails closed: an authenticator that throws, answers nonsense or takes too long refuses
 * the client; one that knows nothing of the credentials never lets it in. Knows no authenticator by
 * name, and logs nothing a client sent.
 */
import type { Clock, Log } from '../../core/ports.ts';
import type { RefuseReason } from '../../core/refuse-reason.ts';
import { AccessError, joined } from '../access-error.ts';
import type {
  AuthenticationAnswer,
  Authenticator,
  Credentials,
  Identified,
} from '../authenticator.ts';
import { type Prepared, prepareAll } from '../prepared.ts';
import { identified, keptOut } from './answers.ts';

/** Who is asked, and whether a client that shows nothing is let in as nobody. */
export interface ChainPlan {
  readonly links: readonly Authenticator[];
  readonly anonymous: boolean;
}

export interface ChainOptions extends ChainPlan {
  /** Plans of listeners that have their own, by `ListenerInfo.name`. */
  readonly listeners?: ReadonlyMap<string, ChainPlan> | undefined;
  /** For a whole login, all links together. */
  readonly deadlineMs: number;
  readonly clock: Clock;
  readonly log: Log;
}

/** `by` is the kind of the authenticator that decided, or `chain`. */
export type ChainAnswer =
  | { readonly kind: 'accepted'; readonly who: Identified; readonly by: string }
  | {
      readonly kind: 'refused';
      readonly reason: RefuseReason;
      /** For the log. */
      readonly detail: string;
      readonly by: string;
    };

/**
 * An authenticator that keeps users answers this for one it does not have. Before the client is
 * refused the chain awaits `beforeRefusal`, which takes as long as a refusal of a known user.
 */
export interface UnknownUser {
  readonly kind: 'ignored';
  readonly beforeRefusal: () => Promise<RefuseReason>;
}

/** Rises only. */
export interface ChainCounters {
  accepted: number;
  /** Let in without credentials; counted in `accepted` too. */
  anonymous: number;
  refused: number;
  /** An authenticator failed or answered nonsense; counted in `refused` too. */
  failures: number;
  /** No answer within the deadline; counted in `refused` too. */
  deadlines: number;
}

/** One walk along the chain. */
interface Login {
  readonly credentials: Credentials;
  readonly plan: ChainPlan;
  readonly unknownTo: UnknownUser[];
  next: number;
  /** The deadline is over: no further link is asked. */
  isOver: boolean;
}

const nobody = identified(null);

/** At most one line in this time about failing authenticators. */
const LOG_INTERVAL_MS = 1000;

export class AuthenticationChain {
  readonly counters: ChainCounters = {
    accepted: 0,
    anonymous: 0,
    refused: 0,
    failures: 0,
    deadlines: 0,
  };
  readonly #options: ChainOptions;
  /** Those that hold users themselves. */
  readonly #keepers: readonly Authenticator[];
  #loggedAtMs = Number.NEGATIVE_INFINITY;
  #unlogged = 0;

  constructor(options: ChainOptions) {
    this.#options = options;
    this.#keepers = this.links.filter(({ isSuperuser }) => isSuperuser !== undefined);
  }

  /** Whether a link knows the user as a superuser; those that would have to ask somebody do not. */
  isSuperuser(user: string): boolean {
    return this.#keepers.some((link) => link.isSuperuser?.(user) === true);
  }

  /** What the link of this kind has read; 0: there is none. */
  entriesOf(kind: string): number {
    return this.links.find((link) => link.kind === kind)?.entries ?? 0;
  }

  /** Every authenticator of every plan, once. */
  get links(): readonly Authenticator[] {
    const plans = [this.#options, ...(this.#options.listeners?.values() ?? [])];
    return [...new Set(plans.flatMap(({ links }) => links))];
  }

  /** Starts all; when some cannot, stops the others and throws one AccessError with all problems. */
  async start(): Promise<void> {
    // `async`, so that one that throws at once counts as one that rejects.
    const outcomes = await Promise.allSettled(this.links.map(async (link) => link.start()));
    const failures = outcomes.flatMap((outcome) =>
      outcome.status === 'rejected' ? [outcome.reason] : [],
    );
    if (failures.length === 0) return;
    await this.stop();
    throw joined(failures);
  }

  /** Has all read their files again; all problems are thrown together. */
  prepare(): Promise<Prepared> {
    return prepareAll(this.links.map((link) => () => link.prepare()));
  }

  async stop(): Promise<void> {
    await Promise.allSettled(this.links.map((link) => link.stop()));
  }

  /** Decides at once when every link that is asked does. */
  authenticate(credentials: Credentials): ChainAnswer | Promise<ChainAnswer> {
    const plan = this.#options.listeners?.get(credentials.listener.name) ?? this.#options;
    const login: Login = { credentials, plan, unknownTo: [], next: 0, isOver: false };
    const answer = this.#walk(login);
    return answer instanceof Promise ? this.#inTime(login, answer) : this.#count(answer);
  }

  #walk(login: Login): ChainAnswer | Promise<ChainAnswer> {
    const { links } = login.plan;
    while (login.next < links.length) {
      const link = links[login.next]!;
      login.next += 1;
      let answer: AuthenticationAnswer | Promise<AuthenticationAnswer>;
      try {
        answer = link.authenticate(login.credentials);
      } catch (error) {
        return this.#failed(login, link, error);
      }
      if (isThenable(answer)) return this.#later(login, link, answer);
      const decision = this.#judge(login, link, answer);
      if (decision !== null) return decision;
    }
    return this.#undecided(login);
  }

  async #later(
    login: Login,
    link: Authenticator,
    pending: Promise<AuthenticationAnswer>,
  ): Promise<ChainAnswer> {
    let answer: AuthenticationAnswer;
    try {
      answer = await pending;
    } catch (error) {
      return this.#failed(login, link, error);
    }
    const decision = this.#judge(login, link, answer);
    if (decision !== null) return decision;
    // The client has its answer; asking on would only cost the backends.
    if (login.isOver) return late;
    return this.#walk(login);
  }

  /** What the answer of a link decides, or null when the next one is to be asked. */
  #judge(
    login: Login,
    link: Authenticator,
    answer: AuthenticationAnswer | UnknownUser,
  ): ChainAnswer | Promise<ChainAnswer> | null {
    const by = link.kind;
    switch (answer?.kind) {
      case 'accepted': {
        const user = answer.who?.user;
        if (user === null || (typeof user === 'string' && user !== '')) {
          return { kind: 'accepted', who: answer.who, by };
        }
        break;
      }
      case 'refused':
        return this.#refuse(login, answer.reason, answer.detail, by);
      case 'ignored':
        if ('beforeRefusal' in answer) login.unknownTo.push(answer);
        return null;
    }
    return this.#failed(login, link, new TypeError('an answer that is none'));
  }

  /** Every link was asked and none had an opinion. */
  #undecided(login: Login): ChainAnswer | Promise<ChainAnswer> {
    const { username, password, certificate, pskIdentity } = login.credentials;
    const showsNothing =
      username === null && password === null && certificate === null && pskIdentity === null;
    if (!showsNothing) {
      return this.#refuse(login, 'bad_credentials', 'nobody knows these credentials', 'chain');
    }
    if (login.plan.anonymous) return { kind: 'accepted', who: nobody, by: 'anonymous' };
    return this.#refuse(login, 'not_authorized', 'the client shows no credentials', 'chain');
  }

  /** Not before a refusal of a known user would have come. */
  #refuse(
    login: Login,
    reason: RefuseReason,
    detail: string,
    by: string,
  ): ChainAnswer | Promise<ChainAnswer> {
    const refusal: ChainAnswer = { kind: 'refused', reason, detail, by };
    // Who is kept out is so whoever it says it is: there is nothing to hide.
    const isAtOnce = login.unknownTo.length === 0 || reason === keptOut.reason;
    return isAtOnce ? refusal : this.#spend(login, refusal);
  }

  async #spend(
    login: Login,
    refusal: Extract<ChainAnswer, { kind: 'refused' }>,
  ): Promise<ChainAnswer> {
    try {
      for (const unknown of login.unknownTo) {
        const reason = await unknown.beforeRefusal();
        if (reason === 'authentication_busy' || reason === keptOut.reason) {
          return { ...refusal, reason };
        }
      }
    } catch (error) {
      this.#complain('password', describe(error));
      return { ...refusal, reason: 'authentication_unavailable' };
    }
    return refusal;
  }

  #failed(login: Login, link: Authenticator, error: unknown): ChainAnswer {
    this.counters.failures += 1;
    if (!login.isOver) this.#complain(link.kind, describe(error));
    const detail = 'the authenticator failed';
    return { kind: 'refused', reason: 'authentication_unavailable', detail, by: link.kind };
  }

  /** The answer, or a refusal when it does not come within the deadline. */
  #inTime(login: Login, answer: Promise<ChainAnswer>): Promise<ChainAnswer> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        login.isOver = true;
        this.counters.deadlines += 1;
        const asked = login.plan.links[login.next - 1]?.kind ?? 'chain';
        this.#complain(asked, { error: 'deadline', deadlineMs: this.#options.deadlineMs });
        resolve(this.#count(late));
      }, this.#options.deadlineMs);
      const decide = (decided: ChainAnswer): void => {
        clearTimeout(timer);
        if (!login.isOver) resolve(this.#count(decided));
      };
      answer.then(decide, (error: unknown) => {
        this.#complain('chain', describe(error));
        decide({ ...late, detail: 'the chain failed' });
      });
    });
  }

  #count(answer: ChainAnswer): ChainAnswer {
    this.counters[answer.kind] += 1;
    if (answer.kind === 'accepted' && answer.by === 'anonymous') this.counters.anonymous += 1;
    return answer;
  }

  #complain(authenticator: string, what: object): void {
    const nowMs = this.#options.clock.monotonicMs();
    if (nowMs - this.#loggedAtMs < LOG_INTERVAL_MS) {
      this.#unlogged += 1;
      return;
    }
    const fields = { authenticator, ...what, unlogged: this.#unlogged };
    this.#loggedAtMs = nowMs;
    this.#unlogged = 0;
    this.#options.log.error(fields, 'an authenticator failed: its clients are refused');
  }
}

/** To a client that waited in vain. */
const late: Extract<ChainAnswer, { kind: 'refused' }> = {
  kind: 'refused',
  reason: 'authentication_unavailable',
  detail: 'no answer within the deadline',
  by: 'chain',
};

function isThenable<Value>(value: Value | Promise<Value>): value is Promise<Value> {
  return value instanceof Promise || typeof (value as Promise<Value> | null)?.then === 'function';
}

/** Name and code only: a message may hold a URL with a password, or a token. */
function describe(error: unknown): object {
  if (!(error instanceof Error)) return { error: typeof error };
  // An AccessError promises to hold no secret.
  if (error instanceof AccessError) return { error: error.name, message: error.message };
  const { code } = error as NodeJS.ErrnoException;
  return typeof code === 'string' ? { error: error.name, code } : { error: error.name };
}
