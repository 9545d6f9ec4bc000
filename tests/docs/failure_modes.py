"""The ways in which a reconciler goes wrong, by number, as tests and pages name them; and which tests hold those that no
test names in its words.

A test that says "failure mode 62", or a fault with 62 among its `modes`, needs no line in `HELD_BY`.
"""

from __future__ import annotations

#: Tier 1: a false CLEAR; tier 2: blind to the log or to deletions; tier 3: a wrong repair.
NAMES = {
    1: "late commit, old created_at", 2: "fence with a hole", 3: "writers not stopped", 4: "backdated rows",
    5: "NULL, infinite or future created_at", 6: "time zone and summer time", 7: "clock skew",
    8: "window rests on an earlier sweep", 9: "lagging replica as source", 10: "replica shows another order",
    11: "wrong server", 12: "rows hidden by the database", 13: "scope mismatch", 14: "vacuous pass",
    15: "reader error read as end of data", 16: "pagination drops rows", 17: "seen is not applied",
    18: "registry row that does not count", 19: "credit from the wrong event", 20: "aborted events credited",
    21: "id used again", 22: "failover after the event left", 23: "two tables, one topic", 24: "lossy ids",
    25: "plausible but wrong decode", 26: "backfill that only says so", 27: "stale verdict", 28: "counts instead of sets",
    29: "rows without events, and outside the window", 30: "event never made", 31: "default offset reset",
    32: "retention outran us", 33: "record timestamps defeat retention", 34: "topic recreated",
    35: "truncation, unclean election", 36: "acks=1 loss on planned moves", 37: "producer-side silent loss",
    38: "end that is not the end", 39: "new partition found late", 40: "offset ahead of work", 41: "rebalance and zombies",
    42: "spurious reset", 43: "committed offsets expire", 44: "delete markers collected", 45: "TRUNCATE is not sent",
    46: "flattened stream", 47: "slot lost or remade", 48: "table not published", 49: "snapshot seam",
    50: "outbox order is not commit order", 51: "outbox pruned first", 52: "cursor ahead of the log",
    53: "dropped by policy upstream", 54: "skipped by us", 55: "change-LSN as progress mark",
    56: "sentinel on one partition", 57: "cluster switch", 58: "gauges that lie", 59: "corrupt bytes accepted",
    60: "resurrected row", 61: "late create undoes a delete", 62: "duplicate registry rows",
    63: "one conflict kills the batch", 64: "half a backfill", 65: "two operators", 66: "paused process wakes",
    67: "wrong side written", 68: "repair storm",
}  # fmt: skip

HELD_BY = {
    8: (
        "recipes/test_sweep_broken_off.py::test_ranges_that_do_not_join_are_not_believed",
        "recipes/test_auto.py::test_a_batch_that_failed_in_the_middle_of_a_sweep_is_seen_by_the_window_after_it",
    ),
    13: (
        "recipes/test_gaps.py::test_the_scope_decides_which_rows_belong",
        "recipes/test_recheck.py::test_a_world_that_has_moved_is_told_and_not_judged",
    ),
    14: ("recipes/test_gaps.py::test_an_empty_source_proves_nothing_unless_it_may_be_empty",),
    16: (
        "reconciler/probe/test_ints.py::test_a_compare_yields_both_sets_whole",
        "reconciler/probe/test_bytes.py::test_text_is_compared_bytewise_whatever_the_collation",
    ),
    19: (
        "consumer/formats/test_debezium.py::test_a_create_and_a_snapshot_read_announce_the_row",
        "consumer/formats/test_debezium.py::test_an_update_says_nothing",
    ),
    21: (
        "recipes/test_gaps.py::test_a_deleted_and_reused_id_is_not_credited_by_its_predecessor",
        "recipes/test_gaps.py::test_a_stale_registration_is_told",
    ),
    23: ("consumer/formats/test_debezium.py::test_a_collision_of_topic_names_is_told_apart_by_the_table_in_the_value",),
    25: (
        "consumer/formats/test_avro_oracle.py::test_damaged_records_never_give_another_value_than_fastavro",
        "consumer/formats/test_hostile.py::test_left_over_bytes_are_another_schemas",
    ),
    27: ("recipes/test_recheck.py::test_a_verdict_stands_in_the_same_world_until_a_key_of_any_date_is_unregistered",),
    35: ("consumer/test_catch_up.py::test_a_truncated_log_is_read_from_the_cut",),
    40: ("consumer/test_tracker.py::test_killed_twenty_times_under_load_the_ledger_equals_the_log",),
    41: (
        "consumer/test_tracker.py::test_a_zombies_flush_is_refused_whole",
        "consumer/test_tracker.py::test_a_tracker_paused_past_its_session_comes_back_as_a_zombie_and_loses_nothing",
    ),
    45: ("end_to_end/test_debezium.py::test_a_truncated_source_table_is_set_aside_and_the_rows_decide",),
    46: ("consumer/formats/test_debezium.py::test_a_flattened_stream_is_unreadable_for_nobody_can_tell_what_happened",),
    47: ("reconciler/preflight/test_pipelines.py::test_a_slot_is_looked_for",),
    48: (
        "reconciler/preflight/test_pipelines.py::test_a_table_that_no_publication_has_announces_nothing",
        "end_to_end/test_debezium.py::test_every_loss_between_insert_and_registry_is_named_mended_and_cleared",
    ),
    56: ("consumer/test_catch_up.py::test_an_open_transaction_is_told_with_its_partition_and_stable_offset",),
    57: ("consumer/test_catch_up.py::test_another_cluster_is_another_incarnation_and_all_is_read_again",),
    58: (
        "reconciler/alerts/test_firing.py::test_an_audit_that_vanishes_is_told_twice_by_scrape_and_by_age",
        "audit/test_looks.py::test_a_silent_log_is_blindness_and_no_drop",
        "audit/test_kills.py::test_a_log_that_stalls_is_blindness_and_its_end_shows_only_what_was_lost",
    ),
    59: (
        "consumer/test_damage.py::test_a_bit_that_flipped_on_the_brokers_disk_withholds_what_rests_on_the_log",
        "consumer/test_damage.py::test_a_tracker_goes_on_behind_a_damaged_batch_and_records_it_once",
    ),
}
