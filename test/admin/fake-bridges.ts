// Bridges for tests of the operator's door: whatever a test says they are.
import type { BridgesReport, BridgesView } from '../../src/admin/bridges-view.ts';

export class FakeBridges implements BridgesView {
  current: BridgesReport = {
    isHolder: true,
    bridges: [
      {
        name: 'cloud',
        url: 'mqtts://broker.example:8883',
        isUp: true,
        problem: '',
        upSinceMs: 1_700_000_000_000,
        queuedMessages: 2,
        queuedBytes: 3,
        budgetBytes: 16,
        overBudget: 17,
        refusedFilters: 4,
        connects: 5,
        failures: 6,
        received: 7,
        receivedBytes: 8,
        sent: 9,
        sentBytes: 10,
        echoes: 11,
        refusedIn: 12,
        refusedOut: 13,
        dropped: 14,
        gaps: 15,
      },
    ],
  };

  report(): BridgesReport {
    return this.current;
  }
}
