"""A job that Slurm killed for its memory (which needs cgroups), from the scheduler's words to the message."""

import pytest

from snakemake_executor_plugin_submitit.clients import Answer
from snakemake_executor_plugin_submitit.explain import describe
from snakemake_executor_plugin_submitit.poll import Poller
from snakemake_executor_plugin_submitit.results import log_path
from snakemake_executor_plugin_submitit.sources import Sources

from .fakes import make_submission

MARK = "snakemake-0123456789ab"
# As clusters with cgroups answer the plugin's own queries.
SAID = {
    "sacct": f"6_0|OUT_OF_MEMORY|0:125|gpu-n17|2024-05-01T10:00:00|OutOfMemory|{MARK}\n",
    "squeue": f"6_0|OUT_OF_MEMORY|gpu-n17|{MARK}|OutOfMemory\n",
    "scontrol": (
        "JobId=7 ArrayJobId=6 ArrayTaskId=0 JobName=predict+score-x2-3f9a UserId=ada(1000) GroupId=lab(100) "
        "MCS_label=N/A Priority=4294901757 Nice=0 Account=lab QOS=normal JobState=OUT_OF_MEMORY "
        "Reason=OutOfMemory Dependency=(null) Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:125 "
        f"RunTime=00:01:07 TimeLimit=04:00:00 Partition=gpu NodeList=gpu-n17 BatchHost=gpu-n17 Comment={MARK}\n"
    ),
}


class Recorded:
    """A cluster that gives one recorded answer for ever."""

    def __init__(self, source: str) -> None:
        self._sources = Sources(source, lambda command: Answer(0, SAID[source], ""))

    def states(self, jobs):
        return self._sources.states(jobs, 1100.0)


@pytest.mark.parametrize("source", SAID)
def test_the_second_round_reports_it_with_state_host_and_advice(tmp_path, source):
    job = make_submission(tmp_path, job_id="6_0", token=f"{MARK}-0")
    log_path(tmp_path, "6_0").write_text(
        "step 3 of 9\nslurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.0 cgroup.\n"
    )
    poller = Poller(Recorded(source), 90)
    assert poller.round([job], 1100.0) == []
    (report,) = poller.round([job], 1120.0)
    text = describe(job, report.verdict, report.outcome, "", 8000)
    for words in ("OUT_OF_MEMORY", "on gpu-n17", "raise mem_mb", "oom-kill", "reason: OutOfMemory"):
        assert words in text
