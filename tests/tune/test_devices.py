"""Two processes train what one does: the same order, the sum of their gradients, one that writes."""

from __future__ import annotations

import multiprocessing
import os
import socket
from pathlib import Path

import pytest
import torch

from prunegrid.tune import devices
from prunegrid.tune.state import Interrupted, State, Stop

from .lab import Lab, Watch

SETTINGS = {"dropout": 0.0, "steps": 3, "batch": 6}


def work(lab: Lab, rank: int, port: int, folder: Path, asked: bool) -> None:
    """One of two processes; ends with 0 if all went well, with 75 if it was interrupted."""
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    assert devices.join("cpu") == "cpu" and (devices.world(), devices.rank()) == (2, rank)
    tuner = lab.tuner(Watch(), **SETTINGS)
    try:
        tuner.run(State(folder, "f"), Stop(asked and rank == 1), show=False)
    except Interrupted as stopped:
        os._exit(int(stopped.code or 0) if stopped.step == 1 else 1)
    torch.save(dict(tuner.weights), folder / f"{rank}.pt")
    os._exit(0)


def two(lab: Lab, folder: Path, asked: bool = False) -> list[int | None]:
    """Exit codes of two processes that train together."""
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=work, args=(lab, rank, port, folder, asked)) for rank in (0, 1)]
    for process in both:
        process.start()
    for process in both:
        process.join(300)
    return [process.exitcode for process in both]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="starts its processes by fork")
def test_two_processes_train_what_one_does(lab: Lab, tmp_path: Path) -> None:
    one = lab.tuner(Watch(), **SETTINGS)
    one.run(State(tmp_path / "one", "f"), Stop(), show=False)
    assert two(lab, tmp_path / "two") == [0, 0]
    first, second = (torch.load(tmp_path / "two" / f"{k}.pt", weights_only=False) for k in (0, 1))
    for name, weight in one.weights.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], weight, rtol=1e-3, atol=1e-4)
    rows = (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="starts its processes by fork")
def test_a_signal_to_one_stops_both_after_the_same_step(lab: Lab, tmp_path: Path) -> None:
    assert two(lab, tmp_path / "two", asked=True) == [75, 75]
    assert (tmp_path / "two" / "state.pt").exists()
