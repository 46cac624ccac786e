"""cluster=local: the same jobs as processes of this machine, through submitit's LocalExecutor."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from .child import session_members
from .claims import Claim
from .command import SnakemakeCommand
from .states import JobState, Question

_INTERRUPT_S = 3.0


class LocalCluster:
    """Starts, watches and ends local jobs; a job's id is the process id of its submitit controller."""

    name = "local"
    array_limit = 1

    def __init__(self) -> None:
        self._handles: dict[str, Any] = {}

    def submit(
        self,
        folder: Path,
        name: str,
        mark: str,
        parameters: Mapping[str, Any],
        commands: Sequence[SnakemakeCommand],
    ) -> list[str]:
        """Start the commands at once; returns their ids."""
        from submitit import LocalExecutor

        self._reap()
        executor = LocalExecutor(folder)
        executor.update_parameters(**{**parameters, "gpus_per_node": 0})  # the commands bring their own GPUs
        ids = []
        for command in commands:
            handle = executor.submit(command)
            self._handles[handle.job_id] = handle
            ids.append(str(handle.job_id))
        return ids

    def states(self, jobs: Mapping[str, Question]) -> dict[str, JobState]:
        """State of each job: RUNNING, or FAILED once its controller is gone (results are looked at first)."""
        return {job_id: self._state(job_id) for job_id in jobs}

    def cancel(self, ids: Collection[str], claims: Mapping[str, Claim | None]) -> None:
        """End the jobs with all their processes; claims tell which processes are theirs."""
        running = [job_id for job_id in ids if self._state(job_id).alive]
        for job_id in running:
            _kill(int(job_id), signal.SIGINT)
        end = time.monotonic() + _INTERRUPT_S
        while any(self._state(job_id).alive for job_id in running) and time.monotonic() < end:
            time.sleep(0.05)
        for job_id in ids:
            claim = claims.get(job_id)
            if self._state(job_id).alive:  # a head in the background passes an ignored SIGINT on to its jobs
                _kill(int(job_id), signal.SIGKILL)
                if claim is not None:
                    _kill(claim.pid, signal.SIGKILL)
            for pid in session_members(claim.session) if claim is not None and claim.session else []:
                _kill(pid, signal.SIGKILL)

    def withdraw(self, mark: str) -> bool:
        """Nothing to take back: a local start that failed left nothing behind."""
        return True

    def offers(self, refusal: str) -> list[str]:
        """Nothing: this machine refuses no resource that the plugin lets through."""
        return []

    def _reap(self) -> None:
        """Of jobs that ended well the result is read and nothing asked: their controllers would stay as zombies."""
        self._handles = {
            job_id: handle
            for job_id, handle in self._handles.items()
            if handle._process is None or handle._process.poll() != 0
        }

    def _state(self, job_id: str) -> JobState:
        handle = self._handles.get(job_id)
        if handle is not None and handle.done():  # also reaps the process
            code = handle._process.poll() if handle._process is not None else None
            return JobState("FAILED", exit_code=f"{max(code, 0)}:{max(-code, 0)}" if code else "")
        return JobState("RUNNING") if is_controller(int(job_id)) else JobState("FAILED")


def is_controller(pid: int) -> bool:
    """Whether a process is a submitit controller; process ids are used again by others."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        alive = process.status() != psutil.STATUS_ZOMBIE
        return alive and "submitit.local._local" in process.cmdline()
    return False


def _kill(pid: int, number: int) -> None:
    if pid > 0:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
