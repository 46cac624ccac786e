"""Whole Snakemake runs on this machine, as a user starts them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.workflow

CELLS = """
rule all:
    input: expand("{cell}.out", cell=["a", "b", "c"])
rule cell:
    output: "{cell}.out"
    log: "{cell}.log"
    resources: runtime=5
    shell: "echo begin-{wildcards.cell} >> side; sleep 8; echo end-{wildcards.cell} >> side; touch {output}"
"""


class Runs:
    """Snakemake runs in a folder; all are ended with the test."""

    def __init__(self, folder: Path, snakefile: str) -> None:
        self.folder = folder
        (folder / "Snakefile").write_text(snakefile)
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *flags: str, **env: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "snakemake", "--executor", "submitit", "--submitit-cluster", "local"]
        with (self.folder / "output").open("wb") as out:
            process = subprocess.Popen(
                [*command, "--latency-wait", "3", *flags],
                cwd=self.folder,
                env={**os.environ, **env},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # What a shell starts in the background ignores Ctrl-C, and so would all below it.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        self.processes.append(process)
        return process

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text()

    @property
    def side(self) -> list[str]:
        path = self.folder / "side"
        return path.read_text().split() if path.exists() else []

    def wait_for(self, condition, seconds: float = 90.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.output
            time.sleep(0.1)


@pytest.fixture
def runs(tmp_path):
    made: list[Runs] = []

    def make(snakefile: str) -> Runs:
        made.append(Runs(tmp_path, snakefile))
        return made[-1]

    yield make
    for process in [process for one in made for process in one.processes]:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)  # so that it takes its jobs with it
            process.wait(30)


def overlap(side: list[str]) -> int:
    """Most cells that were computed at the same time."""
    running = most = 0
    for line in side:
        running += 1 if line.startswith("begin") else -1
        most = max(most, running)
    return most


def test_jobs_of_a_killed_head_are_adopted_and_no_cell_is_computed_twice(runs):
    work = runs(CELLS)
    head = work.start("--jobs", "2")
    work.wait_for(lambda: len(work.side) == 2)
    head.kill()
    head.wait(10)
    unlock = work.start("--unlock", "--jobs", "1")
    assert unlock.wait(60) == 0, work.output
    assert work.start("--jobs", "2", "--rerun-incomplete").wait(120) == 0, work.output
    assert work.output.count("Adopting local job") == 2
    assert work.output.count("is local job") == 1
    assert sorted(work.side) == sorted(f"{what}-{cell}" for what in ("begin", "end") for cell in "abc")
    assert overlap(work.side) <= 2
    rest = [path.name for path in (work.folder / ".snakemake/submitit").rglob("*") if path.is_file()]
    assert not [name for name in rest if name.endswith((".json", "_result.pkl"))]


def test_without_adoption_the_old_job_ends_before_the_new_one_begins(runs):
    work = runs(CELLS.replace('["a", "b", "c"]', '["a"]'))
    head = work.start("--jobs", "1")
    work.wait_for(lambda: work.side == ["begin-a"])
    head.kill()
    head.wait(10)
    flags = ["--jobs", "1", "--nolock", "--rerun-incomplete", "--submitit-no-reattach"]
    assert work.start(*flags).wait(120) == 0, work.output
    assert work.side == ["begin-a", "begin-a", "end-a"]


SECRET = """
envvars: "API_TOKEN"
rule all:
    input: "good.out", "bad.out"
rule good:
    output: "good.out"
    shell: "test ${{#API_TOKEN}} = 20 && touch {output}"
rule bad:
    output: "bad.out"
    shell: "exit 3"
"""


def test_secrets_reach_the_job_and_no_file(runs):
    secret = "hunter2hunter2hunter"
    work = runs(SECRET)
    assert work.start("--jobs", "2", "--keep-going", "--submitit-keep-logs", API_TOKEN=secret).wait(120) == 1
    assert (work.folder / "good.out").exists(), work.output
    files = [path for path in work.folder.rglob("*") if path.is_file()]
    assert any(path.name.endswith("_submitted.pkl") for path in files)
    assert any(path.name.endswith("_log.out") for path in files)
    assert [path for path in files if secret.encode() in path.read_bytes()] == []


FAILING = """
rule all:
    input: "bad.out", "wrong.out", "g2.out", "good.out"
rule bad:
    output: "bad.out"
    resources: runtime=5
    shell: "echo words-in-the-log >&2; exit 3"
rule wrong:
    output: "wrong.out"
    resources: slurm_partiton="gpu"
    shell: "touch {output}"
rule g1:
    output: "g1.out"
    group: "both"
    resources: runtime=5
    shell: "touch {output}"
rule g2:
    input: "g1.out"
    output: "g2.out"
    group: "both"
    resources: runtime=5
    shell: "echo words-of-the-group >&2; exit 4"
rule good:
    output: "good.out"
    resources: runtime=5
    shell: "touch {output}"
"""


def test_failures_are_explained_and_the_rest_finishes(runs):
    work = runs(FAILING)
    assert work.start("--jobs", "4", "--keep-going").wait(180) == 1
    assert (work.folder / "good.out").exists()
    assert "| words-in-the-log" in work.output and "JobFailed: bad-" in work.output
    assert "Did you mean slurm_partition?" in work.output
    assert "| words-of-the-group" in work.output
    assert "wrong has no resource runtime" not in work.output


def test_a_misspelt_resource_of_a_forced_rerun_deletes_nothing(runs):
    work = runs(CELLS)
    for cell in "abc":
        (work.folder / f"{cell}.out").write_text("good")
    flags = ("--jobs", "4", "--forcerun", "cell", "--set-resources", "cell:runtim=1")
    assert work.start(*flags).wait(120) == 1
    assert "Did you mean runtime?" in work.output
    assert [(work.folder / f"{cell}.out").read_text() for cell in "abc"] == ["good"] * 3


def test_ctrl_c_leaves_no_process(runs):
    work = runs(CELLS.replace("sleep 8", "echo $$ >> pids; trap '' TERM; sleep 100 & sleep 100"))
    head = work.start("--jobs", "2")
    work.wait_for(lambda: len(work.side) == 2)
    time.sleep(0.5)
    pids = [int(line) for line in (work.folder / "pids").read_text().split()]
    head.send_signal(signal.SIGINT)
    head.wait(240)
    assert len(pids) == 2
    work.wait_for(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids), 60)


def test_a_jobs_python_is_started_as_it_is_said(runs):
    work = runs(CELLS.replace('["a", "b", "c"]', '["a"]').replace("sleep 8; ", ""))
    wrapper = work.folder / "wrapper"
    wrapper.write_text(f'#!/bin/sh\necho "$2" >> wrapped\nexec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    assert work.start("--jobs", "1", SNAKEMAKE_SUBMITIT_PYTHON=str(wrapper)).wait(120) == 0, work.output
    assert work.side == ["begin-a", "end-a"] and (work.folder / "wrapped").read_text() == "snakemake\n"
