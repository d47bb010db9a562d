/**
 * Two links that no configuration names: the health probe of this process proves itself with a secret
 * of this process, and where nobody is asked who they are, everybody comes in as nobody.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import type {
  AuthenticationAnswer,
  Authenticator,
  AuthenticatorCounters,
  Credentials,
  Identified,
} from '../access/authenticator.ts';
import { type Prepared, prepared } from '../access/prepared.ts';

const SECRET_BYTES = 32;
/** Topics `/health/full` uses. */
const PROBE_TOPICS = 'causeway/health/#';

abstract class OwnLogin implements Authenticator {
  abstract readonly kind: string;
  readonly counters: AuthenticatorCounters = {
    accepted: 0,
    refused: 0,
    ignored: 0,
    errors: 0,
    cacheHits: 0,
  };

  abstract authenticate(credentials: Credentials): AuthenticationAnswer;

  async start(): Promise<void> {
    // Nothing to read.
  }

  async prepare(): Promise<Prepared> {
    // As at start.
    return prepared(() => {});
  }

  async stop(): Promise<void> {
    // Nothing is open.
  }

  protected accept(who: Identified): AuthenticationAnswer {
    this.counters.accepted += 1;
    return { kind: 'accepted', who };
  }
}

export class ProbeLogin extends OwnLogin {
  readonly kind = 'probe';
  readonly username: string = `$probe-${randomBytes(8).toString('hex')}`;
  readonly password: string = randomBytes(SECRET_BYTES).toString('base64url');
  readonly #secret: Buffer = Buffer.from(this.password);

  isOwn(username: string | null, password: Buffer | null): boolean {
    return (
      username === this.username &&
      password?.length === this.#secret.length &&
      timingSafeEqual(password, this.#secret)
    );
  }

  authenticate({ username, password }: Credentials): AuthenticationAnswer {
    if (!this.isOwn(username, password)) {
      this.counters.ignored += 1;
      return { kind: 'ignored' };
    }
    const rule = { allow: true, topic: PROBE_TOPICS, qos: null, retain: null, source: 'probe' };
    return this.accept({
      user: this.username,
      tenant: '',
      claims: null,
      expiresAtMs: 0,
      rules: [{ ...rule, actions: ['publish', 'subscribe'] }],
      superuser: false,
    });
  }
}

export class EverybodyLogin extends OwnLogin {
  readonly kind = 'everybody';

  authenticate(): AuthenticationAnswer {
    return this.accept({
      user: null,
      tenant: null,
      claims: null,
      expiresAtMs: 0,
      rules: null,
      superuser: false,
    });
  }
}
