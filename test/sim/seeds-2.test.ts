// A quarter of the fixed seeds; the others are next door.
import { testSeedsFrom } from './fixed-seeds.ts';

testSeedsFrom(251);
