"""The configuration files of a private cluster."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from .packages import ClusterError

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
# the nodes are as large as this file says, whatever this machine has
SlurmdParameters=config_overrides
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
MessageTimeout=20
SlurmdTimeout=60
OverTimeLimit=0
MaxArraySize=101
GresTypes=gpu
NodeName=n[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first_port}-{last_port}] CPUs=2 \
RealMemory=64000 Gres=gpu:1
PartitionName=main Nodes=n[1-{nodes}] Default=YES MaxTime=1-0 State=UP PriorityTier=1
# who is preempted here has half a minute to save
PartitionName=graceful Nodes=n[1-{nodes}] MaxTime=1-0 State=UP PriorityTier=1 GraceTime=30
PartitionName=urgent Nodes=n[1-{nodes}] MaxTime=1-0 State=UP PriorityTier=10
"""

WITH_ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={dbd_port}
AccountingStoragePass={folder}/munge.socket
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


def configure(folder: Path, nodes: int, accounting: bool) -> int:
    """Write all files and make the folders that they name; returns the port for the database."""
    ports = free_ports(nodes + 3)
    values = {
        "folder": folder,
        "host": socket.gethostname().split(".")[0],
        "nodes": nodes,
        "controller_port": ports[0],
        "dbd_port": ports[1],
        "sql_port": ports[2],
        "first_port": ports[3],
        "last_port": ports[-1],
    }
    text = SLURM_CONF + (WITH_ACCOUNTING if accounting else "")
    (folder / "slurm.conf").write_text(text.format(**values))
    if accounting:
        dbd = folder / "slurmdbd.conf"
        dbd.write_text(SLURMDBD_CONF.format(**values))
        dbd.chmod(0o600)
    gpus = [f"NodeName=n{n} Name=gpu Count=1 File=/dev/null\n" for n in range(1, nodes + 1)]
    (folder / "gres.conf").write_text("".join(gpus))
    for name in ["state", *(f"spool-n{number}" for number in range(1, nodes + 1))]:
        (folder / name).mkdir()
    return ports[2]


def free_ports(count: int) -> list[int]:
    """Neighbouring ports that nobody listens on."""
    for first in range(20000 + os.getpid() % 9000, 60000, count):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                probe = stack.enter_context(socket.socket())
                probe.bind(("127.0.0.1", port))
            return list(range(first, first + count))
    raise ClusterError("no free ports")
