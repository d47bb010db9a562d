/** What scenes do again and again, of one datacenter (scene.ts) or of regions (region-scene.ts). */
import type { SimClient } from './sim-client.ts';

interface SomeScene {
  readonly until: (what: string, isReached: () => boolean) => Promise<void>;
}

/** Publishes with QoS 1, and waits until it is acknowledged. */
export async function publishAcked(
  scene: SomeScene,
  client: Pick<SimClient, 'publish' | 'count'>,
  topic: string,
  text: string,
  options: { readonly retain?: boolean } = {},
): Promise<void> {
  const packetId = client.publish(topic, text, 1, options);
  await scene.until(`${text} is acknowledged`, () => client.count('PUBACK', packetId) > 0);
}
