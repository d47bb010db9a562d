/** Flags of `causeway import aedes`, apart from what it does: that loads the store's native part. */
export const AEDES_FLAGS = {
  from: { type: 'string' },
  data: { type: 'string' },
  'dry-run': { type: 'boolean' },
  prefix: { type: 'string' },
  identity: { type: 'string' },
  identities: { type: 'string' },
  tenant: { type: 'string' },
  'session-expiry': { type: 'string' },
  'redis-ca': { type: 'string' },
  'redis-password-file': { type: 'string' },
} as const;
