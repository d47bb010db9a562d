/** Counters of one bridge, plain numbers; read by metrics, API and CLI. */

export class BridgeCounters {
  connects = 0;
  /** Connections lost, and attempts that failed. */
  failures = 0;
  /** Messages taken from the other broker, and their payload. */
  received = 0;
  receivedBytes = 0;
  /** Messages given to the other broker, acknowledged where their QoS has that, and their payload. */
  sent = 0;
  sentBytes = 0;
  /** Came back from the other broker: not taken. */
  echoes = 0;
  /** Came from the other broker and are of no use here: of a topic that is not bridged or not valid. */
  refusedIn = 0;
  /** Refused by the other broker for good. */
  refusedOut = 0;
  /** QoS 0 messages that came while the bridge was down. */
  dropped = 0;
  /** Times the other broker had lost the session that it should have. */
  gaps = 0;
}
