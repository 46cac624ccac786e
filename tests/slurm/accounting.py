"""slurmdbd and its database, private to a cluster."""

from __future__ import annotations

import shutil
from pathlib import Path

from .daemons import Daemons, until

_UP_S = 120.0


def start_accounting(daemons: Daemons, folder: Path, port: int) -> int:
    """Start a database and slurmdbd, and make the cluster known to them; returns slurmdbd's process id."""
    data = folder / "sql"
    daemons.run("mariadb-install-db", f"--datadir={data}", "--auth-root-authentication-method=normal")
    folder.chmod(0o755)  # the database runs as a user of its own
    for path in [data, *data.rglob("*")]:
        shutil.chown(path, "mysql")
    daemons.start(
        *("mariadbd", "--no-defaults", f"--datadir={data}", "--user=mysql", "--bind-address=127.0.0.1"),
        *(f"--port={port}", f"--socket={data}/sql.socket", f"--pid-file={data}/sql.pid"),
        *("--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M", f"--tmpdir={data}"),
        # Nothing of it is kept: a commit that waits for a busy disk lets accounting lag behind by minutes.
        *("--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--skip-log-bin"),
    )
    sql = ("mariadb", "--no-defaults", f"--socket={data}/sql.socket", "-u", "root", "-e")
    until(lambda: bool(daemons.run(*sql, "select 1", seconds=20)), _UP_S, "the database answers")
    grant = "grant all on slurm_acct.* to 'slurm'@'%' identified by 'private'"
    daemons.run(*sql, f"create database slurm_acct; {grant}; {grant.replace('%', 'localhost')};")
    pid = start_slurmdbd(daemons)
    # before the controller registers itself, or its first jobs stay unknown to the database
    daemons.run("sacctmgr", "-i", "add", "cluster", "private", seconds=60)
    return pid


def start_slurmdbd(daemons: Daemons) -> int:
    """Start slurmdbd on the database, and wait until it answers; returns its process id."""
    pid = daemons.start("slurmdbd", "-D")
    until(lambda: _answers(daemons), _UP_S, "slurmdbd answers")
    return pid


def _answers(daemons: Daemons) -> bool:
    daemons.run("sacctmgr", "-n", "show", "cluster", seconds=20)
    return True
