"""The passes of a Monte Carlo run: all draws are asked, batch by batch; then all modes are read, block by block.

    batch of draws ──ask──> labels, coefficients, indicator ──┬── joined in order          kept on a shelf, so that a killed run
                                                              │                            asks only for what is missing
    block of rows ──read modes of all clusters──> statistics over the draws ──write──> mean, variance, quantiles of these rows
                                                         └──> least, greatest, sums of every draw ──> joined
    a few draws ──full-order model──> true errors of the answers

Fields are never formed draw by draw, but for the few that are verified: see `kernels.field_statistics`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs import trees
from nwidth_graphs.keeping import Bundle, KeptLeaf, Shelf, content_key
from nwidth_graphs.kernels.field_statistics import (
    DrawSummaries,
    FieldStatistics,
    merge_summaries,
    statistics_of_rows,
)
from nwidth_graphs.layout import Panel
from nwidth_graphs.leaves import Tally, peak_process_bytes

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Batch:
    """The draws ``start:stop``."""

    start: int
    stop: int


@dataclass(frozen=True)
class Answers:
    """What a reduced model answered to D draws, at T times."""

    labels: NDArray[np.int64]
    """(D, T): the cluster that answered; -1 at all times where the draw failed."""
    coefficients: Mapping[str, Floats]
    """Field -> (D, T, N), N the largest rank of its bases; zero beyond the rank of the draw's own, and where it failed."""
    indicator: Floats
    """(D, T): the error that the model expects of itself, relative; NaN where it cannot tell."""
    words: tuple[str, ...]
    """D sentences: why a draw failed, or what is to be said of its answer; empty where nothing is."""
    seconds: Floats
    """(D,): processor seconds, a batch's shared equally among its draws."""
    tally: Tally = field(default_factory=Tally)

    @property
    def failed(self) -> NDArray[np.bool_]:
        """(D,)."""
        return np.asarray((self.labels < 0).any(axis=1))


Ask = Callable[[int, int], Answers]
"""``ask(start, stop)``: the answers to these draws; travels to the workers."""


def batches(draws: int, size: int) -> list[Batch]:
    """All draws, in batches of `size`: fixed by the plan, so that the same run has the same batches. Pure."""
    return [Batch(start, min(start + size, draws)) for start in range(0, draws, size)]


def _on_shelf(
    shelf: Shelf | None, leaf: Callable[..., Any], join: Callable[..., Any], blocks: Sequence[Any], name: str, *content: Any
) -> tuple[Callable[..., Any], Sequence[Any]]:
    """The leaf and its blocks, one partial for each, under the key of their content; as they are where that cannot be told."""
    key = content_key((name, leaf, len(blocks), *content)) if shelf is not None else None
    if shelf is None or key is None:
        return leaf, blocks
    kept = KeptLeaf(leaf, join, False, shelf, f"{name}-{key}", np.iinfo(np.int64).max)
    return kept, [Bundle(number, (block,)) for number, block in enumerate(blocks)]


def draws_graph(ask: Ask, draws: int, size: int, token: str, shelf: Shelf | None = None) -> trees.TaskGraph:
    """The graph that asks about all draws; its root `draws_root` is an `Answers`."""
    leaf, blocks = _on_shelf(shelf, ask_leaf, join_answers, batches(draws, size), "draws", token, size, ask)
    tree = trees.Tree("draws", "all", leaf, blocks, join_answers, _as_it_is, {"ask": ask})
    return trees.build([tree], token)


DRAWS_ROOT = "draws-all"
"""Name of the root of `draws_graph`."""


def ask_leaf(batch: Batch, ask: Ask) -> Answers:
    """The answers to one batch, with what they cost."""
    clock, processor = time.perf_counter(), time.thread_time()
    answers = ask(batch.start, batch.stop)
    draws = batch.stop - batch.start
    spent = np.full(draws, (time.thread_time() - processor) / draws)
    tally = Tally(compute_seconds=time.perf_counter() - clock, blocks=1, peak_process_bytes=peak_process_bytes())
    return replace(answers, seconds=spent, tally=tally)


def join_answers(parts: Sequence[Answers]) -> Answers:
    """Batches joined, in the order given."""
    return Answers(
        labels=np.concatenate([part.labels for part in parts]),
        coefficients={name: np.concatenate([part.coefficients[name] for part in parts]) for name in parts[0].coefficients},
        indicator=np.concatenate([part.indicator for part in parts]),
        words=tuple(word for part in parts for word in part.words),
        seconds=np.concatenate([part.seconds for part in parts]),
        tally=Tally.merge([part.tally for part in parts]),
    )


