/** What `init` and `import` have to know of the machine they run on; tests hand in another. */
import { isIPv4 } from 'node:net';
import { hostname, networkInterfaces } from 'node:os';

export interface Machine {
  readonly hasIpv6: boolean;
  readonly hostName: string;
  /** Addresses others can reach it by: neither loopback nor link-local. */
  readonly addresses: readonly string[];
  /** Address of a network interface, or null. */
  addressOf(device: string): string | null;
}

export const thisMachine: Machine = {
  get hasIpv6(): boolean {
    return interfaces().some(({ address }) => !isIPv4(address));
  },
  get hostName(): string {
    return hostname();
  },
  get addresses(): readonly string[] {
    return interfaces()
      .filter(({ isInternal, address }) => !isInternal && !address.startsWith('fe80:'))
      .map(({ address }) => address);
  },
  addressOf(device) {
    const addresses = interfaces().filter((one) => one.device === device);
    const four = addresses.find(({ address }) => isIPv4(address));
    return (four ?? addresses[0])?.address ?? null;
  },
};

function interfaces(): { device: string; address: string; isInternal: boolean }[] {
  return Object.entries(networkInterfaces()).flatMap(([device, addresses = []]) =>
    addresses.map(({ address, internal }) => ({ device, address, isInternal: internal })),
  );
}
