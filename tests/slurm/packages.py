"""Slurm's programs, installed from the distribution's packages where that is possible."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

SLURM = {
    "slurm-wlm": ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "srun", "slurmctld", "slurmd"),
    "munge": ("munged", "mungekey"),
}
ACCOUNTING = {
    "slurmdbd": ("slurmdbd",),
    "slurm-client": ("sacct", "sacctmgr"),
    "mariadb-server": ("mariadbd", "mariadb-install-db"),
    "mariadb-client": ("mariadb",),
}
_INSTALL_S = 600


class ClusterError(RuntimeError):
    """The cluster cannot be started here, or did not come up."""


def search_path() -> str:
    """PATH with the folders where daemons are."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def missing(accounting: bool) -> dict[str, list[str]]:
    """Package -> its programs that are not there."""
    wanted = {**SLURM, **(ACCOUNTING if accounting else {})}
    absent = {
        package: [name for name in programs if shutil.which(name, path=search_path()) is None]
        for package, programs in wanted.items()
    }
    return {package: names for package, names in absent.items() if names}


def ensure(accounting: bool) -> None:
    """Install what is missing. Raises ClusterError that says why this is not possible here."""
    packages = missing(accounting)
    if not packages:
        return
    names = ", ".join(name for programs in packages.values() for name in programs)
    if os.geteuid() != 0:
        raise ClusterError(f"not installed: {names}; installing {' '.join(packages)} needs root")
    if shutil.which("apt-get") is None:
        raise ClusterError(f"not installed: {names}; there is no apt-get here, install {' '.join(packages)}")
    with _services_stay_down():
        for command in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            _apt(command)
    still = missing(accounting)
    if still:
        raise ClusterError(f"the packages {' '.join(still)} of this distribution lack {still}")


def _apt(command: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        subprocess.run(
            ["apt-get", "-q", *command],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=_INSTALL_S,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise ClusterError(f"apt-get {command[0]} took longer than {_INSTALL_S} s") from None
    except subprocess.CalledProcessError as error:
        said = [line for line in error.stderr.splitlines() if line.startswith("E:")] or [error.stderr.strip()]
        raise ClusterError(f"apt-get {' '.join(command)} failed: {said[0]}") from error


@contextlib.contextmanager
def _services_stay_down() -> Iterator[None]:
    # The packages would start a database and a munge of their own; this file is how Debian is told not to.
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()
