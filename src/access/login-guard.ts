/**
 * Who guesses passwords has to wait: failed logins are counted by address (IPv6: its /64), and by
 * address and user name together, so that one device with an old password stands alone behind its
 * gateway. Never by user name alone: that would let anybody lock anybody out. What it decides is a ban
 * (`bans.ts`), which the gate looks up before any password is hashed.
 */
import type { Clock } from '../core/ports.ts';
import {
  containsAddress,
  formatIpAddress,
  type IpNetwork,
  parseIpNetwork,
} from '../util/ip-address.ts';
import { AccessError } from './access-error.ts';
import { type Ban, clientAddressBytes } from './ban.ts';
import { type Block, Escalation, type EscalationOptions } from './ban-escalation.ts';
import type { Bans } from './bans.ts';
import type { SharedCounting, Tally } from './tally.ts';

export interface LoginGuardOptions {
  /** Failed logins of one address within the window until it has to wait; 0: nobody ever has to. */
  readonly failuresMax: number;
  readonly windowS: number;
  readonly blockS: number;
  readonly blockMaxS: number;
  /** Addresses and networks that are never blocked: gateways, probes. Loopback is not among them. */
  readonly trustedAddresses?: readonly string[] | undefined;
}

/** Addresses remembered, and pairs of address and user. */
const KEYS_MAX = 50_000;
/** A name this long is no user of ours: its failures count for the address alone. */
const USER_CHARACTERS_MAX = 256;
/** One user name from one address may fail a third as often as the address. */
const PAIR_SHARE = 3;
const IPV6_SITE_BYTES = 8;

export class LoginGuard {
  readonly #bans: Bans;
  readonly #clock: Clock;
  readonly #addresses: Escalation;
  readonly #pairs: Escalation;
  /** Null: this node is alone. */
  readonly #sharing: SharedCounting | null;
  #sharedAddresses: Tally | null = null;
  #sharedPairs: Tally | null = null;
  #isOn = false;
  #trusted: readonly IpNetwork[] = [];

  /** Throws an AccessError when a trusted address is none. */
  constructor(
    options: LoginGuardOptions,
    bans: Bans,
    clock: Clock,
    keysMax: number = KEYS_MAX,
    sharing: SharedCounting | null = null,
  ) {
    this.#bans = bans;
    this.#clock = clock;
    this.#sharing = sharing;
    this.#addresses = new Escalation(addressTerms(options), clock, keysMax);
    this.#pairs = new Escalation(pairTerms(options), clock, keysMax);
    this.revise(options);
  }

  /** After a reload. Blocks that are in force stay, but for addresses that are trusted now. */
  revise(options: LoginGuardOptions): void {
    this.#trusted = trustedNetworks(options.trustedAddresses ?? []);
    this.#isOn = options.failuresMax > 0;
    this.#addresses.revise(addressTerms(options));
    this.#pairs.revise(pairTerms(options));
    const open = this.#sharing?.open;
    this.#sharedAddresses = open?.('login-address', addressTerms(options)) ?? null;
    this.#sharedPairs = open?.('login-user', pairTerms(options)) ?? null;
    this.#releaseTrusted();
  }

