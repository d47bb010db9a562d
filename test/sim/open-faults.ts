/**
 * Faults that the simulation finds and that are not mended yet (docs/internals/cluster-open.md). Seeds that find
 * them move with every change of the code, so each is known by what a report says of it: the tests of fixed
 * seeds say how often each came, and fail for everything else, and for more of one than there may be. A row goes
 * with the commit that mends it.
 */
export interface OpenFault {
  readonly name: string;
  /** Of 250 seeds. */
  readonly seedsMax: number;
  readonly isIt: (report: string) => boolean;
}

export const openFaults: readonly OpenFault[] = [
  {
    name: 'S7: after Redis has lost its data',
    seedsMax: 1,
    isIt: (report) =>
      /^ {2}redis_(flush|empty) /m.test(report) && !/^ {2}(duplicate|order): /m.test(report),
  },
];

/** By name: how many of the reports; and those that nothing explains. */
export function sortReports(reports: readonly string[]): {
  readonly open: ReadonlyMap<OpenFault, number>;
  readonly unexplained: readonly string[];
} {
  const open = new Map<OpenFault, number>();
  const unexplained: string[] = [];
  for (const report of reports) {
    const fault = openFaults.find(({ isIt }) => isIt(report));
    if (fault === undefined) unexplained.push(report);
    else open.set(fault, (open.get(fault) ?? 0) + 1);
  }
  return { open, unexplained };
}
