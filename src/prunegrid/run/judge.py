"""`prunegrid judge`: ask a judge about answers, and store what it says for scoring."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

CONFIG = Path("conf") / "judge.yaml"


def add(commands: Any) -> None:
    """Add the command to the parser."""
    text = "ask another model about the answers of llava_wild, mmvet or a video task; needs the network"
    command = commands.add_parser("judge", help=text, description=text)
    command.add_argument("task", help="llava_wild, mmvet, msvd_qa, msrvtt_qa, activitynet_qa")
    command.add_argument("answers", nargs="+", type=Path, help="answer files, as for score-file")
    command.add_argument("--annotations", nargs="+", type=Path, default=[], help="the benchmark's own files")
    command.add_argument("--store", type=Path, required=True, help="the .jsonl that keeps the judgements")
    command.add_argument("--runs", type=int, default=3, help="how often each answer is judged")
    command.add_argument("--config", type=Path, help=f"who judges (default: ROOT/{CONFIG})")
    command.add_argument("--base-url", help="another endpoint than the configuration's")
    command.add_argument("--model", help="another judge than the configuration's")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Judge what is not stored yet. 1 if an answer could not be judged: nothing is stored for it."""
    from prunegrid.tasks import TaskError
    from prunegrid.tasks.judging.client import ask
    from prunegrid.tasks.judging.store import judge_all
    from prunegrid.tasks.layouts import read
    from prunegrid.tasks.layouts.answered import settle

    if arguments.runs < 1:
        raise TaskError(f"runs {arguments.runs}: must be at least 1")
    judge = configured(arguments)
    answered = settle(read(arguments.task, arguments.answers, arguments.annotations))
    failures = judge_all(
        arguments.task,
        answered.records,
        arguments.store,
        runs=arguments.runs,
        ask=lambda messages: ask(judge, messages),
        now=lambda: datetime.now(UTC).isoformat(timespec="seconds"),
        say=lambda line: print(line, file=sys.stderr),
    )
    for line in failures[:5]:
        print(f"prunegrid: {line}", file=sys.stderr)
    if failures:
        print(f"prunegrid: {len(failures)} answers are not judged; call again to try them", file=sys.stderr)
        return 1
    print(f"{len(answered.records)} answers, {arguments.runs} runs: {arguments.store}")
    return 0


def configured(arguments: argparse.Namespace) -> Any:
    """The judge of the configuration, with what the command line says otherwise."""
    import yaml

    from prunegrid.tasks import TaskError
    from prunegrid.tasks.judging.client import Judge

    file = arguments.config or arguments.root / CONFIG
    if not file.is_file():
        raise TaskError(f"{file}: no such file; it names base_url and model of the judge")
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise TaskError(f"{file}: no plain yaml ({error})") from error
    if not isinstance(config, dict):
        raise TaskError(f"{file}: must hold options such as base_url and model")
    given = {"base_url": arguments.base_url, "model": arguments.model}
    return Judge.from_config(config | {key: value for key, value in given.items() if value})