  /** After the bans were read: those of failed logins go on counting where they were. */
  restore(): void {
    for (const ban of this.#bans.list()) this.learned(ban);
    this.#releaseTrusted();
  }

  /** A block that another run, or another node, has begun: the next one is longer than that. */
  learned(ban: Ban): void {
    if (ban.origin !== 'login') return;
    const leftMs = Math.max(0, ban.expiresAtMs - this.#clock.wallMs());
    if (ban.user === undefined) this.#addresses.restore(ban.value, ban.step, leftMs);
    else this.#pairs.restore(pairKey(ban.value, ban.user), ban.step, leftMs);
  }

  /** Keys remembered, for tests of its bounds. */
  get size(): number {
    return this.#addresses.size + this.#pairs.size;
  }

  /**
   * How bans of failed logins spell the address; null: it is never blocked (switched off, trusted, or
   * a Unix socket, behind which there is no telling clients apart).
   */
  addressOf(remoteAddress: string): string | null {
    if (!this.#isOn) return null;
    const bytes = clientAddressBytes(remoteAddress);
    if (bytes === null) return null;
    for (const network of this.#trusted) if (containsAddress(network, bytes)) return null;
    if (bytes.length === 4) return formatIpAddress(bytes);
    // A site has a /64 at least: any address in it is one step away.
    const site = new Uint8Array(16);
    site.set(bytes.subarray(0, IPV6_SITE_BYTES));
    return `${formatIpAddress(site)}/64`;
  }

  /** Credentials were wrong. */
  failed(remoteAddress: string, user: string | null): void {
    const address = this.addressOf(remoteAddress);
    if (address === null) return;
    if (user !== null && user.length <= USER_CHARACTERS_MAX) {
      this.#countAmongAll(this.#sharedPairs, address, user);
      const block = this.#pairs.count(pairKey(address, user));
      if (block !== null) this.#block(address, user, block);
    }
    this.#countAmongAll(this.#sharedAddresses, address, undefined);
    const block = this.#addresses.count(address);
    if (block !== null) this.#block(address, undefined, block);
  }

  /** What failed at other nodes counts as well. Nobody waits for it. */
  #countAmongAll(tally: Tally | null, address: string, user: string | undefined): void {
    if (tally === null) return;
    const key = user === undefined ? address : pairKey(address, user);
    tally
      .count(key, 1)
      .then((answer) => {
        if (answer === 'blocked') this.#sharing?.blockedElsewhere();
        if (answer !== 'over' || this.#isBlocked(address, user)) return;
        const escalation = user === undefined ? this.#addresses : this.#pairs;
        this.#block(address, user, escalation.block(key));
      })
      .catch(() => {
        // Tallies do not reject; this node has counted by itself in any case.
      });
  }

  #isBlocked(address: string, user: string | undefined): boolean {
    const target = { kind: 'address', value: address } as const;
    return this.#bans.holds(user === undefined ? target : { ...target, user });
  }

  /** The user is proven. The address stays suspect: one good password must not hide a thousand bad. */
  succeeded(remoteAddress: string, user: string | null): void {
    const address = this.addressOf(remoteAddress);
    if (address === null || user === null) return;
    const key = pairKey(address, user);
    // Most logins have nothing to be forgiven, and none of them costs a question.
    if (this.#sharedPairs !== null && this.#pairs.eventsOf(key) > 0) this.#sharedPairs.forget(key);
    this.#pairs.forgive(key);
  }

  /** An operator lifted the block. */
  lifted(ban: Ban): void {
    if (ban.origin !== 'login') return;
    if (ban.user === undefined) {
      this.#addresses.forget(ban.value);
      this.#sharedAddresses?.forget(ban.value);
    } else {
      this.#pairs.forget(pairKey(ban.value, ban.user));
      this.#sharedPairs?.forget(pairKey(ban.value, ban.user));
    }
  }

  #block(address: string, user: string | undefined, { durationMs, step }: Block): void {
    const target = { kind: 'address', value: address } as const;
    if (user === undefined) this.#sharedAddresses?.block(address, durationMs);
    else this.#sharedPairs?.block(pairKey(address, user), durationMs);
    this.#bans.addAutomatic(user === undefined ? target : { ...target, user }, 'login', {
      reason: 'too many failed logins',
      expiresAtMs: this.#clock.wallMs() + durationMs,
      step,
    });
  }

  #releaseTrusted(): void {
    if (this.#trusted.length === 0 && this.#isOn) return;
    // They do not hold here (`addressOf`); other nodes may trust other addresses.
    if (this.#bans.isShared) return;
    for (const ban of [...this.#bans.list()]) {
      if (ban.origin !== 'login') continue;
      const network = parseIpNetwork(ban.value);
      const isTrusted =
        network !== null && this.#trusted.some((one) => containsAddress(one, network.bytes));
      if (!this.#isOn || isTrusted) this.#bans.lift(ban.id);
    }
  }
}

function pairKey(address: string, user: string | null): string {
  return `${address} ${user ?? ''}`;
}

/** With `failuresMax` failures it is over: the last that is in order is the one before. */
function addressTerms(options: LoginGuardOptions): EscalationOptions {
  return { ...options, eventsMax: Math.max(0, options.failuresMax - 1) };
}

function pairTerms(options: LoginGuardOptions): EscalationOptions {
  return { ...options, eventsMax: Math.max(0, Math.ceil(options.failuresMax / PAIR_SHARE) - 1) };
}

function trustedNetworks(texts: readonly string[]): readonly IpNetwork[] {
  return texts.map((text) => {
    const network = parseIpNetwork(text);
    if (network !== null) return network;
    const message = `'${text}' is no address and no network`;
    throw new AccessError([{ where: 'bans.login.trustedAddresses', message }]);
  });
}
