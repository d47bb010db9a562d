/** The embedded store keeps to what every store keeps to. */
import t from 'tap';
import { storeContract } from '../contract/store.ts';
import { EmbeddedHome } from './embedded-home.ts';

storeContract(t, (t) => new EmbeddedHome(t), { isDurable: true });
