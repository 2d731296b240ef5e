"""Reads and writes past the system's cache: on which disks they pay, as far as this process has seen.

Through the cache, a byte of a store costs a copy, and a page of memory that another byte would have used: with stores larger than
memory for nothing. Directly, it costs a wait, which is short on a disk of today. On a slow disk, or across a network, the wait
would be long, and the cache, which reads ahead, keeps and writes behind, serves better. So direct transfers are timed, and where
a device is slow, or refuses, everything else goes through the cache.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

# Bytes per second, of all threads of a process together, below which the cache is the better way: copying runs at some GiB/s.
SLOWEST = 2**29
# Bytes after which a device is judged: half a second of the slowest that passes.
JUDGED_BYTES = 2**28
DIRECT_FLAG: int = getattr(os, "O_DIRECT", 0)
"""Zero where the system has no direct transfers."""


class Devices:
    """What this process knows of direct transfers, device by device; reads and writes are known apart."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: dict[int, int] = {}
        self._since: dict[int, float] = {}
        self._busy: dict[int, float] = {}
        self._bytes: dict[int, int] = {}
        self._unfit: set[int] = set()

    def fit(self, device: int) -> bool:
        """Whether direct transfers are possible and pay, as far as is known."""
        return DIRECT_FLAG != 0 and device not in self._unfit

    def refuse(self, device: int) -> None:
        """The file system has no direct transfers."""
        self._unfit.add(device)

    @contextmanager
    def busy(self, device: int, nbytes: int) -> Iterator[None]:
        """While a thread transfers `nbytes`: what counts is the time in which any thread does."""
        with self._lock:
            if not self._active.get(device):
                self._since[device] = time.perf_counter()
            self._active[device] = self._active.get(device, 0) + 1
        try:
            yield
        finally:
            with self._lock:
                self._active[device] -= 1
                self._bytes[device] = self._bytes.get(device, 0) + nbytes
                if not self._active[device]:
                    self._busy[device] = self._busy.get(device, 0.0) + time.perf_counter() - self._since[device]
                    self._judge(device)

    def _judge(self, device: int) -> None:
        if self._bytes[device] >= JUDGED_BYTES and self._bytes[device] < SLOWEST * self._busy[device]:
            self._unfit.add(device)


reads, writes = Devices(), Devices()
