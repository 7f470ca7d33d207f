"""The faults: what each one is called, the function that injects it, and the test beside it."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from benchmarks.faults import numbers, pairs, stops, storage
from benchmarks.faults.bench import Bench, Outcome


class Fault(NamedTuple):
    """A fault in words, its injection, and the test that holds what comes of it."""

    title: str
    inject: Callable[[Bench], Outcome]
    test: str


CHECKPOINT = "tests/test_checkpoint.py::test_a_broken_checkpoint_gives_way_to_the_one_before"
FULL = "tests/test_checkpoint_faults.py::test_a_full_disk_by_a_limit_on_file_sizes"
IN_SAVE = "tests/test_kills.py::test_three_kills_change_nothing"
PAIR = "tests/test_two_processes.py::test_a_stop_of_one_and_a_kill_of_one_lose_nothing"

FAULTS: Mapping[str, Fault] = {
    "sigkill": Fault(
        "SIGKILL", stops.killed, "tests/test_kills.py::test_three_kills_change_nothing"
    ),
    "sigkill_in_save": Fault("SIGKILL inside a save", stops.killed_in_save, IN_SAVE),
    "sigterm": Fault(
        "SIGTERM",
        stops.terminated,
        "tests/test_resume.py::test_stopped_in_an_epoch_and_at_its_end_equals_uninterrupted",
    ),
    "pair_sigkill": Fault("SIGKILL to one of two processes", pairs.killed, PAIR),
    "pair_sigstop": Fault(
        f"SIGSTOP to one of two, heartbeat {pairs.HEARTBEAT} s",
        pairs.stopped,
        "tests/test_two_processes.py::"
        "test_the_peer_of_a_stopped_process_leaves_and_the_restart_loses_nothing",
    ),
    "pair_sigterm": Fault("SIGTERM to one of two", pairs.terminated, PAIR),
    "other_processes": Fault(
        "started again as two processes",
        stops.other_processes,
        "tests/test_restarts.py::test_one_process_then_two_then_one_see_the_same_batches",
    ),
    "truncated": Fault("newest checkpoint cut off", storage.truncated, CHECKPOINT),
    "missing": Fault("a file of it missing", storage.missing, CHECKPOINT),
    "bit": Fault(
        "one bit of it flipped",
        storage.flipped,
        "tests/test_checkpoint.py::test_no_flipped_bit_gives_a_wrong_state",
    ),
    "all_damaged": Fault(
        "a bit in every checkpoint",
        storage.all_damaged,
        "tests/test_checkpoint_damage.py::test_with_none_left_every_start_says_the_same",
    ),
    "disk_full": Fault("disk full at a save", storage.disk_full, FULL),
    "disk_full_at_start": Fault("disk full at the start", storage.full_at_start, FULL),
    "read_only": Fault(
        "read-only workdir",
        storage.read_only,
        "tests/test_lock.py::test_a_folder_that_cannot_be_written_is_named",
    ),
    "nan": Fault(
        f"{numbers.SINGLE} batches of NaN",
        numbers.skipped,
        "tests/test_rollback.py::test_single_bad_steps_are_skipped_and_the_run_ends_well",
    ),
    "nan_streak": Fault(
        f"{numbers.STREAK} batches of NaN in a row",
        numbers.rolled_back,
        "tests/test_rollback.py::test_a_streak_in_the_data_is_left_behind",
    ),
    "nan_for_ever": Fault(
        "a loss that stays NaN",
        numbers.never_finite,
        "tests/test_rollback.py::test_a_run_that_going_back_does_not_help_ends_with_the_story",
    ),
    "dirty_folder": Fault(
        "1 % broken files in an image folder",
        numbers.dirty_folder,
        "tests/data/test_dirty_folder.py::"
        "test_training_skips_and_counts_what_it_can_and_stops_above_the_share",
    ),
    "second_run": Fault(
        "second run on a workdir",
        stops.second_run,
        "tests/test_resume.py::test_a_second_process_on_a_workdir_is_refused",
    ),
    "logger": Fault(
        "TensorBoard cannot write",
        stops.logger,
        "tests/test_log.py::test_loggers_that_raise_never_stop_a_run",
    ),
}
