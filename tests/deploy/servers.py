"""Real schedulers and workers as processes of their own, and certificates made by the script that users have."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.repository import REPOSITORY

DASK = str(Path(sys.executable).with_name("dask"))
START_SECONDS = 60


@dataclass(frozen=True)
class Certificates:
    """An authority and one key pair that it has signed."""

    folder: Path
    name: str = "member"

    @property
    def files(self) -> dict[str, str]:
        """As in a study's ``[workers.tls]``."""
        return {
            "ca": str(self.folder / "ca.pem"),
            "certificate": str(self.folder / f"{self.name}.pem"),
            "key": str(self.folder / f"{self.name}-key.pem"),
        }

    @property
    def options(self) -> list[str]:
        """For the commands ``dask scheduler`` and ``dask worker``."""
        files = self.files
        return ["--tls-ca-file", files["ca"], "--tls-cert", files["certificate"], "--tls-key", files["key"]]


def make_certificates(folder: Path) -> Certificates:
    """Run the script of the repository; skips where there is no openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    script = REPOSITORY / "deploy" / "tls" / "make-certificates.sh"
    subprocess.run(["/bin/sh", str(script), str(folder), "member"], check=True, capture_output=True, timeout=60)
    return Certificates(folder)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def process(*command: str, log: Path, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended with the block, by its id; all of its output goes to `log`."""
    with log.open("wb") as output:
        started = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **(env or {})})
        try:
            yield started
        finally:
            started.terminate()
            try:
                started.wait(20)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()


def waits_for(text: str, log: Path) -> None:
    """Until `text` stands in a log; fails with the log where it does not come."""
    deadline = time.monotonic() + START_SECONDS
    while text not in log.read_text("utf-8", errors="replace"):
        assert time.monotonic() < deadline, f"{text!r} did not come:\n{log.read_text('utf-8')}"
        time.sleep(0.1)


@contextlib.contextmanager
def scheduler_process(folder: Path, certificates: Certificates | None = None) -> Iterator[str]:
    """``dask scheduler`` on the loopback interface; its address."""
    protocol, options = ("tls", certificates.options) if certificates else ("tcp", [])
    address = f"{protocol}://127.0.0.1:{free_port()}"
    command = [DASK, "scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--protocol", protocol]
    log = folder / "scheduler.log"
    with process(*command, "--no-dashboard", *options, log=log):
        waits_for("Scheduler at", log)
        yield address


@contextlib.contextmanager
def worker_process(
    folder: Path, address: str, certificates: Certificates | None = None, env: Mapping[str, str] | None = None
) -> Iterator[None]:
    """``dask worker`` of one thread and 1 GiB, joined."""
    options = certificates.options if certificates else []
    command = [DASK, "worker", address, "--host", "127.0.0.1", "--nthreads", "1", "--memory-limit", "1GiB", "--no-dashboard"]
    log = folder / "worker.log"
    with process(*command, "--local-directory", str(folder), *options, log=log, env=env):
        waits_for("Registered to", log)
        yield
