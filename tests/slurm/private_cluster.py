"""A private Slurm cluster on this machine's loopback: several virtual nodes with one fake GPU each.

    cd tests
    python -m slurm.private_cluster start /tmp/cluster [--nodes 8] [--accounting]
    export SLURM_CONF=/tmp/cluster/slurm.conf
    python -m slurm.private_cluster stop /tmp/cluster

Needs root. Debian's packages slurm-wlm and munge (and slurmdbd, mariadb-server for --accounting) are
installed if they are missing. The cluster has its own munge key, ports and folders; what it started is
stopped by process id.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
from pathlib import Path

from .accounting import start_accounting, start_slurmdbd
from .configuration import configure
from .daemons import Daemons, end, until
from .packages import ClusterError, ensure, search_path

CLIENT_S = 30.0
_UP_S = 120.0


class PrivateCluster:
    """Starts and stops the daemons of one cluster."""

    def __init__(self, folder: Path, nodes: int = 8, accounting: bool = False) -> None:
        self.folder = folder.absolute()
        self.nodes = nodes
        self.accounting = accounting
        self._env = {**os.environ, "SLURM_CONF": str(self.conf), "PATH": search_path()}
        self._daemons = Daemons(self.folder, self._env)
        self._slurmdbd = 0
        self._known = ""  # a job that accounting has to know

    @property
    def conf(self) -> Path:
        """The configuration that clients need in SLURM_CONF."""
        return self.folder / "slurm.conf"

    def start(self) -> None:
        """Bring the cluster up. Raises ClusterError with the reason if that fails."""
        if os.geteuid() != 0:
            raise ClusterError("a private Slurm needs root, to start slurmd and munged")
        ensure(self.accounting)
        self.folder.mkdir(parents=True)
        port = configure(self.folder, self.nodes, self.accounting)
        try:
            self._start_munge()
            if self.accounting:
                self._slurmdbd = start_accounting(self._daemons, self.folder, port)
            self.start_controller(clean=True)
            for number in range(1, self.nodes + 1):
                self.start_node(f"n{number}")
            self.wait_for_nodes()
            if self.accounting:
                self._known = self.client("sbatch", "--parsable", "-o", "/dev/null", "--wrap", "true").strip()
                until(self.accounts, _UP_S, "sacct lists a job")
        except Exception:
            self.stop()
            raise

    def stop(self) -> None:
        """End all jobs and daemons of this cluster, the newest daemon first."""
        with contextlib.suppress(subprocess.SubprocessError, OSError, ClusterError):
            self.client("scancel", "--full", "--user=root")
            until(lambda: not self.client("squeue", "-h").strip(), 15, "all jobs end")
        self._daemons.end_all()
        for pid in self._step_daemons():
            end(pid)

    def start_controller(self, clean: bool = False) -> int:
        """Start slurmctld, with an empty state if clean; returns its process id."""
        return self._daemons.start("slurmctld", "-D", *(["-c"] if clean else []), "-f", str(self.conf))

    def stop_controller(self) -> None:
        """End slurmctld; jobs go on running."""
        end(int((self.folder / "slurmctld.pid").read_text()))

    def start_node(self, name: str) -> int:
        """Start the slurmd of a node; returns its process id."""
        return self._daemons.start("slurmd", "-D", "-N", name, "-f", str(self.conf), log=f"slurmd-{name}")

    def kill_node(self, name: str) -> None:
        """kill -9 of a node's slurmd."""
        os.kill(int((self.folder / f"slurmd-{name}.pid").read_text()), 9)

    def client(self, *command: str, seconds: float = CLIENT_S) -> str:
        """Output of a Slurm client. Raises CalledProcessError or TimeoutExpired."""
        done = subprocess.run(
            command,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            check=True,
        )
        return done.stdout

    def accounts(self) -> bool:
        """Whether accounting lists a job that it has to know."""
        with contextlib.suppress(subprocess.SubprocessError):
            said = self.client("sacct", "-n", "-X", "-P", "-o", "jobid", "-j", self._known)
            return self._known in said.split()
        return False

    def stop_accounting(self) -> None:
        """End slurmdbd; its database stays."""
        end(self._slurmdbd)

    def mend_accounting(self) -> None:
        """Start slurmdbd again if it lists no job any more.

        slurmdbd 22.05 on MariaDB 10.11 sometimes answers every query with nothing once a controller has registered
        again ("We should have gotten a result: 'No error'" in its log), until it is restarted.
        """
        if not self.accounting or self.accounts():
            return
        self.stop_accounting()
        self._slurmdbd = start_slurmdbd(self._daemons)
        until(self.accounts, _UP_S, "sacct lists a job after slurmdbd was started again")

    def wait_for_nodes(self, seconds: float = _UP_S) -> None:
        """Wait until all nodes are idle."""
        query = ("sinfo", "-h", "-N", "-p", "main", "-t", "idle")
        what = f"all {self.nodes} nodes idle (see {self.folder}/slurmctld.log)"
        until(lambda: self.client(*query).count("\n") >= self.nodes, seconds, what)

    def _start_munge(self) -> None:
        key, socket = self.folder / "munge.key", self.folder / "munge.socket"
        self._daemons.run("mungekey", "--create", "--keyfile", str(key))
        key.chmod(0o400)
        self.folder.chmod(0o755)
        self._daemons.start(
            *("munged", "--foreground", "--force", f"--socket={socket}", f"--key-file={key}"),
            *(f"--pid-file={self.folder}/munged.pid", f"--log-file={self.folder}/munged.log"),
            f"--seed-file={self.folder}/munged.seed",
        )
        until(socket.exists, _UP_S, "munged makes its socket")

    def _step_daemons(self) -> list[int]:
        """slurmstepd processes of this cluster that survived their slurmd."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                is_step = (folder / "comm").read_text().strip() == "slurmstepd"
                if is_step and str(self.conf).encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return found


def main() -> int:
    """Command line: start or stop."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["start", "stop"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--accounting", action="store_true")
    options = parser.parse_args()
    cluster = PrivateCluster(options.folder, options.nodes, options.accounting)
    try:
        getattr(cluster, options.action)()
    except ClusterError as error:
        print(f"private cluster: {error}", file=sys.stderr)
        return 1
    if options.action == "start":
        print(f"export SLURM_CONF={cluster.conf}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
