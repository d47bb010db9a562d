/** Which tenant a client belongs to, by what the configuration says names it. Asked by the gate. */
import type { ConnectRequest } from '../core/ports.ts';
import type { Identified } from './authenticator.ts';

export interface TenantOptions {
  readonly from: 'none' | 'username_prefix' | 'claim' | 'certificate' | 'listener';
  /** Ends the tenant in a user name. */
  readonly separator: string;
  readonly claim: string;
  readonly field: 'organization' | 'organizational_unit';
}

/**
 * '': none. What the credentials themselves say comes first. Null: a token or certificate that ought to
 * name the tenant does not; letting it in as nobody's would let it out of its tenant's quotas.
 */
export function tenantOf(
  options: TenantOptions,
  who: Identified,
  { listener, certificate }: Pick<ConnectRequest, 'listener' | 'certificate'>,
): string | null {
  if (who.tenant !== null) return who.tenant;
  switch (options.from) {
    case 'none':
      return '';
    case 'username_prefix': {
      // Only a proven name counts; one without the separator is nobody's.
      const end = who.user?.indexOf(options.separator) ?? -1;
      return end === -1 ? '' : who.user!.slice(0, end);
    }
    case 'claim': {
      const claim = who.claims?.get(options.claim);
      if (typeof claim === 'string' && claim !== '') return claim;
      return who.claims === null ? '' : null;
    }
    case 'certificate':
      if (certificate === null) return '';
      return (
        (options.field === 'organization'
          ? certificate.organization
          : certificate.organizationalUnit) || null
      );
    case 'listener':
      return listener.name;
  }
}
