"""What dispatch costs: this project's executor plugin beside snakemake-executor-plugin-slurm.

    python benchmarks/dispatch.py [--jobs 300] [--interval 10] [--out dispatch.json]

Starts a private Slurm of 8 virtual nodes on this machine (root; see tests/slurm/private_cluster.py) and runs
the same workflow of short jobs once with each plugin, one after the other, on that same cluster with the same
polling interval. The other plugin comes from the package registry, into a throw-away environment that sees
this one's packages; if it cannot be had, this project's plugin is measured alone and that is said.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import site
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from stamp import stamp  # noqa: E402

from slurm.packages import ClusterError  # noqa: E402
from slurm.private_cluster import PrivateCluster  # noqa: E402
from slurm.workflow import Run, Workflow  # noqa: E402

OTHER = "snakemake-executor-plugin-slurm"
JOBS = """
rule all:
    input: expand("out/{{n}}.txt", n=range({count}))
rule short:
    output: "out/{{n}}.txt"
    resources: runtime=5, mem_mb=100
    shell: "touch {{output}}"
"""
# name -> what to add to the command line
OURS = {"submitit": ["--executor", "submitit", "--submitit-cluster", "slurm"]}
THEIRS = {
    "slurm": ["--executor", "slurm", "--slurm-no-account"],
    "slurm, arrays": [
        *("--executor", "slurm", "--slurm-no-account"),
        *("--slurm-array-jobs", "all", "--slurm-array-limit", "100"),
    ],
}


@dataclass(frozen=True)
class Row:
    """One run. seconds: from start to end of Snakemake; sbatch, queries: calls of Slurm's programs."""

    plugin: str
    jobs: int
    done: int
    seconds: float
    sbatch: int
    queries: int

    @property
    def per_job(self) -> float:
        """Seconds per job that was done: the cluster's slots are the same for all plugins."""
        return self.seconds / self.done if self.done else float("nan")


def other_python(folder: Path) -> str:
    """An interpreter that has the other plugin as well. Raises CalledProcessError if the registry lacks it."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=300)
    python = folder / "bin" / "python"
    asked = "import site; print(site.getsitepackages()[0])"
    found = subprocess.run([python, "-c", asked], check=True, capture_output=True, text=True, timeout=60)
    Path(found.stdout.strip(), "base.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    subprocess.run([python, "-m", "pip", "install", "--quiet", OTHER], check=True, timeout=600)
    return str(python)


def measure(
    cluster: PrivateCluster,
    folder: Path,
    name: str,
    python: str,
    flags: Sequence[str],
    options: argparse.Namespace,
) -> Row:
    """Run the jobs once."""
    work = Workflow(folder / name.replace(", ", "-"), cluster.conf, JOBS.format(count=options.jobs))
    # the other plugin takes SLURM_CONF out of its jobs' environment, and this cluster has no /etc/slurm
    srun = work.folder / "spies" / "srun"
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={cluster.conf} exec {shutil.which("srun")} "$@"\n')
    srun.chmod(0o755)
    interval = ["--seconds-between-status-checks", str(options.interval)]
    command = [python, "-m", "snakemake", "--jobs", str(options.jobs), *interval, "--latency-wait", "30"]
    run = work.literally(*command, "--quiet", "all", *flags)
    try:
        run.wait(options.patience)
    except AssertionError as error:
        print(f"{name}: {str(error).splitlines()[0]}", file=sys.stderr)
    finally:
        work.end()
        cluster.client("scancel", "--user=root")
    done = len(list((work.folder / "out").glob("*.txt")))
    return Row(
        name, options.jobs, done, run.seconds or options.patience, len(run.calls("sbatch")), asked(run)
    )


def asked(run: Run) -> int:
    """Calls that ask Slurm for anything."""
    return sum(len(run.calls(program)) for program in ("sacct", "squeue", "scontrol"))


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = [
        "| plugin | jobs done | s | s per job | sbatch calls | queries |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row.plugin} | {row.done} of {row.jobs} | {row.seconds:.0f} | {row.per_job:.2f} | {row.sbatch} | {row.queries} |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--interval", type=int, default=10, help="seconds between polling rounds")
    parser.add_argument("--patience", type=float, default=3600, help="seconds after which a run is given up")
    parser.add_argument("--python", help="an interpreter that has both plugins already")
    parser.add_argument("--out", type=Path, help="write the rows as JSON too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dispatch-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)  # the cluster's database runs as a user of its own
        plan = {name: (options.python or sys.executable, flags) for name, flags in OURS.items()}
        try:
            python = options.python or other_python(folder / "venv")
            plan = {name: (python, flags) for name, flags in {**OURS, **THEIRS}.items()}
        except (subprocess.SubprocessError, OSError) as error:
            print(f"{OTHER} cannot be installed here, so it is left out: {error}", file=sys.stderr)
        cluster = PrivateCluster(folder / "cluster", accounting=True)
        try:
            cluster.start()
        except ClusterError as error:
            print(f"no private Slurm: {error}", file=sys.stderr)
            return 1
        try:
            rows = [measure(cluster, folder, name, *how, options) for name, how in plan.items()]
        finally:
            cluster.stop()
    here = stamp()
    print(
        f"{os.cpu_count()} cores, 8 virtual nodes of 2, polling every {options.interval} s\n\n{table(rows)}\n\n{here}"
    )
    if options.out:
        made = {**here, "rows": [asdict(row) for row in rows]}
        options.out.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
