/**
 * What a bridge says of itself, retained, as mosquitto's do: 1 when it is up, 0 when it is not. Here it is
 * published by the broker, there by the bridge's own connection, and by its will. Used by `bridge.ts`.
 */
import type { Client } from '../../client/client.ts';
import type { OutgoingMessage } from '../../client/message.ts';
import type { Will } from '../../client/options.ts';

export interface NoticeSettings {
  readonly topic: string;
  /** Also at the other broker. */
  readonly isThere: boolean;
}

const payloadOf = (isUp: boolean): string => (isUp ? '1' : '0');

export class BridgeNotice {
  readonly #settings: NoticeSettings | null;
  readonly #publish: (topic: string, payload: string) => void;

  /** Null: nothing is said. */
  constructor(settings: NoticeSettings | null, publish: (topic: string, payload: string) => void) {
    this.#settings = settings;
    this.#publish = publish;
  }

  /** Which a broker publishes that hears no more of us. */
  get will(): Will | undefined {
    if (this.#settings?.isThere !== true) return undefined;
    const { topic } = this.#settings;
    return { topic, payload: Buffer.from(payloadOf(false)), qos: 0, retain: true };
  }

  /** `isHolder`: else the next one says it, but for what each node has for itself. */
  sayHere(isUp: boolean, isHolder: boolean): void {
    if (this.#settings === null) return;
    const { topic } = this.#settings;
    if (isHolder || topic.startsWith('$')) this.#publish(topic, payloadOf(isUp));
  }

  /** Behind what waits for the other broker. True: it has left. */
  sayThere(far: Client, isUp: boolean, retains: boolean): boolean {
    if (this.#settings?.isThere !== true) return true;
    const { topic } = this.#settings;
    const payload = Buffer.from(payloadOf(isUp));
    const message: OutgoingMessage = { topic, payload, qos: 0, retain: retains, properties: {} };
    let hasLeft = false;
    far.post(message, () => {
      hasLeft = true;
    });
    return hasLeft;
  }
}
