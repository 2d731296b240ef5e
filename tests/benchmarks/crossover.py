"""From how many snapshots on a GPU pays: ``python -m tests.benchmarks.crossover --scratch DIR --out crossover.json``.

    seconds of a byte        host      1/decode + (m / itemsize) / host_flops             one thread, Gram matrix: m flops a value
                             device    1/decode + 1/copy + (m / itemsize) / device_flops

Measured here: decoding of a store's own chunks (Blosc, from the page cache), the symmetric product of panels of m snapshots on
one core, and, where CuPy finds a GPU, the copy to it and the same product there. The *crossover* is the least m of the sweep at
which the products of a byte take longer on a host thread than its way to the device and its product there; *starved* is the m
up to which the decoding of all cores cannot keep the device busy. On a machine without a GPU the host half is measured, and the
record says what is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nwidth_graphs.kernels.gram import gram
from nwidth_graphs.placement import Device, device_named
from tests.benchmarks.__main__ import machine

SNAPSHOTS = (64, 128, 256, 512, 1024, 2048, 4096)
BLOCK_BYTES = 64 * 2**20
REPEATS = 3
ITEMSIZE = 8


@dataclass(frozen=True)
class Crossover:
    """What was measured on one machine; rates of one thread, in bytes or flops per second."""

    machine: str
    snapshots: tuple[int, ...]
    decode: float
    """Decoded bytes per second."""
    host_flops: tuple[float, ...]
    """Of a Gram matrix, n m^2 counted for it, by number of snapshots."""
    cores: int
    device: str = ""
    copy: float | None = None
    """Host to device, bytes per second, through a pinned buffer."""
    device_flops: tuple[float, ...] | None = None
    missing: str = ""

    @property
    def pays_from(self) -> int | None:
        """The least m of the sweep at which the GPU wins against a host thread; None where it never does, or is not measured."""
        if self.copy is None or self.device_flops is None:
            return None
        for m, host, device in zip(self.snapshots, self.host_flops, self.device_flops, strict=True):
            if m / ITEMSIZE / host > 1 / self.copy + m / ITEMSIZE / device:
                return m
        return None

    def host_seconds(self, m: int) -> float:
        """Seconds per decoded GB on one host thread: read and reduced."""
        return 1e9 * (1 / self.decode + m / ITEMSIZE / self.host_flops[self.snapshots.index(m)])


def measure(scratch: Path, snapshots: tuple[int, ...] = SNAPSHOTS, block_bytes: int = BLOCK_BYTES) -> Crossover:
    """Measure this machine; `scratch` takes one file of at most `block_bytes`."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        decode = _decode_rate(scratch, block_bytes)
        host = tuple(_gram_rate(device_named("cpu"), m, block_bytes) for m in snapshots)
        found = Crossover(machine(), snapshots, decode, host, len(os.sched_getaffinity(0)))
        name, missing = _gpu()
        if missing:
            return Crossover(**{**vars(found), "missing": missing})
        device = device_named("cuda")
        values = _block(snapshots[0], block_bytes)

        def move() -> None:
            device.to_device(values)
            device.wait()

        copy = values.nbytes / _least(move)
        flops = tuple(_gram_rate(device, m, block_bytes) for m in snapshots)
    return Crossover(**{**vars(found), "device": name, "copy": copy, "device_flops": flops})


def _decode_rate(scratch: Path, block_bytes: int) -> float:
    """Blosc as stores use it, on a field as smooth as a mesh resolves, into one reused buffer."""
    from numcodecs import Blosc, blosc

    codec = Blosc(cname="zstd", clevel=3, shuffle=Blosc.SHUFFLE)
    blosc.use_threads = False
    m = 32
    angles = np.linspace(0, 40 * np.pi, block_bytes // ITEMSIZE // m)
    field = np.stack([np.sin(angles * (1 + j / m)) + 1e-3 * np.cos(977 * angles + j) for j in range(m)])
    chunks = [codec.encode(row) for row in field]
    file = scratch / "chunks.bin"
    file.write_bytes(b"".join(chunks))
    out, sizes = np.empty(field.shape[1]), [len(chunk) for chunk in chunks]

    def decode() -> None:
        with file.open("rb", buffering=0) as content:
            for size in sizes:
                blosc.decompress(content.read(size), out)

    return float(field.nbytes / _least(decode))


def _block(m: int, block_bytes: int) -> Any:
    """A block as a store gives it: snapshots one after the other, seen as (rows, m)."""
    rows = max(2048, block_bytes // ITEMSIZE // m)
    return np.random.default_rng(0).standard_normal((m, rows)).T


def _gram_rate(device: Device, m: int, block_bytes: int) -> float:
    block = _block(m, block_bytes)
    there = device.to_device(block)

    def reduce() -> None:
        device.to_host(gram(there)[:1, :1])

    return float(block.shape[0] * m * m / _least(reduce))


def _least(work: Callable[[], object]) -> float:
    """Seconds of the fastest of some calls, after one that does not count."""
    work()
    found = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


def _gpu() -> tuple[str, str]:
    """(name of the GPU, "") or ("", why there is none)."""
    try:
        import cupy  # type: ignore[import-not-found, unused-ignore]

        return cupy.cuda.runtime.getDeviceProperties(0)["name"].decode(), ""
    except ImportError:
        return "", "CuPy is not installed: copy and device_flops are not measured"
    except Exception as error:
        return "", f"CuPy finds no usable GPU ({error}): copy and device_flops are not measured"


def draw(found: Crossover, file: Path) -> None:
    """Seconds per decoded GB over the number of snapshots, for each side that was measured."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    m = np.array(found.snapshots)
    axes.axhline(1e9 / found.decode, color="0.6", linestyle=":", label="reading and decoding, one thread")
    axes.plot(m, 1e9 * m / ITEMSIZE / np.array(found.host_flops), "o-", label="product, one host thread")
    if found.copy is not None and found.device_flops is not None:
        axes.axhline(1e9 / found.copy, color="C2", linestyle="--", label="copy to the device")
        axes.plot(m, 1e9 * (1 / found.copy + m / ITEMSIZE / np.array(found.device_flops)), "s-", label="copy and product, device")
    if found.pays_from is not None:
        axes.axvline(found.pays_from, color="C3", linewidth=1, label=f"a GPU pays from m = {found.pays_from}")
    axes.set(
        xscale="log", yscale="log", xlabel="snapshots m", ylabel="seconds per decoded GB", title=found.missing or found.device
    )
    axes.set_xticks(m, [str(count) for count in m])
    axes.set_yticks([0.1, 0.2, 0.5, 1, 2, 5, 10], ["0.1", "0.2", "0.5", "1", "2", "5", "10"])
    axes.minorticks_off()
    axes.legend(fontsize="small")
    figure.savefig(file, dpi=110)


def main(arguments: list[str] | None = None) -> int:
    """Measure, write the record, and the chart where one is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.crossover", description=__doc__)
    parser.add_argument("--scratch", type=Path, required=True, help="folder for the data")
    parser.add_argument("--out", type=Path, required=True, help="record, as JSON")
    parser.add_argument("--chart", type=Path, help="picture, as PNG")
    asked = parser.parse_args(arguments)
    found = measure(asked.scratch)
    asked.out.write_text(json.dumps({**asdict(found), "pays_from": found.pays_from}, indent=1))
    if asked.chart is not None:
        draw(found, asked.chart)
    print(asked.out.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
