"""`python -m prunegrid.report {study,text}`: files in, files out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from prunegrid.report import unsupported
from prunegrid.report.cell import ResultError
from prunegrid.report.results import load_study
from prunegrid.report.summary import summarise
from prunegrid.report.tables import render_text


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, or 1 with one line of error."""
    parser = argparse.ArgumentParser(prog="python -m prunegrid.report", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    study = commands.add_parser("study", help="write a study's tables, figures and index.html")
    text = commands.add_parser("text", help="print a study's table")
    for command in (study, text):
        command.add_argument("--results", type=Path, default=Path("results"))
        command.add_argument("--study", required=True)
    study.add_argument("--out", type=Path, required=True)
    study.add_argument("--conf", type=Path, default=Path("conf"), help="for a study that cannot run")
    text.add_argument("--width", type=int, default=120)
    given = parser.parse_args(arguments)
    try:
        if given.command == "text":
            sys.stdout.write(render_text(summarise(load_study(given.results, given.study)), given.width))
        elif nothing := unsupported.declared(given.conf, given.study):
            unsupported.build(nothing, given.out)
            print(f"unsupported, with the paper's figures: {given.out / 'index.html'}")
        else:
            from prunegrid.report.study import build  # matplotlib: half a second that `text` does not need

            summary = build(given.results, given.study, given.out)
            print(f"{summary.study.progress}: {given.out / 'index.html'}")
    except ResultError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
