"""The Snakemake side: a thin class that turns jobs into tasks and reports into callbacks."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from .adopt import Adopter
from .claims import read_claim, revoke
from .cleanup import discard, run_folder, sweep
from .cluster import cluster_name, make_cluster
from .dispatch import Callbacks, Dispatcher
from .explain import describe
from .gpus import GpuPool, count_gpus, visible_gpus
from .identity import identify
from .ledger import Entry, Ledger
from .poll import Poller, Report
from .resources import DEFAULT_RUNTIME_MIN, Options, ResourceError, parse_sbatch, submitit_parameters
from .submit import SubmissionError
from .tasks import Submission, Task

_LOCAL_INTERVAL_S = 1.0
_LEAST_INTERVAL_S = {"local": 0.2, "slurm": 1.0}


class Executor(RemoteExecutor):
    """Runs Snakemake jobs through submitit."""

    def __init__(self, workflow: Any, logger: Any) -> None:
        # RemoteExecutor.__init__ starts the polling thread: all that it uses must exist before.
        self._settings = workflow.executor_settings
        self._guard = threading.RLock()  # the main and the polling thread both submit
        self._live: dict[str, Submission] = {}
        self._cancelled = False
        self._began = False  # whether a job was handed over yet
        self._warned: set[str] = set()
        self._folders: set[Path] = set()
        try:
            self._prepare(workflow)
        except (ValueError, OSError) as error:
            raise WorkflowError(f"submitit: {error}") from error
        super().__init__(workflow, logger)

    def __post_init__(self) -> None:
        name = self._cluster.name
        asked = self.workflow.remote_execution_settings.seconds_between_status_checks
        interval = min(asked, _LOCAL_INTERVAL_S) if name == "local" else asked
        self.next_seconds_between_status_checks = max(interval, _LEAST_INTERVAL_S[name])
        self.logger.info(f"submitit: cluster={name}, logs in {self._run}")
        if self._settings.cluster == "auto" and name == "local":
            self.logger.warning("submitit: found no Slurm, so all jobs run on this machine.")
        jobs, cores = self.workflow.resource_settings.nodes or 0, os.cpu_count() or 1
        if name == "local" and jobs > cores:  # a profile made for a cluster
            self.logger.warning(
                f"submitit: up to {jobs} jobs at once on this machine of {cores} cores; fewer with --jobs."
            )

    def _prepare(self, workflow: Any) -> None:
        settings = self._settings
        settings.check()
        root = Path(settings.folder).absolute()
        if "%" in str(root):
            raise ValueError(f"Slurm would expand the % in --submitit-folder {root}")
        setup = tuple(line for line in settings.setup.splitlines() if line.strip())
        extra = parse_sbatch(settings.sbatch, "--submitit-sbatch")
        self._options = Options(settings.signal_delay, setup, extra, settings.array_parallelism)
        self._cluster = make_cluster(cluster_name(settings.cluster), settings.status, settings.array_size)
        self._run = run_folder(root)
        self._folders.add(self._run)
        self._ledger = Ledger(root)
        self._gpus = GpuPool(lambda: visible_gpus(os.environ, count_gpus))
        self._poller = Poller(self._cluster, settings.lost_grace)
        self._dispatcher = Dispatcher(
            cluster=self._cluster,
            ledger=self._ledger,
            adopter=Adopter(
                self._ledger,
                self._cluster,
                settle_s=settings.lost_grace,
                reattach=not settings.no_reattach,
                since=psutil.Process().create_time(),
            ),
            gpus=self._gpus,
            folder=self._run,
            workdir=Path(workflow.workdir_init),
            max_timeouts=settings.max_timeouts,
            environment=lambda: self.envvars(),
            callbacks=Callbacks(self._on_submitted, self._on_refused, lambda line: self.logger.info(line)),
        )

    def get_python_executable(self) -> str:
        """What a job's command starts Snakemake with."""
        return self._settings.python or str(super().get_python_executable())

    def run_jobs(self, jobs: Sequence[Any]) -> None:
        """Submit all jobs of a scheduling round, as few arrays as possible."""
        for job in jobs:
            self.run_job_pre(job)
        self._dispatch(jobs)

    def run_job(self, job: Any) -> None:
        """Submit one job."""
        self._dispatch([job])

    def _dispatch(self, jobs: Sequence[Any]) -> None:
        tasks, refused = [], []
        for job in jobs:
            try:
                tasks.append(self._task(job))
            except ResourceError as error:
                refused.append((job, f"{job.name}: {error}\n"))
        if refused and not tasks and not self._began:
            # Reported as failed, Snakemake would delete their outputs, good ones of an earlier run too.
            raise WorkflowError("".join(dict.fromkeys(message for _, message in refused)))
        self._began = self._began or bool(tasks)
        for job, message in refused:
            self._fail(SubmittedJobInfo(job), message, [])
        with self._guard:
            self._dispatcher.dispatch(tasks, time.time())

    def _task(self, job: Any) -> Task:
        resources = dict(job.resources.items())
        limits = set(getattr(self.workflow, "global_resources", ()))
        parameters = submitit_parameters(
            resources, job.threads, cluster=self._cluster.name, options=self._options, limits=limits
        )
        if not resources.get("runtime") and job.name not in self._warned:
            self._warned.add(job.name)
            self.logger.warning(f"{job.name} has no resource runtime: {DEFAULT_RUNTIME_MIN} min are assumed.")
        here = Path.cwd()
        return Task(
            job=job,
            identity=identify(job, here),
            parameters=parameters,
            command=self.format_job_exec(job),
            logs=tuple(str(here / str(path)) for path in job.log),
            outputs=tuple(str(here / str(path)) for path in job.output),
            attempt=job.attempt,
            limit_s=60.0 * int(resources.get("runtime") or DEFAULT_RUNTIME_MIN),
            gpus=int(resources.get("gpu") or 0),
        )

    def _on_submitted(self, submission: Submission, adopted: bool) -> None:
        entry, job = submission.entry, submission.task.job
        if not adopted:
            self.logger.info(f"Job {job.jobid} is {entry.cluster} job {entry.job_id} ({entry.name}).")
        self._live[entry.token] = submission
        self._folders.add(submission.folder)
        self.report_job_submission(SubmittedJobInfo(job, entry.job_id, {"submission": submission}))

    def _on_refused(self, task: Task, message: str) -> None:
        self._fail(SubmittedJobInfo(task.job), f"{task.identity.name}: {message}\n", [])

    def _fail(self, info: SubmittedJobInfo, message: str, logs: list[str]) -> None:
        if info.job.is_group():  # Snakemake does not print the message of a group job
            self.logger.error(message)
        self.report_job_error(info, msg=message, aux_logs=logs)

    async def check_active_jobs(
        self, active_jobs: list[SubmittedJobInfo]
    ) -> AsyncGenerator[SubmittedJobInfo, None]:
        """One polling round; yields the jobs that go on."""
        # Blocking calls are fine: this loop runs alone in its own thread.
        reports = self._round([info.aux["submission"] for info in active_jobs if info.aux])
        for info in active_jobs:
            report = reports.get(info.aux["submission"].entry.token) if info.aux else None
            if report is None:
                yield info
            else:
                self._on_report(info, report)

    def _round(self, submissions: list[Submission]) -> dict[str, Report]:
        try:
            self._retry()
            reports = self._poller.round(submissions, time.time())
            self._warn_of_stuck(submissions)
        except Exception as error:  # an error here would end Snakemake and leave the jobs alone
            self.logger.warning(f"submitit: polling failed, will try again: {type(error).__name__}: {error}")
            return {}
        return {report.submission.entry.token: report for report in reports}

    def _retry(self) -> None:
        if self._guard.acquire(blocking=False):  # a long sbatch of the main thread must not stop the polling
            try:
                if not self._cancelled:
                    self._dispatcher.retry(time.time())
            finally:
                self._guard.release()

    def _warn_of_stuck(self, submissions: list[Submission]) -> None:
        for submission in submissions:
            entry, state = submission.entry, submission.state
            if state is not None and state.stuck and entry.token not in self._warned:
                self._warned.add(entry.token)
                self.logger.warning(f"Job {entry.job_id} ({entry.name}) may wait for ever: {state.reason}")

    def _on_report(self, info: SubmittedJobInfo, report: Report) -> None:
        submission = report.submission
        entry = submission.entry
        claim = read_claim(self._ledger.claim(entry.token))
        self._live.pop(entry.token, None)
        self._gpus.give_back(entry.devices)
        if report.outcome is None:  # killed from outside
            self._forbid(entry)
        self._ledger.remove(entry, keep_claim=report.outcome is None)
        if report.ok:
            discard(submission, self._settings.keep_logs)
            self.report_job_success(info)
            return
        host, memory = claim.host if claim else "", submission.task.job.resources.get("mem_mb")
        message = describe(submission, report.verdict, report.outcome, host, memory)
        self._fail(info, message, [str(submission.log)])

    def _forbid(self, entry: Entry) -> None:
        """A job that is over or dying must not be adopted, nor compute should Slurm requeue it."""
        try:
            self._ledger.write(replace(entry, work="cancelled"))
            revoke(self._ledger.claim(entry.token))
        except OSError as error:  # a full disk must not end Snakemake, nor keep scancel from being called
            self.logger.warning(f"submitit: job {entry.job_id} must not be requeued by hand: {error}")

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """End everything that was submitted, with one scancel; active_jobs is incomplete during a round."""
        self._cancelled = True
        with self._guard:
            self._dispatcher.drop()
            entries = [submission.entry for submission in self._live.values()]
        claims = {entry.job_id: read_claim(self._ledger.claim(entry.token)) for entry in entries}
        for entry in entries:
            self._forbid(entry)
        try:
            self._cluster.cancel([entry.job_id for entry in entries], claims)
        except SubmissionError as error:
            self.logger.error(f"submitit: scancel failed, jobs may still run: {error}")

    def shutdown(self) -> None:
        """Stop polling and tidy up."""
        super().shutdown()
        for folder in self._folders:
            sweep(folder)
