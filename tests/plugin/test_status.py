"""Reading the scheduler's clients; the texts were recorded from Slurm 22.05 unless they say otherwise."""

import pytest

from snakemake_executor_plugin_submitit.states import JobState, Question
from snakemake_executor_plugin_submitit.status import (
    expand_ids,
    marked_jobs,
    max_array_size,
    parse_sacct,
    parse_scontrol,
    parse_squeue,
)

AT = Question(1700000000.0)  # 2023-11-14, before every Submit time below
MARK = "snakemake-0123456789ab"


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("12", ["12"]),
        ("12_3", ["12_3"]),
        ("123_[2-5,7%3]", ["123_2", "123_3", "123_4", "123_5", "123_7"]),
        ("123_[0-8:4]", ["123_0", "123_4", "123_8"]),
        ("123_[4]", ["123_4"]),
        ("123_[0]", ["123_0"]),
        ("123_[1,3,5", ["123_1", "123_3", "123_5"]),
        ("123_[1,2,...]", ["123_1", "123_2"]),
        ("12.batch", []),
        ("12+1", []),
        ("", []),
        ("N/A", []),
    ],
)
def test_array_ranges(text, ids):
    assert list(expand_ids(text)) == ids


def test_sacct():
    text = (
        "5_0|COMPLETED|0:0|n1|2024-05-01T10:00:00|None|\n"
        "5_1|FAILED|1:0|n2|2024-05-01T10:00:00|None|\n"
        "5_2|CANCELLED by 1000|0:0|n1|2024-05-01T10:00:00|None|\n"
        "5_[3-4%2]|PENDING|0:0|None assigned|2024-05-01T10:00:00|Resources|snakemake-0123456789ab\n"
        "6|OUT_OF_MEMORY|0:125|n3|2024-05-01T10:00:00|None|\n"
        "99|RUNNING|0:0|n3|2024-05-01T10:00:00|None|\n"
        "sacct: garbage\n"
    )
    asked = dict.fromkeys(["5_0", "5_1", "5_2", "5_3", "5_4", "6"], AT)
    assert parse_sacct(text, asked) == {
        "5_0": JobState("COMPLETED", "", "0:0", "n1"),
        "5_1": JobState("FAILED", "", "1:0", "n2"),
        "5_2": JobState("CANCELLED", "", "0:0", "n1", "1000"),
        "5_3": JobState("PENDING", "Resources", "0:0", "", "", MARK),
        "5_4": JobState("PENDING", "Resources", "0:0", "", "", MARK),
        "6": JobState("OUT_OF_MEMORY", "", "0:125", "n3"),
    }


def test_sacct_rows_of_an_older_job_with_the_same_id_are_ignored():
    text = "5|COMPLETED|0:0|n1|2020-01-01T10:00:00|None|\n"
    assert parse_sacct(text, {"5": AT}) == {}
    assert parse_sacct(text, {"5": Question(0.0)})["5"].state == "COMPLETED"
    assert parse_sacct("5|RUNNING|0:0|n1|Unknown|None|\n", {"5": AT})["5"].state == "RUNNING"


def test_squeue():
    text = (
        "7_[4-5%2]|PENDING||snakemake-0123456789ab|JobArrayTaskLimit\n"
        "7_3|RUNNING|n2|(null)|None\n"
        "8|PENDING||(null)|(Nodes required for job are DOWN, DRAINED|or reserved)\n"
        "9|NODE_FAIL|n[1-2]|(null)|NodeDown\n"
    )
    found = parse_squeue(text)
    assert found["7_4"] == found["7_5"] == JobState("PENDING", "JobArrayTaskLimit", "", "", "", MARK)
    assert found["7_3"] == JobState("RUNNING", "", "", "n2")
    assert found["8"].reason.startswith("(Nodes required")
    assert found["9"] == JobState("NODE_FAIL", "NodeDown", "", "n[1-2]")


def test_scontrol():
    text = (
        "JobId=21 ArrayJobId=20 ArrayTaskId=0 JobName=a JobState=RUNNING Reason=None ExitCode=0:0 "
        "NodeList=n1 BatchHost=n1\n"
        "JobId=20 ArrayJobId=20 ArrayTaskId=1-2,5%2 ArrayTaskThrottle=2 JobName=a JobState=PENDING "
        "Reason=Resources ExitCode=0:0 NodeList=(null) Comment=snakemake-0123456789ab Power=\n"
        "JobId=30 JobName=has=equals JobState=TIMEOUT Reason=TimeLimit ExitCode=0:15 NodeList=n2\n"
        "No jobs in the system\n"
    )
    found = parse_scontrol(text)
    assert set(found) == {"20_0", "20_1", "20_2", "20_5", "30"}
    assert found["20_0"] == JobState("RUNNING", "", "0:0", "n1")
    assert found["20_5"] == JobState("PENDING", "Resources", "0:0", "", "", MARK)
    assert found["30"] == JobState("TIMEOUT", "TimeLimit", "0:15", "n2")


def test_small_answers():
    assert max_array_size("MailProg = /bin/mail\nMaxArraySize            = 1001\n") == 1001
    assert max_array_size("slurm_load_ctl_conf error") is None
    assert marked_jobs("12|abc\n13|abc\n14|other\n12|abc\n15|(null)\n", "abc") == ["12", "13"]
