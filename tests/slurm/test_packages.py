"""What is installed for the tests, and what is said where that is not possible. Needs no Slurm."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace

import pytest

from . import packages


class Machine:
    """A machine without Slurm, in place of this one; apt-get brings what it is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.there = {"apt-get"}
        self.root = True
        self.refuses = ""
        self.calls: list[list[str]] = []
        monkeypatch.setattr(
            packages.shutil, "which", lambda name, path=None: name if name in self.there else None
        )
        monkeypatch.setattr(packages.os, "geteuid", lambda: 0 if self.root else 1000)
        monkeypatch.setattr(packages.subprocess, "run", self._run)
        monkeypatch.setattr(packages, "_services_stay_down", packages.contextlib.nullcontext)

    def _run(self, command: list[str], **options: object) -> SimpleNamespace:
        self.calls.append(command)
        if self.refuses:
            raise subprocess.CalledProcessError(100, command, stderr=f"noise\n{self.refuses}\n")
        programs = {**packages.SLURM, **packages.ACCOUNTING}
        for package in set(command) & set(programs):
            self.there.update(programs[package])
        return SimpleNamespace(returncode=0)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


@pytest.mark.parametrize("accounting", [False, True])
def test_what_is_missing_is_installed_and_no_more(machine, accounting):
    machine.there.update(packages.SLURM["munge"])
    packages.ensure(accounting)
    assert packages.missing(accounting) == {}
    asked = machine.calls[-1]
    assert asked[:3] == ["apt-get", "-q", "install"] and "munge" not in asked
    assert ("mariadb-server" in asked) is accounting


def test_nothing_is_done_where_all_is_there(machine):
    packages.ensure(True)
    machine.calls.clear()
    packages.ensure(True)
    assert machine.calls == []


def test_it_says_why_it_cannot(machine):
    machine.root = False
    with pytest.raises(packages.ClusterError, match=r"slurmctld.*slurm-wlm munge needs root"):
        packages.ensure(False)
    machine.root = True
    machine.there.clear()
    with pytest.raises(packages.ClusterError, match=r"no apt-get here"):
        packages.ensure(False)
    machine.there.add("apt-get")
    machine.refuses = "E: Unable to locate package slurm-wlm"
    with pytest.raises(packages.ClusterError, match=r"update failed: E: Unable to locate package slurm-wlm"):
        packages.ensure(False)
