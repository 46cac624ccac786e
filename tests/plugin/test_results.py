"""Which result files are believed."""

import os
import pickle

import pytest

from snakemake_executor_plugin_submitit.results import Outcome, present, read_outcome

from .fakes import write_result


def test_a_success_of_this_submission(tmp_path):
    path = write_result(tmp_path, "7", "success", {"token": "mine", "host": "n1"})
    found = read_outcome(path, "mine", 0.0)
    assert found is not None and found.ok and found.facts["host"] == "n1"


@pytest.mark.parametrize("value", [{"token": "other"}, {}, "text", None, 7])
def test_a_success_of_another_submission_is_stale_however_new(tmp_path, value):
    assert read_outcome(write_result(tmp_path, "7", "success", value), "mine", 0.0) is None


def test_a_failure_is_known_by_its_token(tmp_path):
    path = write_result(tmp_path, "7", "error", "Traceback\nx.JobFailed: boom (submission mine)")
    found = read_outcome(path, "mine", path.stat().st_mtime + 1000)
    assert found is not None and not found.ok
    assert read_outcome(path, "other", 0.0) is None


def test_a_failure_without_token_must_not_be_older_than_the_submission(tmp_path):
    path = write_result(tmp_path, "7", "error", "Traceback\nModuleNotFoundError: No module named 'x'")
    os.utime(path, (1000, 1000))
    assert read_outcome(path, "mine", 1000.0) is not None
    assert read_outcome(path, "mine", 1000.5) is None


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x05\x95", b"garbage", pickle.dumps(1), pickle.dumps((1, 2, 3))]
)
def test_unreadable_files_are_no_results(tmp_path, content):
    path = tmp_path / "7_0_result.pkl"
    path.write_bytes(content)
    assert read_outcome(path, "mine", 0.0) is None
    assert read_outcome(tmp_path / "missing.pkl", "mine", 0.0) is None


def test_present_lists_results_of_all_folders(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    one, two = write_result(first, "7", "success", 1), write_result(second, "8_1", "success", 1)
    (first / "7_0_result.pkl.save_tmp").write_bytes(b"half")
    assert present([first, first, second, tmp_path / "gone"]) == {one, two}


def test_summary_is_the_exception_and_not_its_traceback():
    trace = (
        'Traceback (most recent call last):\n  File "x.py", line 1\n    raise X\na.b.JobFailed: first\nmore\n'
    )
    assert Outcome(False, {}, trace).summary == "JobFailed: first\nmore"
    assert Outcome(False, {}, "").summary == ""
