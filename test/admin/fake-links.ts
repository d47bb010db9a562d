// Links to other regions for tests of the operator's door: whatever a test says they are.
import type { LinksReport, LinksView } from '../../src/admin/links-view.ts';

export class FakeLinks implements LinksView {
  current: LinksReport = {
    region: 'eu',
    isHolder: true,
    links: [
      {
        region: 'us',
        url: 'mqtts://us.example:8883',
        isUp: true,
        problem: '',
        upSinceMs: 1_700_000_000_000,
        subscriptions: 3,
        refusedFilters: 1,
        connects: 2,
        failures: 4,
        received: 50,
        receivedBytes: 6000,
        duplicates: 7,
        deferred: 23,
        loops: 8,
        refused: 9,
        malformed: 10,
        failed: 11,
        gaps: 12,
        lagMs: 130,
      },
    ],
    unlinked: ['af', 'sa'],
    fetchers: [
      {
        region: 'ap',
        isConnected: false,
        subscriptions: 13,
        queuedMessages: 14,
        queuedBytes: 15,
        budgetBytes: 16,
        handed: 17,
        returned: 18,
        withheld: 19,
        dropped: 20,
      },
    ],
    waiting: 21,
    windowPages: 22,
    windowOverflows: 23,
    refusedConnects: 24,
  };

  report(): LinksReport {
    return this.current;
  }
}
