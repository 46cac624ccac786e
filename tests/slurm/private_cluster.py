"""A private Slurm cluster on this machine's loopback: several virtual nodes with one fake GPU each.

    python tests/slurm/private_cluster.py start /tmp/cluster [--nodes 4] [--accounting]
    export SLURM_CONF=/tmp/cluster/slurm.conf
    python tests/slurm/private_cluster.py stop /tmp/cluster

Needs root and Debian's packages slurm-wlm and munge (and slurmdbd, mariadb-server for --accounting). It uses
its own munge key, ports and folders, and stops what it started by process id.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

NEEDED = ("sbatch", "srun", "slurmctld", "slurmd", "munged", "mungekey")
ACCOUNTING_NEEDED = ("slurmdbd", "mariadbd", "mariadb-install-db", "mariadb", "sacctmgr")
CLIENT_S = 20

SLURM_CONF = """\
ClusterName=private
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
AuthType=auth/munge
# a requeued job waits for the end of its credential, by default two minutes
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MinJobAge=300
KillWait=5
MessageTimeout=10
SlurmdTimeout={slurmd_timeout}
OverTimeLimit=0
MaxArraySize=101
GresTypes=gpu
NodeName=n[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first_port}-{last_port}] CPUs=2 \
RealMemory=20000 Gres=gpu:1
PartitionName=main Nodes=n[1-{nodes}] Default=YES MaxTime=1-0 State=UP PriorityTier=1
PartitionName=urgent Nodes=n[1-{nodes}] MaxTime=1-0 State=UP PriorityTier=10
{accounting}
"""

SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={dbd_port}
SlurmUser=root
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={sql_port}
StorageUser=slurm
StoragePass=private
StorageLoc=slurm_acct
"""


class ClusterError(RuntimeError):
    """The cluster cannot be started here, or did not come up."""


def missing_programs(accounting: bool) -> list[str]:
    """Programs that have to be installed first."""
    wanted = NEEDED + (ACCOUNTING_NEEDED if accounting else ())
    return [name for name in wanted if shutil.which(name, path=search_path()) is None]


