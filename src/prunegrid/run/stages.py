"""The commands that rules run: one stage of one cell each. A failure leaves failed.json with its reason."""

from __future__ import annotations

import argparse
import gc
import shlex
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prunegrid.grid.cell import Cell
from prunegrid.grid.errors import GridError
from prunegrid.run.files import Files, read_cell, read_json, write_json
from prunegrid.run.named import cell_file, find

STORE = "sqlite:///mlflow.db"  # where MLflow keeps its runs unless told otherwise
OF_RULES = ("tune", "predict", "score", "cost", "compare")
HEAVY = ("tune", "predict")  # of these, those that import torch


def add(commands: Any) -> None:
    """Add the stage commands to the parser."""
    for name, run, text in (
        ("tune", _tune, "train what a cell is evaluated with"),
        ("predict", _predict, "answer a cell's questions"),
        ("score", _score, "judge a cell's answers"),
        ("cost", _cost, "count a cell's tokens and FLOPs"),
        ("compare", _compare, "set a cell beside its full-token and blind twins, or beside any other cell"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("cell", help="a cell id, the beginning of one, or the path of a cell.yaml")
        command.set_defaults(run=run, stage=name)
        if name == "tune":
            command.add_argument("--adapter", help="id of one tuning of the cell (default: all, in order)")
            command.add_argument(
                "--device", default="auto", help="auto, cpu, cuda; a launcher may start several"
            )
            command.add_argument("--minutes", type=float, default=10.0, help="between two saves of the state")
        if name in ("predict", "score", "cost"):
            command.add_argument(
                "--code", default="unknown", help="hash of the code that runs, for provenance"
            )
        if name == "predict":
            command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1")
            command.add_argument(
                "--shard", help="K/N: answer the K-th of N parts; a predict without it joins them"
            )
        if name == "compare":
            command.add_argument("other", nargs="?", help="a second cell: print the first minus this one")
            command.add_argument("--json", action="store_true", help="with a second cell: machine-readable")
            command.add_argument("--baseline", help="id of the full-token cell")
            command.add_argument("--blind", help="id of the cell without visual tokens")

    mini = commands.add_parser("mini", help="the embedded model: its bars")
    mini.add_argument("verb", choices=["report"])
    mini.set_defaults(run=_mini)
    wrapup = commands.add_parser("wrapup", help="table, failures and where to look, after a run")
    wrapup.add_argument("study")
    wrapup.add_argument("--store", default=STORE, help="where MLflow keeps its runs")
    wrapup.set_defaults(run=_wrapup)


def _mini(arguments: argparse.Namespace) -> int:
    from prunegrid.run.mini_report import report

    bars = report(arguments.root, arguments.results)
    print((arguments.results / "mini" / "report.md").read_text(encoding="utf-8"))
    return 0 if all(b.met for b in bars) else 1


def _wrapup(arguments: argparse.Namespace) -> int:
    from prunegrid.run.wrapup import wrap_up

    return wrap_up(arguments.root, arguments.results, arguments.study, arguments.store)


def _cell(arguments: argparse.Namespace) -> Cell:
    return read_cell(cell_file(arguments.results, arguments.cell))


def _guarded(arguments: argparse.Namespace, work: Any, where: Path | None = None) -> None:
    """Run a stage; on failure write what a report needs, into `where` if it is no cell's own, then fail."""
    cell = _cell(arguments)
    files = Files.of(arguments.results, cell)
    where = where or (files.prediction if arguments.stage == "predict" else files.cell)
    try:
        work(cell)
    except Exception as error:
        lines = traceback.format_exc().splitlines()
        write_json(
            where / "failed.json",
            {
                "stage": arguments.stage,
                "reason": f"{type(error).__name__}: {error}",
                "log": f"logs/{arguments.stage}/{where.name}.log",
                "log_tail": lines[-20:],
                "rerun": shlex.join(["prunegrid", "rerun", files.cell_id]),
            },
        )
        raise
    old = where / "failed.json"
    if old.exists() and read_json(old, "delete it")["stage"] == arguments.stage:
        old.unlink()  # another stage's failure stands until that stage has run


@contextmanager
def _importing() -> Iterator[None]:
    """No search for garbage meanwhile: what modules define stays, and to look through it again and again takes a fifth
    of the time that torch and transformers need to start."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _tune(arguments: argparse.Namespace) -> None:
    with _importing():
        from prunegrid.grid.tuning import chain
        from prunegrid.run.tune import tune
        from prunegrid.run.tuned import folder

    ids = [str(each.adapter_id()) for each in chain(_cell(arguments))]
    for adapter in [arguments.adapter] if arguments.adapter else ids:
        _guarded(
            arguments,
            lambda cell, adapter=adapter: tune(
                cell, adapter, arguments.results, arguments.root, arguments.device, arguments.minutes
            ),
            folder(arguments.results, adapter),
        )


def _twins(results: Path, cell: str) -> str:
    """What the cell is compared with in its studies, for an error."""
    for file in sorted((results / "plan").glob("*.json")):
        for row in read_json(file, f"run `prunegrid plan {file.stem}`")["cells"]:
            if row["id"] == cell and row["baseline"]:
                return f"its full-token twin is {row['baseline']}"
    return "`prunegrid ls STUDY` lists them"


def _predict(arguments: argparse.Namespace) -> None:
    with _importing():
        from prunegrid.run.predict import predict
        from prunegrid.run.shards import Shard

    shard = Shard.parse(arguments.shard) if arguments.shard else None
    _guarded(
        arguments,
        lambda cell: predict(
            cell, arguments.results, arguments.root, arguments.code, arguments.device, shard
        ),
    )


def _score(arguments: argparse.Namespace) -> None:
    from prunegrid.run.score import score

    _guarded(arguments, lambda cell: score(cell, arguments.results, arguments.code))


def _cost(arguments: argparse.Namespace) -> None:
    from prunegrid.run.cost import cost

    _guarded(arguments, lambda cell: cost(cell, arguments.results, arguments.root, arguments.code))


def _compare(arguments: argparse.Namespace) -> int | None:
    if arguments.other:
        from prunegrid.run.versus import versus

        return versus(arguments.results, arguments.cell, arguments.other, as_json=arguments.json)
    if not arguments.cell.endswith(".yaml") and not arguments.baseline:
        cell = find(arguments.results, arguments.cell)
        raise GridError(
            f"compare {cell} with what? Give a second cell, whose answers are taken from the first one's: "
            f"`prunegrid compare {cell} CELL` ({_twins(arguments.results, cell)})"
        )
    from prunegrid.run.compare import compare

    _guarded(arguments, lambda cell: compare(cell, arguments.results, arguments.baseline, arguments.blind))
    return None
