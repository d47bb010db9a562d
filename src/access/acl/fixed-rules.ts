/** Rights that do not depend on any rule: everything or nothing (data plane). */
import type { ClientRules } from './client-rules.ts';
import type { Decision } from './decision.ts';

export class FixedRules implements ClientRules {
  readonly version: number;
  readonly filtersReceive = false;
  readonly variesByMessage = false;
  readonly #decision: Decision;

  constructor(version: number, decision: Decision) {
    this.version = version;
    this.#decision = decision;
  }

  publish(): Decision {
    return this.#decision;
  }

  subscribe(): Decision {
    return this.#decision;
  }

  receive(): Decision {
    return this.#decision;
  }

  ruleOf(): null {
    return null;
  }
}
