"""The command line: `prunegrid <command>` or `python -m prunegrid <command>`. Light until a stage needs torch."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from prunegrid import warm
from prunegrid.grid.errors import GridError
from prunegrid.run import stages
from prunegrid.run.errors import BuildError
from prunegrid.run.files import ResultError


def parser(stages_alone: bool = False) -> argparse.ArgumentParser:
    """All commands, or those that rules run: they start sooner without what the others import."""
    made = argparse.ArgumentParser(prog="prunegrid", description="Ablation grids of visual-token reduction.")
    made.add_argument("--root", type=Path, default=Path(), help="the project folder (default: here)")
    made.add_argument("--results", type=Path, default=None, help="the results folder (default: ROOT/results)")
    commands = made.add_subparsers(dest="command", required=True)
    for module in (stages,) if stages_alone else _modules():
        module.add(commands)
    return made


def _modules() -> tuple[Any, ...]:
    """Modules with commands, in the order of the help text."""
    from prunegrid.run import (
        cell_command,
        data_commands,
        doctor,
        grid_commands,
        judge,
        latency_commands,
        model_commands,
        score_file,
        studies,
        warm_command,
    )

    return (
        *(grid_commands, studies, cell_command, stages, data_commands, model_commands, doctor),
        *(score_file, judge, latency_commands, warm_command),
    )


def main(argv: list[str] | None = None) -> int:
    """Run a command; the user's errors come out as one clear line, exit code 2."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] in [[name] for name in stages.HEAVY]:
        code = warm.ask("prunegrid", words)
        if code is not None:
            return code
    from prunegrid.tasks import TaskError

    arguments = parser(stages_alone=words[:1] in [[name] for name in stages.OF_RULES]).parse_args(words)
    arguments.results = arguments.results or arguments.root / "results"
    try:
        _check_folders(arguments)
        code = int(arguments.run(arguments) or 0)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # who reads has seen enough, as in `prunegrid ls demo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or its flush at the end fails again
        return 0
    except (GridError, BuildError, ResultError, TaskError) as error:
        print(f"prunegrid: {error}", file=sys.stderr)
        return 2


def _check_folders(arguments: argparse.Namespace) -> None:
    if not arguments.root.is_dir():
        raise GridError(f"--root {arguments.root} is no folder; it is the one that holds conf/ and data.dvc")
    if arguments.results.exists() and not arguments.results.is_dir():
        raise GridError(
            f"--results {arguments.results} is a file; name a folder, it is made where it is missing"
        )


if __name__ == "__main__":
    sys.exit(main())
