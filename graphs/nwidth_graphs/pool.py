"""Which block of a pass is computed where, in a pool of workers with and without a device. Pure arithmetic on measured times.

    way        CPU worker                            GPU worker
    host       read, decode, multiply
    device                                           read, decode, copy, multiply
    shipped    read, decode  ──decoded block──>      copy, multiply

With x, y and z the shares of the three ways in a pass of N blocks, the pass takes N T, and T is the least for which

    x (d + p)  + z d            <= c T       threads of the CPU workers
    y (d' + h + q) + z (h + q)  <= t g T     threads of the GPU workers, t each
    (y + z) q                   <= g T       the devices themselves: one product at a time
    (y + z) h                   <= g T       their copy engines
    z w                         <= g T       their network links
    z (d + w + h + q)           <= k T       blocks in transit, at most k at once

with the seconds of one block: decoding d (d' on the host of a GPU), products p on the host and q on the device, copying h to the
device, shipping w. A linear program of four unknowns. The last line is what bounds memory: a block travels only when one of `k`
tickets is free, so however far the CPU workers are ahead, no GPU worker is ever flooded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

import numpy as np

# A GPU worker computes one shipped block while the next waits, one is on its way, and one is being decoded for it.
IN_TRANSIT = 4
# Shares of the ways that are equally fast are not left to the solver's whim: shipping is the last resort.
_TIE = 1e-6
# A way that is slower by so much could not take one block of any pass, and its numbers would drown the others.
_HOPELESS = 1e5


class Way(IntEnum):
    """How one block is computed."""

    HOST = 1
    DEVICE = 2
    SHIPPED = 3


HOST_SLOT = "nwidth-host"
DEVICE_SLOT = "nwidth-device"
"""Dask resources that stand for the two kinds of workers: each has as many as it has threads. They are not the user's resource
GPU, because they can be given to other workers where all of one kind are gone."""


@dataclass(frozen=True)
class Rates:
    """Seconds that the steps of one block take, one at a time."""

    decode: float
    """Reading and decoding on a CPU worker, one thread."""
    multiply: float
    """Its products on a CPU worker, one thread."""
    device_decode: float
    """Reading and decoding on the host of a GPU, one thread."""
    copy: float
    """Host to device."""
    device_multiply: float
    ship: float
    """The decoded block from a CPU worker to a GPU worker; infinite where nothing can be shipped."""


@dataclass(frozen=True)
class Split:
    """Blocks of a pass, by way."""

    host: int
    device: int
    shipped: int

    @property
    def n_blocks(self) -> int:
        """Of the pass."""
        return self.host + self.device + self.shipped


@dataclass(frozen=True)
class Placement:
    """The way of every block of a pass, as a graph takes it."""

    ways: Mapping[int, bytes]
    """Tree -> the `Way` of each of its blocks; a tree that is not here is computed by whoever is free."""
    in_transit: int
    """Most blocks on their way from CPU to GPU workers at once."""
    rates: Rates | None = None
    """What the split was made for; None where it was given."""
    held: Any = None
    """What keeps the results of the probe on the cluster until the pass has taken them."""

    def count(self) -> dict[str, int]:
        """Blocks by way."""
        return {way.name.lower(): sum(found.count(way) for found in self.ways.values()) for way in Way}

    def as_dict(self) -> dict[str, Any]:
        """For JSON: blocks by way, and the seconds of each step of a block."""
        return {**self.count(), "seconds": None if self.rates is None else asdict(self.rates)}


def blocks_held(threads: int, device: str) -> int:
    """Blocks that the memory of one worker must hold at once: what the plan counts on.

    One for every thread; with a device, one more for every thread, in page-locked memory; in a pool, those in transit, too. A
    pool of several GPU workers has `IN_TRANSIT` for each, which the scheduler spreads.
    """
    return threads * (1 if device == "cpu" else 2) + (IN_TRANSIT if device == "pool" else 0)


def split_blocks(rates: Rates, n_cpu: int, n_gpu: int, n_blocks: int, *, gpu_threads: int = 2) -> Split:
    """The split of `n_blocks` blocks that ends first, by the linear program of this module's head.

    Parameters
    ----------
    n_cpu : threads of CPU workers
    n_gpu : GPU workers, one device each
    gpu_threads : threads of a GPU worker

    Raises
    ------
    ValueError
        There are no workers, or a time is negative or not a number.
    """
    _check(rates, n_cpu, n_gpu)
    if n_gpu == 0 or n_cpu == 0:
        return Split(n_blocks if n_gpu == 0 else 0, n_blocks if n_cpu == 0 else 0, 0)
    shares = _shares(rates, n_cpu, n_gpu, gpu_threads)
    host, device, shipped = _rounded(shares, n_blocks)
    return Split(host, device, shipped)


def pass_seconds(rates: Rates, split: Split, n_cpu: int, n_gpu: int, *, gpu_threads: int = 2) -> float:
    """What the model expects a split to take: the fullest line of the program."""
    blocks = np.array([split.host, split.device, split.shipped], np.float64)
    with np.errstate(invalid="ignore"):
        work = np.where(blocks > 0, _seconds(rates), 0.0) * blocks
    capacity = _capacity(n_cpu, n_gpu, gpu_threads)
    loads = work.sum(axis=1)
    return max((load / most if most else math.inf) for load, most in zip(loads, capacity, strict=True) if load > 0)


def ways(split: Split, n_blocks: int, first: Sequence[Way] = ()) -> bytes:
    """The way of every block, one byte each: the shares of `split`, spread evenly in the order of the blocks.

    Every prefix has its shares to within one block: no kind of worker is left without work while the other has some. The first
    blocks may be given: those whose way was fixed before the split was known.
    """
    share = np.array([split.host, split.device, split.shipped], np.float64) / max(split.n_blocks, 1)
    done = np.zeros(3)
    found = bytearray(first)
    for way in first:
        done[int(way) - 1] += 1
    for count in range(len(first) + 1, n_blocks + 1):
        # Given blocks may be ahead of a way's share; a way without a share never gets one.
        behind = np.where(share > 0, count * share - done, -np.inf)
        chosen = int(np.argmax(behind))
        done[chosen] += 1
        found.append(chosen + 1)
    return bytes(found[:n_blocks])


def _check(rates: Rates, n_cpu: int, n_gpu: int) -> None:
    if n_cpu < 0 or n_gpu < 0 or n_cpu + n_gpu == 0:
        raise ValueError(f"a split needs workers; found {n_cpu} CPU threads and {n_gpu} GPU workers")
    if not all(seconds >= 0 for seconds in vars(rates).values()):
        raise ValueError(f"times of a block are not negative; found {rates}")


def _seconds(rates: Rates) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """(lines of the program, ways): seconds that one block of a way takes of what the line stands for."""
    copied = rates.copy + rates.device_multiply
    return np.array(
        [
            [rates.decode + rates.multiply, 0.0, rates.decode],
            [0.0, rates.device_decode + copied, copied],
            [0.0, rates.device_multiply, rates.device_multiply],
            [0.0, rates.copy, rates.copy],
            [0.0, 0.0, rates.ship],
            [0.0, 0.0, rates.decode + rates.ship + copied],
        ]
    )


def _capacity(n_cpu: int, n_gpu: int, gpu_threads: int) -> tuple[float, ...]:
    return (n_cpu, n_gpu * gpu_threads, n_gpu, n_gpu, n_gpu, IN_TRANSIT * n_gpu)


def _shares(rates: Rates, n_cpu: int, n_gpu: int, gpu_threads: int) -> tuple[float, float, float]:
    """Minimise T over x, y, z >= 0, x + y + z = 1."""
    from scipy.optimize import linprog

    seconds, capacity = _seconds(rates), np.array(_capacity(n_cpu, n_gpu, gpu_threads), np.float64)
    alone = (seconds / capacity[:, None]).max(axis=0)  # of a block, where all go one way
    if not np.isfinite(alone).any():
        raise ValueError(f"no way of a block has finite times: {rates}")
    if alone.min() == 0.0:
        return tuple(float(way == alone.argmin()) for way in range(3))  # type: ignore[return-value]
    open_ways = alone < _HOPELESS * alone.min()
    seconds = np.where(open_ways, seconds, 0.0) / alone.min()
    found = linprog(
        c=[0.0, _TIE, 2 * _TIE, 1.0],
        A_ub=np.column_stack([seconds, -capacity]),
        b_ub=np.zeros(len(capacity)),
        A_eq=[[1.0, 1.0, 1.0, 0.0]],
        b_eq=[1.0],
        bounds=[*((0.0, 1.0 if is_open else 0.0) for is_open in open_ways), (0.0, None)],
    )
    host, device, shipped, _ = found.x
    return float(host), float(device), float(shipped)


def _rounded(shares: Sequence[float], n_blocks: int) -> tuple[int, ...]:
    """Whole numbers that add up to `n_blocks`, by largest remainder."""
    exact = [share * n_blocks for share in shares]
    counts = [math.floor(value + 1e-9) for value in exact]
    by_rest = sorted(range(len(exact)), key=lambda way: (counts[way] - exact[way], way))
    for way in by_rest[: n_blocks - sum(counts)]:
        counts[way] += 1
    return tuple(counts)
