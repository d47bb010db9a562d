/**
 * What steering is made from, as a configuration says it, and which Server References can be given.
 * Read by `config`; `steering.ts` carries it out.
 */
import { parseIpNetwork } from '../../util/ip-address.ts';

/** What becomes of clients of MQTT 3.x, which cannot be told where to go. */
export const legacyPolicies = ['accept', 'refuse'] as const;
export type LegacyPolicy = (typeof legacyPolicies)[number];

/** Clients of these networks belong to one region. */
export interface NearestOptions {
  readonly reference: string;
  /** IP addresses and CIDR networks; of several that hold an address the smallest counts. */
  readonly addresses: readonly string[];
  /** They are told that it is for good (0x9D). */
  readonly forGood: boolean;
}

/** Clients whose session has its home in that region are sent there. */
export interface HomeOptions {
  /** As `regions.links` names it. */
  readonly region: string;
  readonly reference: string;
}

export interface LeastLoadedOptions {
  /** Where clients reach this very node. */
  readonly reference: string;
  /** A client goes to another node only when that has so much fewer clients. */
  readonly slackPercent: number;
  /** With fewer clients than that everybody is taken. */
  readonly clientsMin: number;
}

export interface SteeringOptions {
  readonly legacy: LegacyPolicy;
  /** Who comes back within that time is taken: what it was sent to may be away. */
  readonly patienceS: number;
  /** The reference in `nearest` that is this region. */
  readonly region?: string | undefined;
  readonly nearest: readonly NearestOptions[];
  readonly home: readonly HomeOptions[];
  readonly leastLoaded?: LeastLoadedOptions | undefined;
}

const REFERENCE_LENGTH_MAX = 1024;
const SERVER = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::(\d{1,5}))?$/;

/** Null when clients can be given it [MQTT5-4.11]: servers with or without port, a space between. */
export function refuseReference(text: string): string | null {
  const expected = 'expected HOST, HOST:PORT or [IPv6]:PORT, several with one space between';
  if (text.length > REFERENCE_LENGTH_MAX) return `${expected}, ${REFERENCE_LENGTH_MAX} characters`;
  for (const server of text.split(' ')) {
    const match = SERVER.exec(server);
    if (match === null || Number(match[1] ?? 1) < 1 || Number(match[1] ?? 1) > 65_535) {
      return expected;
    }
  }
  return null;
}

export interface SteeringProblem {
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** Of the rest of the configuration. */
export interface SteeringSurroundings {
  readonly isInDatacenter: boolean;
  /** Regions that this one has links to; null: sessions are not listed. */
  readonly listedRegions: readonly string[] | null;
}

/** What no option shows by itself. */
export function checkSteering(
  options: SteeringOptions,
  { isInDatacenter, listedRegions }: SteeringSurroundings,
): SteeringProblem[] {
  const problems: SteeringProblem[] = [];
  const seen = new Map<string, string>();
  for (const [place, { addresses, reference }] of options.nearest.entries()) {
    for (const [index, text] of addresses.entries()) {
      const network = parseIpNetwork(text);
      if (network === null) continue;
      const key = `${network.bytes.join('.')}/${network.prefixBits}`;
      const other = seen.get(key);
      seen.set(key, reference);
      if (other === undefined) continue;
      const path = ['nearest', place, 'addresses', index];
      problems.push({ path, message: `${text} is there twice; ${other} has it already` });
    }
  }
  problems.push(...homeProblems(options.home, listedRegions));
  const { region, nearest, leastLoaded } = options;
  if (region !== undefined && !nearest.some(({ reference }) => reference === region)) {
    const message = `no entry of steering.nearest has the reference ${region}`;
    problems.push({ path: ['region'], message });
  }
  if (leastLoaded !== undefined && !isInDatacenter) {
    const message = 'needs the section cluster: a node alone knows no other one';
    problems.push({ path: ['leastLoaded'], message });
  }
  return problems;
}

function homeProblems(
  home: readonly HomeOptions[],
  listedRegions: readonly string[] | null,
): SteeringProblem[] {
  if (home.length > 0 && listedRegions === null) {
    const message =
      'needs regions.directory or regions.roaming: without it no region knows the home of a session';
    return [{ path: ['home'], message }];
  }
  const problems: SteeringProblem[] = [];
  const seen = new Set<string>();
  for (const [place, { region }] of home.entries()) {
    const path = ['home', place, 'region'];
    if (seen.has(region)) problems.push({ path, message: `${region} is there twice` });
    else if (listedRegions?.includes(region) !== true) {
      problems.push({ path, message: `regions.links has no link to ${region}` });
    }
    seen.add(region);
  }
  return problems;
}
