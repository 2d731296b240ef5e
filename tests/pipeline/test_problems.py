"""Cutting fields for the memory of a worker, and checking what belongs to them."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwidth.config import ReduceSection
from nwidth.errors import ConfigError, PlanError
from nwidth.problems.cutting import Memory, cut_chunks, cut_field
from nwidth.problems.options import check_weights, content_token, inner_product_of
from nwidth.stages.route import choose_route
from nwidth_graphs.budget import MIB

REQUEST = ReduceSection(rank=10)


@given(
    space=st.lists(st.integers(1, 4000), min_size=1, max_size=2),
    chunk=st.integers(1, 500),
    snapshots=st.integers(1, 3000),
    mib=st.integers(16, 2000),
    threads=st.integers(1, 8),
    decode=st.integers(0, 64 * MIB),
    mass=st.sampled_from([0, 2000]),
)
def test_a_refusal_names_a_memory_that_is_enough(
    space: list[int], chunk: int, snapshots: int, mib: int, threads: int, decode: int, mass: int
) -> None:
    """A field either fits, in whole chunks, or is refused with a number of MiB; with that number it fits, with much less not."""

    def cut(size: int) -> Any:
        granules = [[chunk] * len(space)]
        return cut_field("u", space, granules, snapshots, 8, REQUEST, Memory(size, threads), decode, mass)

    refused = ""
    try:
        found = cut(mib * MIB)
    except PlanError as error:
        refused = str(error)
    if refused:
        number = re.search(r"at least (\d+) MiB", refused)
        assert number is not None
        found = cut(int(number[1]) * MIB)
        # Not more is named than is needed, but for the rounding to MiB and to a row for each thread.
        less = (int(number[1]) - 1) * MIB - threads * (8 * snapshots + 176 + mass)
        with pytest.raises(PlanError, match=r"set workers\.memory"):
            cut(less)
    assert sum(panel.rows for panel in found.panels) == math.prod(space)
    assert all(b == n or b % min(chunk, n) == 0 for b, n in zip(found.box, space, strict=True))


def test_the_cut_does_not_know_how_many_workers() -> None:
    """Ample memory does not change the blocks: bits of a result do not depend on who computes."""
    boxes = {
        cut_field("u", [10**6], [[1000]], 100, 8, REQUEST, Memory(size * 2**30, threads), 0).box
        for size, threads in ((2, 1), (64, 8))
    }
    assert len(boxes) == 1


def test_shards_are_preferred_to_chunks() -> None:
    """Panels are whole shards where a shard is no larger than a block wants to be and fits, and whole chunks otherwise."""

    def rows(shard: int, memory: int) -> int:
        return cut_field("u", [10**6], [[shard], [1000]], 100, 8, REQUEST, Memory(memory), 0).box[0]

    assert rows(30_000, 2**31) == 60_000
    assert rows(200_000, 2**31) % 1000 == 0
    assert rows(200_000, 2**31) < 200_000
    assert rows(30_000, 175 * MIB) < 30_000


def test_what_else_would_help_is_said() -> None:
    """The refusal offers one thread where there are more, and a rank where there is none."""
    with pytest.raises(PlanError, match=r"or workers\.threads to 1, or ask for a rank$"):
        cut_field("u", [100], [[100]], 50_000, 8, ReduceSection(rtol=1e-3), Memory(2**28, 4), 0)


def test_inner_products_by_field() -> None:
    """A table by field leaves the others with the identity."""
    request = ReduceSection(inner_product={"u": "mass"})
    assert [inner_product_of(name, request) for name in ("u", "p")] == ["mass", "identity"]
    assert inner_product_of("p", ReduceSection(inner_product="mass")) == "mass"


@pytest.mark.parametrize("place", [(0, 0), (1, 2)])
@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_bad_weights_are_named_with_their_place(place: tuple[int, int], value: float) -> None:
    """The first weight that is negative or not finite is told with its indices."""
    weights = np.ones((2, 3))
    weights[place] = value
    with pytest.raises(ConfigError, match=re.escape(f"weight {value} of 'area' at {place}")):
        check_weights("area", weights, (2, 3))


def test_weights_of_the_wrong_shape() -> None:
    """Shape against shape, and zero weights alone are none."""
    with pytest.raises(
        ConfigError, match=re.escape("have shape (3,), and the field's space has (2, 3); give one weight per place")
    ):
        check_weights("area", np.ones(3), (2, 3))
    with pytest.raises(ConfigError, match="all weights of 'area' are zero"):
        check_weights("area", np.zeros((2, 3)), (2, 3))
    assert check_weights("area", np.eye(2), (2, 2)).sum() == 2


@pytest.mark.parametrize(
    ("options", "route", "fallback", "words"),
    [
        ({"rtol": 1e-4}, "gram", "tsqr", "above the Gram floor"),
        ({"rtol": 1e-10}, "tsqr", None, "below 1e-07"),
        ({"rank": 5}, "gram", "tsqr", "its floor is checked"),
        ({"rank": 5, "route": "gram"}, "gram", None, "was asked for"),
        ({"rtol": 1e-4, "route": "tsqr"}, "tsqr", None, "was asked for"),
    ],
)
def test_the_route_and_its_reason(options: dict[str, Any], route: str, fallback: str | None, words: str) -> None:
    """Tolerance and rank decide, or the user does; the reason is given, and what may follow."""
    found = choose_route(ReduceSection(**options))
    assert found.reduction.name == route
    assert (found.fallback.name if found.fallback else None) == fallback
    assert words in found.reason


# --- measured -----------------------------------------------------------------------------------------------------------------

MEASURE = """
import sys
import numpy as np
from nwidth.config import ReduceSection
from nwidth.problems.cutting import Memory, cut_chunks, cut_field
from nwidth.stages.pod import reduce_problem
from nwidth.stages.problem import Problem
from nwidth.stages.sinks import FolderSink
from nwidth.models.files import FieldShape
from nwidth.workers import ThreadExecutor
from nwidth_graphs.budget import factor_cost, lift_cost
from nwidth_graphs.leaves import peak_process_bytes
from nwidth_graphs.reduction import reduction_named
from nwidth_graphs.source import FieldSource, Reading, as_rows

