/**
 * The store of a node in a datacenter: sessions in Redis, retained messages here. Stopped, it leaves the
 * datacenter in between: as a member this node is asked to let go of the sessions whose clients have gone
 * elsewhere, and answers when what it read from them is written; a node that has left is not waited for.
 * Made by datacenter.ts.
 */
import type { Store } from '../core/ports.ts';
import type { RedisStore } from '../store/redis/redis-store.ts';
import { SplitStore } from '../store/split-store.ts';

export class DatacenterStore extends SplitStore {
  readonly #shared: RedisStore;
  readonly #leave: () => Promise<void>;

  constructor(shared: RedisStore, local: Store, leave: () => Promise<void>) {
    super(shared, local);
    this.#shared = shared;
    this.#leave = leave;
  }

  override async stop(): Promise<void> {
    await new Promise<void>((resolve) => this.#shared.whenWritten(resolve));
    await this.#leave();
    await super.stop();
  }
}