def search_path() -> str:
    """PATH with the folders where daemons are."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


class PrivateCluster:
    """Starts and stops the daemons; their process ids are kept in `<folder>/pids`."""

    def __init__(
        self, folder: Path, nodes: int = 4, accounting: bool = False, slurmd_timeout: int = 15
    ) -> None:
        """slurmd_timeout: seconds after which a silent node counts as down."""
        self.folder = folder.absolute()
        self.nodes = nodes
        self.accounting = accounting
        self.slurmd_timeout = slurmd_timeout
        self._env = {**os.environ, "SLURM_CONF": str(self.conf), "PATH": search_path()}

    @property
    def conf(self) -> Path:
        """The configuration that clients need in SLURM_CONF."""
        return self.folder / "slurm.conf"

    def start(self) -> None:
        """Bring the cluster up. Raises ClusterError with the reason if that fails."""
        if os.geteuid() != 0:
            raise ClusterError("a private Slurm needs root")
        missing = missing_programs(self.accounting)
        if missing:
            raise ClusterError(f"not installed: {', '.join(missing)}")
        self.folder.mkdir(parents=True)
        self._configure()
        try:
            self._start_daemons()
        except Exception:
            self.stop()
            raise

    def stop(self) -> None:
        """End all jobs and daemons of this cluster, the newest daemon first."""
        with contextlib.suppress(subprocess.SubprocessError, OSError):
            self.client("scancel", "--full", "--user=root")
            self._wait_for_no_jobs(15)
        for pid in reversed(self._pids()):
            _end(pid)
        for pid in self._step_daemons():
            _end(pid)
        (self.folder / "pids").unlink(missing_ok=True)

    def start_controller(self, clean: bool = False) -> int:
        """Start slurmctld, with an empty state if clean; returns its process id."""
        return self._daemon("slurmctld", "-D", *(["-c"] if clean else []), "-f", str(self.conf))

    def start_node(self, name: str) -> int:
        """Start the slurmd of a node; returns its process id."""
        return self._daemon("slurmd", "-D", "-N", name, "-f", str(self.conf), log=f"slurmd-{name}")

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

    def wait_for_nodes(self, seconds: float = 60) -> None:
        """Wait until all nodes are idle."""
        self._wait(lambda: self.client("sinfo", "-h", "-N", "-p", "main", "-t", "idle").count("\n"), seconds)

    def _wait(self, count: object, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(subprocess.SubprocessError):
                if count() >= self.nodes:  # type: ignore[operator]
                    return
            time.sleep(0.5)
        raise ClusterError(f"the nodes did not come up in {seconds:.0f} s; see {self.folder}/slurmctld.log")

    def _wait_for_no_jobs(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.client("squeue", "-h").strip():
            time.sleep(0.5)

    def _start_daemons(self) -> None:
        self._run("mungekey", "--create", "--keyfile", str(self.folder / "munge.key"))
        for name in ("munge.key", "."):
            (self.folder / name).chmod(0o400 if name != "." else 0o755)
        self._daemon(
            *("munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket"),
            *(f"--key-file={self.folder}/munge.key", f"--pid-file={self.folder}/munged.pid"),
            *(f"--log-file={self.folder}/munged.log", f"--seed-file={self.folder}/munged.seed"),
        )
        _until(lambda: (self.folder / "munge.socket").exists(), 10, "munged")
        if self.accounting:
            self._start_accounting()
        self.start_controller(clean=True)
        for number in range(1, self.nodes + 1):
            self.start_node(f"n{number}")
        self.wait_for_nodes()

    def _start_accounting(self) -> None:
        data = self.folder / "sql"
        self._run("mariadb-install-db", f"--datadir={data}", "--auth-root-authentication-method=normal")
        shutil.chown(data, "mysql")
        self.folder.chmod(0o755)
        for path in data.rglob("*"):
            shutil.chown(path, "mysql")
        self._daemon(
            *("mariadbd", "--no-defaults", f"--datadir={data}", "--user=mysql", "--bind-address=127.0.0.1"),
            *(f"--port={self._ports['sql']}", f"--socket={data}/sql.socket", f"--pid-file={data}/sql.pid"),
            *("--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M", f"--tmpdir={data}"),
        )
        sql = ["mariadb", "--no-defaults", f"--socket={data}/sql.socket", "-u", "root", "-e"]
        _until(
            lambda: subprocess.run([*sql, "select 1"], capture_output=True).returncode == 0, 30, "mariadbd"
        )
        grant = "grant all on slurm_acct.* to 'slurm'@'%' identified by 'private'"
        self._run(*sql, f"create database slurm_acct; {grant}; {grant.replace('%', 'localhost')};")
        self._daemon("slurmdbd", "-D")
        show = ("sacctmgr", "-n", "show", "cluster")
        _until(lambda: _succeeds(lambda: self.client(*show)), 30, "slurmdbd")
        # before the controller registers itself, or its first jobs stay unknown to the database
        self.client("sacctmgr", "-i", "add", "cluster", "private")

    def _configure(self) -> None:
        ports = _free_ports(self.nodes + 3)
        self._ports = {"controller": ports[0], "dbd": ports[1], "sql": ports[2]}
        host = socket.gethostname().split(".")[0]
        values = {
            "folder": self.folder,
            "host": host,
            "nodes": self.nodes,
            "controller_port": ports[0],
            "dbd_port": ports[1],
            "sql_port": ports[2],
            "first_port": ports[3],
            "last_port": ports[-1],
            "slurmd_timeout": self.slurmd_timeout,
            "accounting": "",
        }
        if self.accounting:
            values["accounting"] = (
                "AccountingStorageType=accounting_storage/slurmdbd\n"
                f"AccountingStorageHost=127.0.0.1\nAccountingStoragePort={ports[1]}\n"
                f"AccountingStoragePass={self.folder}/munge.socket\n"
            )
            dbd = self.folder / "slurmdbd.conf"
            dbd.write_text(SLURMDBD_CONF.format(**values))
            dbd.chmod(0o600)
        self.conf.write_text(SLURM_CONF.format(**values))
        gpus = [f"NodeName=n{n} Name=gpu Count=1 File=/dev/null\n" for n in range(1, self.nodes + 1)]
        (self.folder / "gres.conf").write_text("".join(gpus))
        (self.folder / "state").mkdir()
        for number in range(1, self.nodes + 1):
            (self.folder / f"spool-n{number}").mkdir()

    def _run(self, *command: str) -> None:
        try:
            subprocess.run(command, env=self._env, check=True, capture_output=True, text=True, timeout=120)
        except subprocess.CalledProcessError as error:
            raise ClusterError(f"{command[0]}: {error.stderr.strip()}") from error

    def _daemon(self, *command: str, log: str = "") -> int:
        with (self.folder / f"{log or command[0]}.out").open("ab") as out:
            process = subprocess.Popen(
                command,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        with (self.folder / "pids").open("a") as file:
            file.write(f"{process.pid}\n")
        return process.pid

    def _step_daemons(self) -> list[int]:
        """slurmstepd processes of this cluster that survived their slurmd."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                is_step = (folder / "comm").read_text().strip() == "slurmstepd"
                if is_step and str(self.conf).encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return found

    def _pids(self) -> list[int]:
        with contextlib.suppress(FileNotFoundError):
            return [int(line) for line in (self.folder / "pids").read_text().split()]
        return []


def _free_ports(count: int) -> list[int]:
    """Neighbouring ports that nobody listens on."""
    for first in range(20000 + os.getpid() % 9000, 60000, count):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                probe = stack.enter_context(socket.socket())
                probe.bind(("127.0.0.1", port))
            return list(range(first, first + count))
    raise ClusterError("no free ports")


def _until(condition: object, seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > end:
            raise ClusterError(f"{what} did not come up in {seconds:.0f} s")
        time.sleep(0.2)


def _succeeds(call: object) -> bool:
    try:
        call()  # type: ignore[operator]
    except subprocess.SubprocessError:
        return False
    return True


def _end(pid: int) -> None:
    """SIGTERM, then SIGKILL after 5 s; pid is a daemon that _daemon started."""
    for number, seconds in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 2.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.1)


def main() -> int:
    """Command line: start or stop."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["start", "stop"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nodes", type=int, default=4)
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
