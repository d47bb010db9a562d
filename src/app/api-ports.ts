/**
 * What the HTTP API asks of the rooms it may not know: bans, rules and quotas behind the ports of
 * `admin/api/ports.ts`. Translates words, decides nothing.
 */
import type { Access } from '../access/access.ts';
import type { AclSubject } from '../access/acl/subject.ts';
import { BanError } from '../access/ban.ts';
import type { Bans } from '../access/bans.ts';
import { ApiError } from '../admin/api/api-error.ts';
import type {
  AclAnswer,
  AclPort,
  AclQuestion,
  BansPort,
  QuotaUsePort,
} from '../admin/api/ports.ts';
import type { Clock, PeerCertificate } from '../core/ports.ts';
import type { QuotaGate } from '../quota/quota-gate.ts';

export function bansPort(bans: Bans, clock: Clock): BansPort {
  return {
    list: () => bans.list(),
    async add({ kind, value, reason, by, expiresInS }) {
      const expiresAtMs = expiresInS === null ? 0 : clock.wallMs() + expiresInS * 1000;
      try {
        const ban = bans.add({ kind, value }, { reason, by, expiresAtMs });
        await bans.saved();
        return ban;
      } catch (error) {
        if (!(error instanceof BanError)) throw error;
        throw new ApiError(error.code === 'full' ? 409 : 422, error.message);
      }
    },
    async remove(id) {
      if (bans.lift(id) === null) return false;
      await bans.saved();
      return true;
    },
  };
}

export function aclPort(access: Access): AclPort {
  return {
    async explain(question): Promise<AclAnswer> {
      const { action, topic, qos, retain } = question;
      const subject = subjectOf(question);
      const { allowed, rule, reason } = await access.explain({
        subject,
        action,
        topic,
        qos,
        retain,
      });
      const { text = null, file = null, line = null } = rule ?? {};
      return { allowed, rule: text, file, line, reason };
    },
  };
}

/** What is not given is not known. */
function subjectOf(question: AclQuestion): AclSubject {
  const { address, listener, claims, certificate } = question;
  return {
    clientId: question.clientId,
    user: question.user,
    tenant: question.tenant,
    remoteAddress: address === '' ? undefined : address,
    listenerName: listener === '' ? undefined : listener,
    certificate: certificate === null ? undefined : withBlanks(certificate),
    claims: claims.size === 0 ? undefined : claims,
    isSuperuser: false,
    grants: null,
  };
}

function withBlanks(certificate: Partial<PeerCertificate>): PeerCertificate {
  return {
    subjectCommonName: '',
    subjectAltNames: [],
    organization: '',
    organizationalUnit: '',
    issuerCommonName: '',
    serialNumber: '',
    fingerprint256: '',
    validToMs: 0,
    ...certificate,
  };
}

/** The fullest of each quota. */
const USE_TOP_MAX = 100;

export function quotaUsePort(gate: QuotaGate): QuotaUsePort {
  return {
    *use() {
      const reached = new Map(Array.from(gate.states(), ({ name, hits }) => [name, hits]));
      for (const { name, of, per, key, used, max, action } of gate.use(USE_TOP_MAX)) {
        const subject = key ?? '(anonymous)';
        yield { name, of, per, subject, used, max, action, reached: reached.get(name) ?? 0 };
      }
    },
  };
}
