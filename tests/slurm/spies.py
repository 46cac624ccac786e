"""Wrappers of Slurm's programs that write down each call, and what it answered, in the output of a run."""

from __future__ import annotations

import shutil
from pathlib import Path

PROGRAMS = ("sbatch", "scancel", "sacct", "squeue", "scontrol")
# One write per call, to a file opened for appending: lines of the run and of other calls stay whole.
_SPY = """\
#!/bin/sh
if [ -n "$SLURM_JOB_ID" ] || [ -z "$SPY_LOG" ]; then exec {real} "$@"; fi
out=$({real} "$@")
status=$?
printf '@{name} %s\\n%s\\n' "$*" "$(printf '%s' "$out" | sed 's/^/@@ /')" >> "$SPY_LOG"
[ -z "$out" ] || printf '%s\\n' "$out"
exit $status
"""


def put_spies(folder: Path) -> Path:
    """A folder of wrappers, to stand first in PATH; calls from inside of jobs are not written down."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PROGRAMS:
        real = shutil.which(name)
        if real is not None:
            spy = folder / name
            spy.write_text(_SPY.format(name=name, real=real))
            spy.chmod(0o755)
    return folder
