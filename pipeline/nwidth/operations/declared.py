"""The metrics by name: who has them, what they count, in which unit. Data only; `metrics` makes them Prometheus's.

Names follow Prometheus's conventions: prefix ``nwidth_``, base units (seconds, bytes) a suffix, ``_total`` where it only grows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Declared:
    """One metric."""

    name: str
    where: Literal["worker", "scheduler", "driver"]
    kind: Literal["counter", "gauge"]
    words: str
    labels: tuple[str, ...] = ("run", "stage")


METRICS = (
    Declared("nwidth_read_bytes_total", "worker", "counter", "Bytes of snapshots fetched from the store, as stored."),
    Declared("nwidth_blocks_done_total", "worker", "counter", "Blocks that were reduced, or found on the shelf."),
    Declared("nwidth_blocks_reused_total", "worker", "counter", "Blocks among them whose result an interrupted run had kept."),
    Declared("nwidth_blocks_unkept_total", "worker", "counter", "Blocks whose result found no room to be kept."),
    Declared("nwidth_blocks_failed_total", "worker", "counter", "Blocks whose task ended with an error."),
    Declared("nwidth_read_seconds_total", "worker", "counter", "Seconds of threads spent reading and decoding blocks."),
    Declared("nwidth_compute_seconds_total", "worker", "counter", "Seconds of threads spent reducing and lifting blocks."),
    Declared("nwidth_block_retries_total", "scheduler", "counter", "Blocks given to a worker once more: theirs had died."),
    Declared("nwidth_pass_seconds", "driver", "gauge", "Wall time of the last such pass."),
    Declared("nwidth_pass_read_bytes", "driver", "gauge", "Bytes that the last such pass read."),
    Declared("nwidth_pass_blocks", "driver", "gauge", "Blocks of the last such pass."),
    Declared("nwidth_pass_blocks_reused", "driver", "gauge", "Blocks of the last such pass that an interrupted run had done."),
    Declared("nwidth_pass_peak_memory_bytes", "driver", "gauge", "Largest resident size of a worker in the last such pass."),
    Declared("nwidth_basis_rank", "driver", "gauge", "Modes of the basis that was published last.", ("run", "basis")),
    Declared("nwidth_basis_relative_error", "driver", "gauge", "Its certified relative projection error.", ("run", "basis")),
    Declared(
        "nwidth_indicator",
        "driver",
        "gauge",
        "The error that the model expects of itself, relative, over the draws of the last prediction.",
        ("run", "statistic"),
    ),
    Declared("nwidth_run_seconds", "driver", "gauge", "Wall time of the last run of the study.", ("run",)),
    Declared("nwidth_run_failed", "driver", "gauge", "1 where the last run of the study failed, 0 where it did not.", ("run",)),
    Declared("nwidth_run_ended_timestamp_seconds", "driver", "gauge", "When it ended, in seconds since 1970.", ("run",)),
    Declared("nwidth_runs_total", "driver", "counter", "Runs that this process ended, by how.", ("run", "outcome")),
)
"""In the order of the documentation's table."""
