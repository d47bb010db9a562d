/** What the conversion of listeners has to know of the machine; tests hand in another. */
import { isIPv4 } from 'node:net';
import { networkInterfaces } from 'node:os';

export interface Machine {
  readonly hasIpv6: boolean;
  /** Address of a network interface, or null. */
  addressOf(device: string): string | null;
}

export const thisMachine: Machine = {
  get hasIpv6(): boolean {
    return Object.values(networkInterfaces()).some((addresses) =>
      addresses?.some(({ family }) => family === 'IPv6'),
    );
  },
  addressOf(device) {
    const found = Object.entries(networkInterfaces()).find(([name]) => name === device);
    const addresses = found?.[1]?.map(({ address }) => address) ?? [];
    return addresses.find((address) => isIPv4(address)) ?? addresses[0] ?? null;
  },
};
