/**
 * The configuration of a region whose links are dialled on loopback: a user for each region that fetches
 * here, a link for each region it fetches from. Written into a folder for nodes that a test, a chaos run or
 * the demo starts. Knows the configuration, and nothing of src/ but how passwords are hashed.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { passwordLines } from '../e2e/access-kit.ts';

export const LINK_PASSWORD = 'a-secret-of-links';

/** `eu<us`: eu fetches from us. */
export type LinkName = `${string}<${string}`;

export interface LinkOptions {
  readonly scheme?: 'mqtts';
  readonly tls?: object;
  /** Null: none. */
  readonly username?: null;
  readonly passwordFile?: null;
  readonly allow?: readonly string[];
  readonly budgetAgeS?: number;
  readonly budgetBytes?: number;
}

export interface AcceptOptions {
  readonly user?: null;
  readonly certificate?: string;
  readonly topics?: readonly string[];
  readonly budgetAgeMaxS?: number;
  readonly budgetBytesMax?: number;
}

export interface RegionWiring {
  readonly name: string;
  /** Of all regions. */
  readonly links: readonly LinkName[];
  /** Where a link is dialled. */
  readonly portOf: (link: LinkName) => number;
  readonly link?: Readonly<Partial<Record<LinkName, LinkOptions>>>;
  /** Of the region that is fetched from. */
  readonly accept?: Readonly<Partial<Record<LinkName, AcceptOptions>>>;
  /** More of the configuration. */
  readonly config?: object;
  /** More of its section `regions`. */
  readonly regions?: object;
}

/** Makes the folder with `causeway.yaml`, whose path is answered, and the files it names. */
export async function writeRegion(folder: string, wiring: RegionWiring): Promise<string> {
  const { name, links, portOf, link = {}, accept = {}, config = {}, regions = {} } = wiring;
  mkdirSync(folder, { recursive: true });
  const fetched = links.filter((one) => fetcherOf(one) === name);
  const fetchers = links.filter((one) => sourceOf(one) === name);
  const users = Object.fromEntries(
    fetchers.map((one) => [`link-${fetcherOf(one)}`, LINK_PASSWORD]),
  );
  const file = (base: string, text: string): string => {
    writeFileSync(join(folder, base), text, { mode: 0o600 });
    return base;
  };
  const whole = {
    listeners: ['mqtt://127.0.0.1:0'],
    sysIntervalS: 0,
    bans: { login: { failuresMax: 0 }, flapping: { connectsMax: 0 } },
    authentication: {
      chain: ['certificate', 'password'],
      certificate: {},
      anonymous: true,
      password: {
        file: file('passwords', await passwordLines({ ...users, somebody: LINK_PASSWORD })),
      },
    },
    regions: {
      name,
      ...regions,
      links: fetched.map((one) => {
        const { scheme = 'mqtt', ...more } = link[one] ?? {};
        return given({
          region: sourceOf(one),
          url: `${scheme}://127.0.0.1:${portOf(one)}`,
          username: `link-${name}`,
          passwordFile: file('secret', `${LINK_PASSWORD}\n`),
          ...more,
        });
      }),
      accept: fetchers.map((one) =>
        given({ region: fetcherOf(one), user: `link-${fetcherOf(one)}`, ...accept[one] }),
      ),
    },
    ...config,
  };
  file('causeway.yaml', stringify(whole));
  return join(folder, 'causeway.yaml');
}

/** Without what is null. */
function given(section: object): object {
  return Object.fromEntries(Object.entries(section).filter(([, value]) => value !== null));
}

export function fetcherOf(link: string): string {
  return link.slice(0, link.indexOf('<'));
}

export function sourceOf(link: string): string {
  return link.slice(link.indexOf('<') + 1);
}