def _as_it_is(value: Any, **_: Any) -> Any:
    return value


@dataclass(frozen=True)
class ModesBlock:
    """The modes of all clusters on one panel, and the weights of its rows."""

    modes: Sequence[Floats]
    """K arrays (N_k, rows)."""
    means: Sequence[Floats | None]
    weights: Floats | None = None
    bytes_read: int = 0


@dataclass(frozen=True)
class FieldOfDraws:
    """One field whose statistics are wanted."""

    name: str
    panels: tuple[Panel, ...]
    read: Callable[[Panel], ModesBlock]
    labels: NDArray[np.int64]
    """(D, T), without the draws that failed."""
    coefficients: Floats
    """(D, T, N)."""
    levels: tuple[float, ...]
    write: Callable[[Panel, FieldStatistics], None]


@dataclass(frozen=True)
class Summaries:
    """What all blocks of a field say of every draw."""

    of_draws: DrawSummaries
    tally: Tally


def statistics_graph(fields: Sequence[FieldOfDraws], token: str) -> trees.TaskGraph:
    """The graph of one pass over the modes of all fields; the root `statistics_root` of each is a `Summaries`."""
    made = [
        trees.Tree(
            "statistics",
            of.name,
            statistics_leaf,
            of.panels,
            merge_of_fields,
            _as_it_is,
            {"of": replace(of, panels=()), "write": of.write},
        )
        for of in fields
    ]
    return trees.build(made, token)


def statistics_root(field: str) -> str:
    """Name of a field's root."""
    return f"statistics-{field}"


def statistics_leaf(panel: Panel, of: FieldOfDraws, write: Callable[[Panel, FieldStatistics], None]) -> Summaries:
    """Read the modes of one panel, write its statistics, hand back what it says of every draw."""
    clock = time.perf_counter()
    block = of.read(panel)
    read_done = time.perf_counter()
    found, of_draws = statistics_of_rows(block.modes, block.means, of.labels, of.coefficients, of.levels, block.weights)
    write(panel, found)
    tally = Tally(
        bytes_read=block.bytes_read,
        read_seconds=read_done - clock,
        compute_seconds=time.perf_counter() - read_done,
        blocks=1,
        peak_process_bytes=peak_process_bytes(),
    )
    return Summaries(of_draws, tally)


def merge_of_fields(parts: Sequence[Summaries]) -> Summaries:
    """Blocks of rows joined."""
    return Summaries(merge_summaries([part.of_draws for part in parts]), Tally.merge([part.tally for part in parts]))


@dataclass(frozen=True)
class Verified:
    """V draws that the full-order model answered, too."""

    draws: NDArray[np.int64]
    """(V,) their numbers."""
    errors: Mapping[str, Floats]
    """Field -> (V,) relative error over all times; NaN where the full-order model failed."""
    seconds: Floats
    """(V,) processor seconds of the full-order model."""
    words: tuple[str, ...]
    """Why the full-order model failed; empty where it did not."""
    tally: Tally = field(default_factory=Tally)


def verification_graph(
    check: Callable[[int], Verified], draws: Sequence[int], token: str, shelf: Shelf | None = None
) -> trees.TaskGraph:
    """The graph that verifies some draws, each in a task of its own; its root `VERIFIED_ROOT` is a `Verified`."""
    numbers = [int(draw) for draw in draws]
    leaf, blocks = _on_shelf(shelf, verify_leaf, join_verified, numbers, "verified", token, numbers, check)
    return trees.build([trees.Tree("verified", "all", leaf, blocks, join_verified, _as_it_is, {"check": check})], token)


VERIFIED_ROOT = "verified-all"
"""Name of the root of `verification_graph`."""


def verify_leaf(draw: int, check: Callable[[int], Verified]) -> Verified:
    """One draw, with what it cost."""
    clock = time.perf_counter()
    found = check(draw)
    tally = Tally(compute_seconds=time.perf_counter() - clock, blocks=1, peak_process_bytes=peak_process_bytes())
    return replace(found, tally=tally)


def join_verified(parts: Sequence[Verified]) -> Verified:
    """Joined, in the order given."""
    return Verified(
        draws=np.concatenate([part.draws for part in parts]),
        errors={name: np.concatenate([part.errors[name] for part in parts]) for name in parts[0].errors},
        seconds=np.concatenate([part.seconds for part in parts]),
        words=tuple(word for part in parts for word in part.words),
        tally=Tally.merge([part.tally for part in parts]),
    )
