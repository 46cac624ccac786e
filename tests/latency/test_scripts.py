"""The programs of benchmarks/: what they say of what they timed."""

from __future__ import annotations

import ast
import importlib
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from prunegrid.latency import NOISE, Quartiles, machine

from .test_turns import Moved

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PROGRAMS = [f for f in sorted(BENCHMARKS.glob("*.py")) if "__main__" in f.read_text(encoding="utf-8")]


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("path")


@pytest.fixture
def reducers(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("reducers")


def said(path: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any, clock: Moved, **calls: Any) -> str:
    monkeypatch.setattr(path, "clock_of", lambda device: clock)
    path.prefill("16 tokens", path.taken(calls, 8, "cpu"), "random", ">= 0.9")
    text: str = capsys.readouterr().out
    return text


def test_a_prefill_speed_up_leaves_out_the_vit_of_its_own_turn(
    path: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Whole calls 1 + 9 and 1 + 4, the shortened prompt 3: 9/4 of 9/3, while the machine slows by a tenth."""
    clock = Moved(lambda now: 1 + now / 2000)
    calls = {
        "vit": clock.call("v", 1.0),
        "full": clock.call("f", 10.0),
        "shortened": clock.call("s", 3.0),
        "random": clock.call("r", 5.0),
    }
    text = said(path, monkeypatch, capsys, clock, **calls)
    assert clock.made == "vfsr" * 11
    ratio = float(text.split("x ")[-1].split()[0])
    assert ratio == pytest.approx(3 / 4, rel=0.01) and "goal >= 0.9" in text
    assert "2.2" in text.split("speed-up ")[1][:4] and NOISE not in text


def test_noise_gives_no_speed_up(path: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """The ViT now takes 1 s and now 9, in a call of 6."""
    clock = Moved()
    calls = {
        "vit": clock.call("v", 1.0, 9.0, 5.0),
        "full": clock.call("f", 20.0),
        "shortened": clock.call("s", 3.0),
        "random": clock.call("r", 6.0),
    }
    text = said(path, monkeypatch, capsys, clock, **calls)
    assert text.startswith(f"16 tokens: prefill {NOISE}: random - ViT") and "goal" not in text


def test_a_vit_that_took_longer_than_the_call_is_noise_too(
    path: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    clock = Moved()
    seconds = {"vit": 11.0, "full": 10.0, "shortened": 3.0, "random": 6.0}
    calls = {name: clock.call(name[0], s) for name, s in seconds.items()}
    assert f"{NOISE}: full - ViT -1000.00 ms" in said(path, monkeypatch, capsys, clock, **calls)


def test_time_that_a_method_adds_inside_the_vit_is_told_or_called_noise(reducers: Any) -> None:
    told = reducers.added(64.0, Quartiles(0.04, 0.03, 0.05), 4.0)
    assert told == pytest.approx({"tokens": 64, "ms": 40, "percent_of_vit": 1, "iqr_ms": 20})
    noise = reducers.added(64.0, Quartiles(0.04, -0.03, 0.05), 4.0)
    assert noise["ms"] is None and noise["note"] == NOISE and noise["iqr_ms"] == pytest.approx(80)


def test_reducers_are_timed_in_batches_of_1_and_8(reducers: Any) -> None:
    given = reducers.options().parse_args([])
    assert given.batch == [1, 8] and set(given.methods) == {*reducers.BEHIND, *reducers.INSIDE}


def test_figures_of_reducers_begin_with_machine_and_date(
    reducers: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    class Enough(Exception):
        pass

    def built(device: str) -> None:
        raise Enough

    monkeypatch.setattr(reducers, "model", built)
    monkeypatch.setattr(sys, "argv", ["reducers.py", "--device", "cpu"])
    threads = torch.get_num_threads()
    with pytest.raises(Enough):
        reducers.main()
    torch.set_num_threads(threads)
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert first["name"] == machine("cpu")["name"]
    assert abs(datetime.now(UTC) - datetime.fromisoformat(first["taken"])) < timedelta(hours=1)


@pytest.mark.parametrize("file", PROGRAMS, ids=lambda file: file.stem)
def test_every_benchmark_says_machine_and_date(file: Path) -> None:
    """Somewhere in what it prints; discovered, so that a new one says it too."""
    calls = [
        node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
    ]
    assert "stamp" in {call.func.id for call in calls if isinstance(call.func, ast.Name)}
