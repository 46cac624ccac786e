"""Which clients are asked, and what their silence means."""

import pytest

from snakemake_executor_plugin_submitit.clients import Answer
from snakemake_executor_plugin_submitit.sources import Sources, query
from snakemake_executor_plugin_submitit.states import UNCLEAR, Question

NOW = 2000000000.0
MARK = "snakemake-0123456789ab"
OLD = Question(1900000000.0, MARK)
JOBS = {"5_0": OLD, "5_1": OLD, "6": OLD}
NO_ACCOUNTING = Answer(1, "", "Slurm accounting storage is disabled\n")
DOWN = Answer(1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
EMPTY = Answer(0, "", "")


def sacct(*rows):
    return Answer(0, "".join(f"{i}|{s}|0:0|n1|2033-01-01T00:00:00|None|\n" for i, s in rows), "")


def squeue(*rows, comment="(null)"):
    return Answer(0, "".join(f"{i}|{s}|n1|{comment}|None\n" for i, s in rows), "")


class Script:
    """Answers by program, and the programs that were called."""

    def __init__(self, **answers):
        self.answers = answers
        self.calls = []

    def __call__(self, command):
        self.calls.append(command[0])
        return self.answers[command[0]]


def ask(script, choice="auto", rounds=1, jobs=None):
    sources = Sources(choice, script)
    for _ in range(rounds):
        found = sources.states(JOBS if jobs is None else jobs, NOW)
    return {job_id: state.state for job_id, state in found.items()}


def test_one_query_if_sacct_knows_all():
    script = Script(sacct=sacct(("5_0", "RUNNING"), ("5_1", "FAILED"), ("6", "PENDING")))
    assert ask(script) == {"5_0": "RUNNING", "5_1": "FAILED", "6": "PENDING"}
    assert script.calls == ["sacct"]


def test_without_accounting_sacct_is_asked_once():
    script = Script(sacct=NO_ACCOUNTING, squeue=squeue(("5_[0-1]", "PENDING"), ("6", "RUNNING")))
    assert ask(script, rounds=3) == {"5_0": "PENDING", "5_1": "PENDING", "6": "RUNNING"}
    assert script.calls == ["sacct", "squeue", "squeue", "squeue"]


def test_missing_programs_are_asked_once():
    missing = Answer(-1, "", "sacct: [Errno 2] No such file or directory: 'sacct'")
    script = Script(sacct=missing, squeue=squeue(("5_[0-1]", "PENDING"), ("6", "RUNNING")))
    ask(script, rounds=2)
    assert script.calls == ["sacct", "squeue", "squeue"]


def test_a_job_is_unknown_only_if_every_source_denies_it():
    script = Script(sacct=sacct(("6", "RUNNING")), squeue=EMPTY, scontrol=EMPTY)
    assert ask(script) == {"6": "RUNNING"}
    assert script.calls == ["sacct", "squeue", "scontrol"]


@pytest.mark.parametrize("silent", ["sacct", "squeue", "scontrol"])
def test_one_silent_source_keeps_unknown_jobs_unclear(silent):
    answers = {"sacct": EMPTY, "squeue": EMPTY, "scontrol": EMPTY, silent: DOWN}
    assert ask(Script(**answers)) == dict.fromkeys(JOBS, UNCLEAR)


def test_a_later_source_fills_what_a_silent_one_left_open():
    script = Script(sacct=DOWN, squeue=squeue(("5_[0-1]", "PENDING"), ("6", "RUNNING")))
    assert UNCLEAR not in ask(script).values()


def test_squeue_may_know_none_of_the_ids():
    invalid = Answer(1, "", "slurm_load_jobs error: Invalid job id specified")
    assert ask(Script(squeue=invalid), "squeue") == {}


def test_a_chosen_source_is_the_only_one_asked():
    script = Script(sacct=NO_ACCOUNTING)
    assert ask(script, "sacct", rounds=2) == dict.fromkeys(JOBS, UNCLEAR)
    assert script.calls == ["sacct", "sacct"]


def test_young_jobs_that_accounting_has_not_seen_cost_no_second_query():
    script = Script(sacct=sacct(("6", "RUNNING")))
    found = ask(script, jobs={"6": OLD, "9": Question(NOW - 1)})
    assert found == {"6": "RUNNING", "9": "PENDING"} and script.calls == ["sacct"]


def test_queries_name_each_array_once():
    for source in ("sacct", "squeue"):
        assert query(source, JOBS)[-2:] == ["-j", "5,6"]
    assert query("scontrol", JOBS) == ["scontrol", "-o", "show", "job"]


@pytest.mark.parametrize(
    ("comment", "known"),
    [(MARK, True), ("(null)", True), ("the site's own words", True), ("snakemake-ffffffffffff", False)],
)
def test_another_submission_with_the_same_id_is_not_ours(comment, known):
    script = Script(squeue=squeue(("6", "RUNNING"), comment=comment))
    assert ask(script, "squeue", jobs={"6": OLD}) == ({"6": "RUNNING"} if known else {})