n, m, rank, threads, dtype, route, mib, folder = sys.argv[1:]
n, m, rank, threads, mib = int(n), int(m), int(rank), int(threads), int(mib)
request = ReduceSection(rank=rank, route=route)
cut = cut_field("u", [n], [[1000]], m, np.dtype(dtype).itemsize, request, Memory(mib * 2**20, threads), 0)

def read(panel):
    start, stop = panel.selection[0].start, panel.selection[0].stop
    block = np.empty((m, stop - start), dtype)
    for j in range(m):
        block[j] = np.sin((j + 1) * np.arange(start, stop, dtype=np.float64) / n)
    return Reading(as_rows(block))

source = FieldSource("u", cut.panels, m, np.dtype(dtype).itemsize, read=read)
problem = Problem({"u": source}, {"u": FieldShape("u", ("node",), (n,), cut.box)}, "aa", str)
reduce_problem(problem, request, ThreadExecutor(threads), FolderSink(__import__("pathlib").Path(folder)))
common = dict(stored_bytes=0, decode_bytes=0, threads=threads, rank_bound=rank)
predicted = max(factor_cost([source], reduction_named(route), **common).peak_bytes, lift_cost([source], **common).peak_bytes)
print(predicted, peak_process_bytes(), len(cut.panels))
"""


@pytest.mark.slow
@pytest.mark.parametrize("route", ["gram", "tsqr"])
@pytest.mark.parametrize(
    ("n", "m", "rank", "threads", "dtype", "mib"),
    [
        (400_000, 100, 10, 1, "float32", 2000),
        (200_000, 200, 200, 2, "float64", 2000),
        (100_000, 500, 20, 2, "float32", 1000),
        (1_000_000, 20, 5, 4, "float64", 600),
    ],
)
def test_the_measured_peak_stays_below_the_plan(
    route: str, n: int, m: int, rank: int, threads: int, dtype: str, mib: int, tmp_path: Any
) -> None:
    """A process of its own reduces and lifts: its largest resident size stays below the plan."""
    arguments = map(str, (n, m, rank, threads, dtype, route, mib, tmp_path / "model"))
    done = subprocess.run([sys.executable, "-c", MEASURE, *arguments], capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr
    predicted, measured, blocks = map(int, done.stdout.split())
    assert blocks > 1
    assert measured <= predicted <= mib * MIB


@pytest.mark.parametrize(
    ("snapshots", "rows", "route", "columns"),
    [(256, 16384, "gram", 1), (256, 8192, "gram", 4), (600, 8192, "gram", 3), (1024, 8192, "gram", 1), (1024, 8192, "tsqr", 2)],
    ids=["a large column", "columns of 8 MiB", "a large factor", "over strips", "a large triangle"],
)
def test_a_large_column_of_chunks_is_a_block(snapshots: int, rows: int, route: Any, columns: int) -> None:
    """Its chunks are decoded in their place, whatever memory there is; not where the factor is large beside it, but for a sum
    that grows over strips of blocks."""
    memory = Memory((512 if snapshots == 256 else 1024) * MIB)
    request = ReduceSection(rank=50, route=route)
    cut = cut_chunks("u", (snapshots, 2**22), (32, rows), None, snapshots, 4, request, memory, components=False)
    assert cut.box == (columns * rows,)


@pytest.mark.parametrize(("sample", "columns"), [(60, 1), (600, 2)])
def test_a_large_column_is_a_block_of_a_sketch(sample: int, columns: int) -> None:
    """Where the image of the sample is small beside it."""
    request = ReduceSection(rank=50, route="sketch")
    options: dict[str, Any] = {"components": False, "sample": sample, "fit": 2**20}
    cut = cut_chunks("u", (5000, 2**18), (512, 838), None, 5000, 8, request, Memory(3072 * MIB), **options)
    assert cut.box == (columns * 838,)


def test_contents_have_keys() -> None:
    """Text and numbers, arrays, and both: equal contents have equal keys, other ones, and other orders, others."""
    contents: list[tuple[Any, ...]] = [
        ("a", 1), ("a", "1"), (1, "a"), ("a1",), ("a", None), (np.ones(3),), (np.zeros(3),), ("a", np.ones(3))
    ]  # fmt: skip
    assert len({content_token(*parts) for parts in contents}) == len(contents)
    assert content_token("a", np.ones(3)) == content_token("a", np.ones(3))
