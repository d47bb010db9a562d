/** Client identifiers of this broker's ends of bridges (docs/adr/0022): nobody else may have such a one. */

const BRIDGE_ID = '$bridge/';

export function isBridgeId(clientId: string): boolean {
  return clientId.startsWith(BRIDGE_ID);
}

export function bridgeIdOf(name: string): string {
  return BRIDGE_ID + name;
}
