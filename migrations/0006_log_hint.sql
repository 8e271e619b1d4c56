-- SPDX-License-Identifier: Apache-2.0
-- 0006_log_hint.sql - an upper bound of where the log ends, for who has read it to its end.
-- Once merged, never edited.  Runs in one transaction (the migrator's, or psql -1 -f).
set local lock_timeout = '5s';

create sequence switchboard.websocket_log_hint;
comment on sequence switchboard.websocket_log_hint is
    'At least the last seq of the log: the sequencer raises it before it commits.  A follower that has a row with that seq has all there is, without looking.';
