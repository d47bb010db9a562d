/**
 * The wills of sessions: whether one is published now, after its delay or never, and whether its client still
 * may. Called by sessions.ts when a connection ends, by the clock, and for wills that nodes share.
 */
import { Timer } from '../util/timer-wheel.ts';
import { whenSafe } from './awaited.ts';
import type { Core } from './core.ts';
import { type Message, makeMessage } from './message.ts';
import { type ClientGate, WAIT } from './ports.ts';
import type { Principal } from './principal.ts';
import type { Publisher } from './publisher.ts';
import type { Session } from './session.ts';
import type { AppendIdentity } from './shared-append.ts';
import { setWallTimer } from './wall-timer.ts';

export class Wills {
  readonly #core: Core;
  readonly #publisher: Publisher;
  readonly #save: (session: Session) => void;

  /** `save`: the record of the session has changed by itself. */
  constructor(core: Core, publisher: Publisher, save: (session: Session) => void) {
    this.#core = core;
    this.#publisher = publisher;
    this.#save = save;
  }

  /** The connection has ended without a goodbye. */
  leave(session: Session): void {
    const { will } = session;
    if (will === null) {
      this.forget(session);
    } else if (will.delayS === 0 || session.expiryIntervalS === 0) {
      this.fire(session);
    } else {
      session.willDueAtMs = session.disconnectedAtMs + will.delayS * 1000;
      this.arm(session);
    }
  }

  /** It is not sent [MQTT5-3.1.2-10]. */
  forget(session: Session): void {
    session.will = null;
    session.willGate = null;
  }

  /** Nor is one that waits for its delay. */
  cancel(session: Session): void {
    this.forget(session);
    session.willDueAtMs = 0;
    if (session.willTimer !== null) this.#core.wheel.cancel(session.willTimer);
  }

  /** Publishes it, if there is one and its client may. */
  fire(session: Session): void {
    const { will, willGate } = session;
    this.cancel(session);
    if (will === null) return;
    this.#ask(session.principal, willGate, will.message, (message) => {
      if (message !== null) this.#publisher.publish(message, session);
    });
  }

  /** Fires at `willDueAtMs`. */
  arm(session: Session): void {
    session.willTimer ??= new Timer({
      onTimer: () => {
        if (session.ended || session.willDueAtMs === 0) return;
        if (this.#core.clock.wallMs() < session.willDueAtMs) {
          this.arm(session);
          return;
        }
        this.fire(session);
        this.#save(session);
      },
    });
    setWallTimer(this.#core, session.willTimer, session.willDueAtMs);
  }

  /**
   * Publishes a will of a session that other nodes may know of too: queues take it once under this
   * name. `settled` when it is safe, or must not be published.
   */
  publish(
    principal: Principal,
    willGate: ClientGate | null,
    will: Message,
    identity: AppendIdentity,
    settled: (failed: boolean) => void,
  ): void {
    this.#ask(principal, willGate, will, (message) => {
      if (message === null) {
        settled(false);
        return;
      }
      const from = this.#core.sessions.get(principal.clientId) ?? null;
      this.#publisher.publishAs(message, from, identity);
      whenSafe(message, () => settled(message.failed));
    });
  }

  /** The right to it may be gone since CONNECT (FIELD class 5). Null: it is not published. */
  #ask(
    principal: Principal,
    willGate: ClientGate | null,
    will: Message,
    answer: (message: Message | null) => void,
  ): void {
    const core = this.#core;
    const decided = (allowed: boolean): void => {
      if (!allowed) core.drop('will_not_authorized', principal.clientId, will.topic);
      else core.stats.willsPublished++;
      answer(allowed ? this.#stamped(will) : null);
    };
    if (core.gate === null) {
      decided(true);
      return;
    }
    const allowed = core.gate.will(principal, willGate, will, decided);
    if (allowed !== WAIT) decided(allowed);
  }

  /** A will's `expiresAtMs` is an interval until it is published: then it becomes a deadline. */
  #stamped(will: Message): Message {
    if (will.expiresAtMs === 0) return will;
    return makeMessage(will.sequence, will.topic, will.payload, {
      qos: will.qos,
      retain: will.retain,
      properties: will.properties,
      expiresAtMs: this.#core.clock.wallMs() + will.expiresAtMs,
    });
  }
}
