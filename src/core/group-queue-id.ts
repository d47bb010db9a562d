/**
 * How the queue of a shared subscription is named among the sessions of a datacenter (ADR 0019). No text
 * in MQTT may hold U+0000 [MQTT5-1.5.4-2], so no client can have such an identifier.
 */
const MARK = '\0';

/** `fullFilter`: `$share/…`. */
export function groupQueueId(fullFilter: string): string {
  return MARK + fullFilter;
}

export function isGroupQueue(clientId: string): boolean {
  return clientId.charCodeAt(0) === 0;
}

/** The shared subscription whose queue it is. */
export function groupFilterOf(clientId: string): string {
  return clientId.slice(MARK.length);
}
