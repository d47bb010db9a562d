/** The embedded store keeps to what every store keeps to. */
import t from 'tap';
import { storeContract } from '../contract/store.ts';
import { OwnPositions } from '../contract/store-subject.ts';
import { EmbeddedHome } from './embedded-home.ts';

storeContract(
  t,
  (t) => {
    const home = new EmbeddedHome(t);
    return { open: async () => new OwnPositions(await home.open()) };
  },
  { isDurable: true },
);
