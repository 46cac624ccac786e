"""`prunegrid studies`: which there are, and several of them one after the other; cells that they share are computed once."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from typing import Any

from prunegrid.grid import twin
from prunegrid.grid.builder import DEFAULTS
from prunegrid.grid.errors import unknown
from prunegrid.grid.study import Study, points


def add(commands: Any) -> None:
    """Add the command to the parser."""
    text = "list studies and their twins, or run them one after the other"
    studies = commands.add_parser("studies", help=text, description=text)
    studies.add_argument("pattern", nargs="*", help="names, or 'mini_vtip_*' (default: all)")
    studies.add_argument("--mini", action="store_true", help="only those that need the embedded model alone")
    studies.add_argument("--without", nargs="+", default=[], metavar="PATTERN", help="leave these out")
    studies.add_argument(
        "--run", dest="profile", metavar="PROFILE", help="run them by this Snakemake profile"
    )
    studies.add_argument("--limit", type=int, help="first questions of each task only")
    studies.add_argument(
        "--config",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="further settings of workflow/config.yaml",
    )
    studies.set_defaults(run=_studies)


def _studies(arguments: argparse.Namespace) -> int:
    conf = arguments.root / "conf"
    known = [twin.load(conf, name) for name in twin.names(conf)]
    for pattern in (*arguments.pattern, *arguments.without):
        if not any(fnmatch(study.name, pattern) for study in known):
            raise unknown("study", pattern, (study.name for study in known), "studies")
    chosen = [
        study
        for study in known
        if _fits(study.name, arguments.pattern or ["*"])
        and not _fits(study.name, arguments.without)
        and (not arguments.mini or set(_models(study)) == {"mini"})
    ]
    if arguments.profile:
        return _run([s.name for s in chosen if not s.unsupported], arguments)
    width = max((len(study.name) for study in chosen), default=0)
    for study in chosen:
        why = " (unsupported)" if study.unsupported else ""
        print(f"{study.name:{width}}  {study.title}{why}")
    return 0


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _models(study: Study) -> Iterator[str]:
    return (str(point.get("model", DEFAULTS["model"])) for point in points(study, {}))


def _run(names: Sequence[str], arguments: argparse.Namespace) -> int:
    """Every study, also behind one that failed. 1 if any failed."""
    settings = [] if arguments.limit is None else [f"limit={arguments.limit}"]
    settings += arguments.config
    snakemake = [
        sys.executable, "-m", "snakemake", "--directory", str(arguments.root), "--snakefile",
        str(arguments.root / "Snakefile"), "--profile", arguments.profile, "--config",
    ]  # fmt: skip
    failed, started = [], time.monotonic()
    for number, name in enumerate(names, 1):
        before = time.monotonic()
        code = _ended([*snakemake, f"study={name}", *settings])
        failed += [name] if code else []
        said = f"FAILED ({code})" if code else "done"
        print(f"{number} of {len(names)}  {name}: {said}, {_minutes(before)}", flush=True)
    print(f"{len(names) - len(failed)} of {len(names)} studies done, {_minutes(started)}")
    if failed:
        print(f"FAILED: {', '.join(failed)}")
    return bool(failed)


def _ended(command: Sequence[str]) -> int:
    """Exit status. Who ends us (SIGTERM) ends Snakemake, which waits for what it has started; no study follows."""
    with subprocess.Popen(command) as process:

        def end(number: int, _: Any) -> None:
            process.send_signal(number)
            raise SystemExit(128 + number)

        before = signal.signal(signal.SIGTERM, end)
        try:
            return process.wait()
        finally:
            signal.signal(signal.SIGTERM, before)


def _minutes(since: float) -> str:
    return f"{(time.monotonic() - since) / 60:.1f} min"
