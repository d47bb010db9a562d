/** What a decoder refused with: the reason code, or null when it did not refuse. */
import { ProtocolError } from '../../src/wire/protocol-error.ts';

export function reasonCodeOf(run: () => unknown): number | null {
  try {
    run();
    return null;
  } catch (error) {
    if (error instanceof ProtocolError) return error.reasonCode;
    throw error;
  }
}
