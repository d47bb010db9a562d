/**
 * How often somebody may call, counted in memory that does not grow with the number of callers: when
 * there are too many keys the oldest is forgotten. Over rate-limiter-flexible.
 */
import { RateLimiterMemory, type RateLimiterRes } from 'rate-limiter-flexible';
import { formatIpAddress, parseIpAddress } from '../../util/ip-address.ts';

export interface CallRate {
  readonly calls: number;
  readonly perS: number;
  /** How long to refuse once it is exceeded; default: until the period ends. */
  readonly blockS?: number;
}

const KEYS_MAX = 10_000;

export class CallLimiter {
  readonly #limiter: RateLimiterMemory;
  readonly #rate: CallRate;
  readonly #keys: Set<string> = new Set();

  constructor(rate: CallRate) {
    const { calls, perS, blockS = 0 } = rate;
    this.#rate = rate;
    this.#limiter = new RateLimiterMemory({ points: calls, duration: perS, blockDuration: blockS });
  }

  /** Keys remembered now, those included whose time is over. */
  get size(): number {
    return this.#keys.size;
  }

  /** Counts a call; seconds to wait when it is one too many, else 0. */
  async take(key: string): Promise<number> {
    await this.#remember(key);
    try {
      await this.#limiter.consume(key);
      return 0;
    } catch (refusal) {
      if (refusal instanceof Error) throw refusal;
      return seconds(refusal as RateLimiterRes);
    }
  }

  /** Seconds to wait; 0: the next call is taken. Counts nothing. */
  async waitS(key: string): Promise<number> {
    if (!this.#keys.has(key)) return 0;
    const state = await this.#limiter.get(key);
    return state === null || state.consumedPoints <= this.#rate.calls ? 0 : seconds(state);
  }

  async #remember(key: string): Promise<void> {
    // In the order of their last call.
    this.#keys.delete(key);
    this.#keys.add(key);
    if (this.#keys.size <= KEYS_MAX) return;
    const [oldest] = this.#keys;
    this.#keys.delete(oldest!);
    await this.#limiter.delete(oldest!);
  }
}

function seconds({ msBeforeNext }: RateLimiterRes): number {
  return Math.max(1, Math.ceil(msBeforeNext / 1000));
}

/** What failures of an address are counted by: an IPv6 network of 64 bits is one customer. */
export function addressKey(address: string): string {
  const zone = address.indexOf('%');
  const bytes = parseIpAddress(zone === -1 ? address : address.slice(0, zone));
  if (bytes === null || bytes.length === 4) return bytes === null ? '' : formatIpAddress(bytes);
  return formatIpAddress(bytes.slice().fill(0, 8));
}
