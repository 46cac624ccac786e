"""Stage `tune`: what is trained for a cell, with the reducer at work. Resumes at the step that it was stopped at."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prunegrid.grid.cell import Cell
from prunegrid.grid.data import outs as outs_of
from prunegrid.grid.tuning import chain, rows
from prunegrid.run import build, tuned, weights
from prunegrid.run.data import check_unchanged
from prunegrid.run.errors import BuildError
from prunegrid.run.files import file_hash, write_json, write_text
from prunegrid.run.predict import budget, code_version
from prunegrid.run.tower import text_tower

PACKAGES = ("prunegrid", "torch", "transformers", "peft", "tokenizers", "pillow", "numpy")


def tune(
    cell: Cell,
    adapter: str,
    results: Path,
    root: Path,
    device: str = "auto",
    minutes: float = 10.0,
) -> None:
    """Train the tuning `adapter` of the cell's chain into results/adapters/<adapter>/: weights.safetensors, metrics.jsonl,
    faults.json, provenance.json. What is needed to go on after an interruption lies in results/tuning/<adapter>/.

    minutes: between two saves. Raises Interrupted, with everything saved, when a signal asks.
    """
    from prunegrid.tune.errors import TuneError
    from prunegrid.tune.state import State, listening

    with listening() as stop:
        began, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
        steps = list(chain(cell))
        ids = [each.adapter_id() for each in steps]
        if adapter not in ids:
            raise BuildError(
                f"{cell.id()} has no tuning {adapter!r}; it has: {', '.join(map(str, ids)) or 'none'}"
            )
        place = ids.index(adapter)
        outs = reads(cell, root)[place]
        check_unchanged(root, results, outs)
        try:
            tuner, faults = make(steps[place], [str(i) for i in ids[:place]], results, root, device)
            home, state = tuned.folder(results, adapter), State(results / "tuning" / adapter, adapter)
            with state.alone() if _first() else nullcontext():
                tuner.run(state, stop, minutes)
                if not _first():
                    return
                _write(tuner, home, state, faults)
                seconds = time.monotonic() - began
                said = _provenance(steps[place], adapter, root, tuner, outs, started, seconds)
                write_json(home / "provenance.json", said)
                state.file.unlink()
        except TuneError as error:
            raise BuildError(str(error)) from error


def make(cell: Cell, before: list[str], results: Path, root: Path, device: str) -> tuple[Any, Any]:
    """(a Tuner for the cell's tuning, the faults of its data). before: adapters that it starts from."""
    from prunegrid.tune import devices
    from prunegrid.tune.conversations import read
    from prunegrid.tune.loop import Tuner
    from prunegrid.tune.packing import Packer
    from prunegrid.tune.recipe import Recipe

    tuning = cell.tuning
    try:
        recipe = Recipe.of(tuning)
    except ValueError as error:  # of a cell that was planned before its options were judged
        raise BuildError(f"conf/tuning/{tuning['name']}.yaml: {error}") from error
    picked = devices.join(weights.device_of(cell, device))
    training = replace(
        cell, reducer=tuning["reducer"], model={**cell.model, "dtype": recipe.dtype}, seed=tuning["seed"]
    )
    reducer = build.reducer(training, budget(training, results))
    build.check_fits(training, reducer, weights.shape(cell, root))
    data = data_folder(tuning, results, root)
    file = data / tuning["conversations"]
    conversations, faults = read(file, data / tuning["images"])
    model, processor = weights.load(training, root, picked)
    tower = text_tower(training, root, picked, reducer)
    packer = Packer(processor, cell.model["template"], cell.model["tokens"], recipe.style, recipe.max_length)
    conversations = packer.check(conversations, faults)
    print(faults, flush=True)
    faults.check(recipe.faults, file)
    starts = [tuned.folder(results, each) / "weights.safetensors" for each in before]
    made = Tuner(model, reducer, recipe, packer, conversations, tuning["seed"], picked, starts, tower)
    return made, faults


def reads(cell: Cell, root: Path) -> list[dict[str, str]]:
    """path -> md5 of what each tuning of a cell's chain reads. BuildError if data.dvc no longer pins what was planned."""
    found = [row["data"] for row in rows(cell, outs_of(root))]
    for each, data in zip(chain(cell), found, strict=True):
        if each.tuning["data"] and not any(each.tuning["digest"].startswith(md5) for md5 in data.values()):
            raise BuildError(
                f"{each.tuning['data']} is pinned anew since {cell.id()} was planned; plan its study again"
            )
    return found


def data_folder(tuning: Mapping[str, Any], results: Path, root: Path) -> Path:
    """Where a tuning's conversations lie: in an out of data.dvc, or where the module that makes them put them."""
    return root / tuning["data"] if tuning["data"] else results / "made" / tuning["digest"]


def _first() -> bool:
    return int(os.environ.get("RANK", "0")) == 0


def _write(tuner: Any, home: Path, state: Any, faults: Any) -> None:
    """The weights last: who finds them finds a finished tuning."""
    from prunegrid.tune import parts

    write_json(home / "faults.json", {"counts": faults.counts(), "ids": faults.found})
    write_text(home / "metrics.jsonl", state.metrics.read_text(encoding="utf-8"))
    parts.keep(home / "weights.safetensors", tuner.weights, tuner.recipe)


def _provenance(
    cell: Cell, adapter: str, root: Path, tuner: Any, outs: Mapping[str, str], started: str, seconds: float
) -> dict[str, Any]:
    """Where these weights come from."""
    import torch

    cuda = tuner.device.startswith("cuda")
    return {
        "adapter": adapter,
        "model": dict(cell.model),
        "tuning": dict(cell.tuning),
        "data": dict(outs),
        "digest": cell.tuning["digest"],
        "code": cell.tuning["code"],
        "git": code_version(root),
        "steps": tuner.steps,
        "parameters": sum(w.numel() for w in tuner.weights.values()),
        "conversations": len(tuner.conversations),
        "starts_from": {f.parent.name: file_hash(f) for f in tuner.before},
        "versions": {p: version(p) for p in PACKAGES} | {"python": platform.python_version()},
        "hardware": torch.cuda.get_device_name() if cuda else f"{platform.machine()} cpu",
        "devices": int(os.environ.get("WORLD_SIZE", "1")),
        "threads": torch.get_num_threads(),
        "started": started,
        "seconds": seconds,
    }
