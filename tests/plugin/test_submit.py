"""Buckets, chunks and refusals."""

import pytest

from snakemake_executor_plugin_submitit.submit import Refusal, backoff_s, buckets, chunks, classify


def test_equal_parameters_go_together_whatever_the_rule():
    tasks = [("predict", {"time": 5}), ("score", {"time": 9}), ("tune", {"time": 5}), ("score", {"time": 9})]
    assert buckets(tasks, lambda task: task[1]) == [[tasks[0], tasks[2]], [tasks[1], tasks[3]]]


def test_parameters_that_differ_in_any_value_are_kept_apart():
    base = {"time": 5, "additional_parameters": {"requeue": True}}
    other = {"time": 5, "additional_parameters": {"requeue": True, "nice": "1"}}
    assert len(buckets([base, other, {**base, "gres": "gpu:1"}], lambda task: task)) == 3
    assert len(buckets([{"a": 1, "b": 2}, {"b": 2, "a": 1}], lambda task: task)) == 1


@pytest.mark.parametrize(
    ("count", "size", "lengths"),
    [
        (0, 5, []),
        (1, 5, [1]),
        (5, 5, [5]),
        (6, 5, [3, 3]),
        (11, 5, [4, 3, 4]),
        (3, 1, [1, 1, 1]),
        (2, 0, [1, 1]),
    ],
)
def test_chunks(count, size, lengths):
    found = chunks(list(range(count)), size)
    assert [len(chunk) for chunk in found] == lengths
    assert [item for chunk in found for item in chunk] == list(range(count))


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", "transient"),
        (
            "sbatch: error: Unable to contact slurm controller (connect failure)",
            "transient",
        ),
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", "transient"),
        ("sbatch: error: Batch job submission failed: Resource temporarily unavailable", "transient"),
        ("sbatch: error: slurm_receive_msg: Zero Bytes were transmitted or received", "transient"),
        (
            "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job "
            "violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
            "limit",
        ),
        (
            "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates "
            "accounting/QOS policy (job submit limit, user's size and/or time limits)",
            "limit",
        ),
        (
            "sbatch: error: QOSMaxWallDurationPerJobLimit\nsbatch: error: Batch job submission failed: Job "
            "violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
            "permanent",
        ),
        (
            "sbatch: error: Job violates accounting/QOS policy (job submit limit)",
            "limit",
        ),
        ("sbatch: error: invalid partition specified: gpux", "permanent"),
        (
            "sbatch: error: Requested node configuration is not available",
            "permanent",
        ),
        (
            "sbatch: error: Invalid account or account/partition combination",
            "permanent",
        ),
        ("FileNotFoundError: sbatch", "permanent"),
        ("cannot write in /shared/.snakemake/submitit: [Errno 28] No space left on device", "transient"),
    ],
)
def test_refusals(message, kind):
    assert classify(message) is Refusal(kind)


def test_backoff_grows_to_a_minute():
    middle = [backoff_s(n, lambda: 0.5) for n in range(1, 9)]
    assert middle == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert backoff_s(3, lambda: 0.0) < 8.0 < backoff_s(3, lambda: 1.0)
