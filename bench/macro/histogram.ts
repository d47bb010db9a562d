// Counts of microsecond values in buckets of at most 0.1 % width, so that a percentile of millions
// of messages costs 90 KB and an addition costs nanoseconds. Load processes fill it, the harness
// adds them up.

const LINEAR = 2048;
const STEPS = 1024;
const STEP_BITS = 10;
const BUCKETS = LINEAR + (31 - 11) * STEPS;

function lowest(bucket: number): number {
  if (bucket < LINEAR) {
    return bucket;
  }
  const octave = Math.floor((bucket - LINEAR) / STEPS);
  const step = (bucket - LINEAR) % STEPS;
  return (STEPS + step) * 2 ** (octave + 1);
}

export class Histogram {
  readonly counts: Uint32Array = new Uint32Array(BUCKETS);

  /** Adds one value; what is negative counts as 0. */
  add(us: number): void {
    let bucket = us;
    if (us >= LINEAR) {
      const exponent = 31 - Math.clz32(us);
      bucket = LINEAR + (exponent - 11) * STEPS + ((us >>> (exponent - STEP_BITS)) & (STEPS - 1));
    } else if (us < 0) {
      bucket = 0;
    }
    this.counts[bucket]!++;
  }

  clear(): void {
    this.counts.fill(0);
  }

  merge(counts: Uint32Array): void {
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      this.counts[bucket]! += counts[bucket]!;
    }
  }

  total(): number {
    let total = 0;
    for (const count of this.counts) {
      total += count;
    }
    return total;
  }

  /** Milliseconds below which the given share (0..1) of the values lies; NaN without values. */
  percentileMs(share: number): number {
    const total = this.total();
    if (total === 0) {
      return Number.NaN;
    }
    const wanted = Math.ceil(total * share);
    let seen = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      seen += this.counts[bucket]!;
      if (seen >= wanted) {
        return lowest(bucket) / 1000;
      }
    }
    return Number.NaN;
  }
}
