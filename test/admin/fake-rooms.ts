// What the API is given by other rooms, as simple things that tests set and look at.
import { ApiError } from '../../src/admin/api/api-error.ts';
import type {
  AclAnswer,
  AclPort,
  AclQuestion,
  Ban,
  BansPort,
  CertificateReport,
  ConfigPort,
  NewBan,
  QuotaUse,
  QuotaUsePort,
  ReloadReport,
  ShownOption,
} from '../../src/admin/api/ports.ts';

export class FakeBans implements BansPort {
  readonly bans: Map<string, Ban> = new Map();
  #next = 1;

  list(): Iterable<Ban> {
    return this.bans.values();
  }

  async add({ kind, value, reason, by, expiresInS }: NewBan): Promise<Ban> {
    if (kind === 'address' && !/^[\d.]+$/.test(value)) {
      const message = 'is no address';
      throw new ApiError(422, `value ${message}`, [{ field: 'value', message }]);
    }
    if (kind === 'user' && value === 'one too many') throw new ApiError(409, 'there are many');
    const ban: Ban = {
      id: `b${this.#next++}`,
      kind,
      value,
      origin: 'operator',
      reason,
      by,
      createdAtMs: 1000,
      expiresAtMs: expiresInS === null ? 0 : 1000 + expiresInS * 1000,
      hits: 0,
    };
    this.bans.set(ban.id, ban);
    return ban;
  }

  async remove(id: string): Promise<boolean> {
    return this.bans.delete(id);
  }
}

export class FakeAcl implements AclPort {
  readonly questions: AclQuestion[] = [];
  answer: AclAnswer = {
    allowed: true,
    rule: 'allow: publish',
    file: 'acl.yaml',
    line: 3,
    reason: 'the rule allows it',
  };

  async explain(question: AclQuestion): Promise<AclAnswer> {
    this.questions.push(question);
    return this.answer;
  }
}

export class FakeQuotas implements QuotaUsePort {
  readonly uses: QuotaUse[] = [];

  use(): Iterable<QuotaUse> {
    return this.uses;
  }
}

export class FakeConfig implements ConfigPort {
  readonly options: ShownOption[] = [
    { path: 'listeners.0.url', value: 'mqtt://127.0.0.1:1883', origin: 'default' },
    { path: 'authentication.chain', value: ['password', 'jwt'], origin: 'node.yaml:3' },
    { path: 'limits.connectionsMax', value: 10, origin: 'CAUSEWAY_LIMITS_CONNECTIONSMAX' },
    { path: 'authentication.http.url', value: null, origin: 'default' },
  ];
  report: ReloadReport = {
    applied: ['limits.connectionsMax'],
    needsRestart: [],
    loaded: {
      ...{ passwordUsers: 3, scramUsers: 1, pskIdentities: 0, tokenKeys: 2 },
      ...{ rules: 1000, quotas: 4 },
    },
    problems: [],
  };
  certificates: CertificateReport = { reloaded: ['mqtts://127.0.0.1:8883'], problems: [] };

  shown(): readonly ShownOption[] {
    return this.options;
  }

  async reload(): Promise<ReloadReport> {
    return this.report;
  }

  async reloadCertificates(): Promise<CertificateReport> {
    return this.certificates;
  }
}
