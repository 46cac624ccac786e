"""Whose lock is removed, and whose is not."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from prunegrid.grid import takeover


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    locks = tmp_path / "locks"
    locks.mkdir()
    for name in ("0.input.lock", "0.output.lock"):
        (locks / name).write_text("a file\n")
    return tmp_path


def locked(folder: Path) -> bool:
    return len(list((folder / "locks").iterdir())) == 2


def write(folder: Path, **values: object) -> None:
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "born": takeover.born(os.getpid())}
    (folder / "head.json").write_text(json.dumps({**mine, **values}))


def test_the_lock_of_a_dead_process_of_this_machine_is_removed(folder):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    write(folder, pid=dead.pid)
    assert str(dead.pid) in takeover.release(folder)
    assert not locked(folder)
    assert takeover.release(folder) == ""


def test_a_process_id_that_somebody_else_uses_now_is_dead(folder):
    write(folder, born="another boot 17")
    assert takeover.release(folder) and not locked(folder)


def test_a_zombie_is_dead(folder):
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert takeover.born(child.pid) == ""
    child.wait()


def test_a_living_process_keeps_its_lock(folder):
    takeover.record(folder)
    assert takeover.release(folder) == "" and locked(folder)


def test_a_process_of_another_machine_keeps_its_lock(folder):
    write(folder, host="elsewhere", pid=2**22)
    assert takeover.release(folder) == "" and locked(folder)


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"host": "x"}'])
def test_a_lock_without_a_record_stays(folder, text):
    if text is not None:
        (folder / "head.json").write_text(text)
    assert takeover.release(folder) == "" and locked(folder)
