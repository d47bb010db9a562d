/** All functions of the broker by name, with their twins. A name that is missing here fails loudly. */
import type { Twin } from './model-db.ts';
import {
  dueAddTwin,
  dueSettleTwin,
  dueTakeTwin,
  indexAddTwin,
  indexRemoveTwin,
  indexScanTwin,
  nodeBuryTwin,
  nodeDeadTwin,
  nodeForgetTwin,
  nodeJoinTwin,
  nodeLeaveTwin,
  nodeRenewTwin,
  roleTakeTwin,
} from './model-indexes.ts';
import { linksPutTwin, linksScanTwin, linksTakeTwin } from './model-notes.ts';
import { appendTwin, inboundTwin, readTwin, settleTwin } from './model-queues.ts';
import {
  adoptTwin,
  assertTwin,
  closeTwin,
  listTwin,
  openTwin,
  orphanTwin,
  removeTwin,
  saveTwin,
} from './model-sessions.ts';
import { lookTwin, unclaimTwin, willDoneTwin } from './model-wills.ts';

export const TWINS: ReadonlyMap<string, Twin> = new Map([
  ['session_open_1', openTwin],
  ['session_adopt_1', adoptTwin],
  ['session_save_1', saveTwin],
  ['session_close_1', closeTwin],
  ['session_remove_1', removeTwin],
  ['session_settle_1', settleTwin],
  ['session_read_1', readTwin],
  ['session_inbound_1', inboundTwin],
  ['session_append_1', appendTwin],
  ['session_orphan_1', orphanTwin],
  ['session_look_1', lookTwin],
  ['session_will_done_1', willDoneTwin],
  ['session_unclaim_1', unclaimTwin],
  ['session_assert_1', assertTwin],
  ['session_list_1', listTwin],
  ['index_add_1', indexAddTwin],
  ['index_remove_1', indexRemoveTwin],
  ['index_scan_1', indexScanTwin],
  ['due_add_1', dueAddTwin],
  ['due_take_1', dueTakeTwin],
  ['due_settle_1', dueSettleTwin],
  ['node_join_1', nodeJoinTwin],
  ['node_renew_1', nodeRenewTwin],
  ['node_leave_1', nodeLeaveTwin],
  ['node_bury_1', nodeBuryTwin],
  ['node_dead_1', nodeDeadTwin],
  ['node_forget_1', nodeForgetTwin],
  ['role_take_1', roleTakeTwin],
  ['links_take_1', linksTakeTwin],
  ['links_scan_1', linksScanTwin],
  ['links_put_1', linksPutTwin],
]);
