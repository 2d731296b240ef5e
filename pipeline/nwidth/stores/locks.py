"""One writer at a time.

    local folders    an advisory lock on a file: the system releases it when its holder dies, however it dies
    object stores    a lease: a small object put only if there is none, renewed by its holder, void when it runs out

Icechunk on an object store needs neither: it detects conflicting commits itself.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nwidth.errors import StoreError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

LOCK = "nwidth-writer.lock"
# Longer than any pause between two batches of a sane ingestion; what a writer that died without a trace costs the next one.
LEASE_SECONDS = 900.0
POLL_SECONDS = 0.05

Heartbeat = Callable[[], None]


def _busy(url: str, holder: str) -> StoreError:
    return StoreError(f"{holder} is appending to {url}; wait for it, or set lock_wait_seconds to wait longer")


@contextmanager
def file_lock(folder: Path, url: str, wait_seconds: float) -> Iterator[Heartbeat]:
    """Hold the lock of a local store (`StoreError` where another holds it for longer than `wait_seconds`)."""
    import fcntl

    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise _busy(url, _holder(os.pread(descriptor, 200, 0))) from None
                time.sleep(POLL_SECONDS)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, _whoami().encode(), 0)
        yield lambda: None
    finally:
        os.close(descriptor)


def _whoami() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _holder(text: bytes) -> str:
    return text.decode(errors="replace") or "another process"


@contextmanager
def object_lease(objects: ObjectStore, url: str, wait_seconds: float) -> Iterator[Heartbeat]:
    """Hold the lease of a store on an object store; call the heartbeat now and then (`StoreError` as for `file_lock`)."""
    lease = Lease(objects, url)
    lease.acquire(wait_seconds)
    try:
        yield lease.renew
    finally:
        lease.release()


class Lease:
    """The lease object: ``{"owner", "holder", "host", "pid", "expires"}``, changed only where its tag is the one last seen."""

    def __init__(self, objects: ObjectStore, url: str) -> None:
        self._objects = objects
        self._url = url
        self._owner = uuid.uuid4().hex
        self._tag: str | None = None
        self._renewed = 0.0

    def acquire(self, wait_seconds: float) -> None:
        """Take the lease, also one that ran out or whose holder died on this host."""
        deadline = time.monotonic() + wait_seconds
        while not self._try():
            if time.monotonic() >= deadline:
                raise _busy(self._url, str((self._read() or ({}, ""))[0].get("holder", "another process")))
            time.sleep(POLL_SECONDS)

    def renew(self) -> None:
        """Prolong the lease when a third of it is over; `StoreError` where another writer took it meanwhile."""
        if time.monotonic() - self._renewed > LEASE_SECONDS / 3 and not self._put({"e_tag": self._tag}):
            self._tag = None
            raise StoreError(
                f"another writer took over {self._url} after {LEASE_SECONDS:.0f} silent seconds; append the run again"
            )

    def release(self) -> None:
        """Give the lease back, if it is still ours."""
        import obstore

        current = self._read()
        if current is not None and current[0].get("owner") == self._owner:
            obstore.delete(self._objects, LOCK)

    def _try(self) -> bool:
        current = self._read()
        if current is None:
            return self._put("create")
        content, tag = current
        return _is_void(content) and self._put({"e_tag": tag})

    def _read(self) -> tuple[dict[str, Any], str | None] | None:
        import obstore

        try:
            response = obstore.get(self._objects, LOCK)
            content = json.loads(bytes(response.bytes()))
        except FileNotFoundError:
            return None
        except ValueError:
            content = {}
        return (content if isinstance(content, dict) else {}), response.meta["e_tag"]

    def _put(self, mode: Any) -> bool:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        content = {"owner": self._owner, "holder": _whoami(), "host": socket.gethostname(), "pid": os.getpid()}
        try:
            text = json.dumps(content | {"expires": time.time() + LEASE_SECONDS}).encode()
            self._tag = obstore.put(self._objects, LOCK, text, mode=mode)["e_tag"]
        except (AlreadyExistsError, PreconditionError, FileNotFoundError):
            return False
        self._renewed = time.monotonic()
        return True


def _is_void(content: dict[str, Any]) -> bool:
    """Whether a lease ran out, or its holder was a process of this host that is no more."""
    if time.time() > float(content.get("expires", 0.0)):
        return True
    if content.get("host") != socket.gethostname():
        return False
    try:
        os.kill(int(content["pid"]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, KeyError, ValueError):
        return False
    return False
