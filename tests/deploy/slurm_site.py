"""A real Slurm of one node for tests: munged, slurmctld and slurmd as processes of their own, on loopback, without systemd.

Needs Debian's packages ``slurm-wlm`` and ``munge``, and root. The daemons are ended by the ids in their pid files.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.servers import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo", "scontrol")
NODE_CPUS, NODE_MEGABYTES = 4, 8000
CONFIGURATION = """
ClusterName=nwidth
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
ScronParameters=enable
ReturnToService=2
InactiveLimit=0
KillWait=5
MinJobAge=10
SchedulerParameters=sched_interval=2,batch_sched_delay=0,sched_min_interval=100000
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdSpoolDir={folder}/spool
StateSaveLocation={folder}/state
NodeName=localhost NodeAddr=127.0.0.1 NodeHostname={host} CPUs={cpus} RealMemory={megabytes} Gres=gpu:2
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=closed Nodes=ALL MaxTime=INFINITE State=DOWN
PartitionName=gpu Nodes=ALL MaxTime=60 State=UP
"""


def missing() -> str:
    """Why there can be no Slurm here; empty where there can."""
    absent = [program for program in PROGRAMS if shutil.which(program, path=_path()) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (Debian: slurm-wlm, munge)"
    return "" if os.geteuid() == 0 else "slurmctld and slurmd of a test need root"


def _path() -> str:
    return os.environ.get("PATH", "") + os.pathsep + os.pathsep.join(("/usr/sbin", "/sbin"))


@dataclass(frozen=True)
class Site:
    """A Slurm that runs."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """In which its commands find it."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": _path()}

    def command(self, *words: str | Path, text: str | None = None, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run one of its commands."""
        return subprocess.run(
            [str(word) for word in words],
            input=text,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def jobs(self, *states: str) -> list[str]:
        """Ids of the jobs in these states; of all that are not over by default."""
        chosen = [f"--states={','.join(states)}"] if states else []
        return self.command("squeue", "--noheader", "--format=%i", *chosen).stdout.split()


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[Site]:
    """Bring one up in `folder`, and take it down; skips with the reason where that cannot be."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    host = socket.gethostname().split(".")[0]
    site, values = Site(folder), {"folder": folder, "host": host, "cpus": NODE_CPUS, "megabytes": NODE_MEGABYTES}
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(controller_port=free_port(), node_port=free_port(), **values).lstrip()
    )
    # Two devices that stand for GPUs: Slurm wants character devices, hands them out, and nothing opens them.
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
    try:
        _start(site)
        yield site
    finally:
        site.command("scancel", "--user=root")
        deadline = time.monotonic() + 15
        while site.jobs() and time.monotonic() < deadline:
            time.sleep(0.2)
        for name in ("slurmd", "slurmctld", "munged"):
            _end(folder / f"{name}.pid")


def _start(site: Site) -> None:
    folder = site.folder
    for name in ("spool", "state"):
        (folder / name).mkdir()
    folder.chmod(0o755)  # munged refuses a socket below a folder that others may write, or that nobody may enter
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    files = {
        "key-file": "munge.key",
        "socket": "munge.socket",
        "pid-file": "munged.pid",
        "log-file": "munged.log",
        "seed-file": "munge.seed",
    }
    _run(site, "munged", "--force", *(f"--{option}={folder / name}" for option, name in files.items()))
    _run(site, "slurmctld", "-c")
    _run(site, "slurmd", "-N", "localhost")
    deadline = time.monotonic() + 30
    while "idle" not in (answer := site.command("sinfo", "--noheader", "--partition=debug", "--format=%t")).stdout:
        assert time.monotonic() < deadline, answer.stdout + answer.stderr + _logs(folder)
        time.sleep(0.2)


def _run(site: Site, *words: str) -> None:
    done = site.command(*words)
    assert done.returncode == 0, done.stdout + done.stderr + _logs(site.folder)


def _logs(folder: Path) -> str:
    return "\n".join(log.read_text("utf-8", errors="replace")[-2000:] for log in sorted(folder.glob("*.log")))


def _end(pid_file: Path) -> None:
    """End the daemon of a pid file, and wait until it is gone."""
    try:
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
    except (OSError, ValueError):
        return
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    if Path(f"/proc/{pid}").exists():
        os.kill(pid, signal.SIGKILL)
