"""Which results are kept, under which key, and that keeping never changes a bit."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from nwidth.workers import ThreadExecutor
from nwidth_graphs import keeping, strips
from nwidth_graphs.factor import factor_graph
from nwidth_graphs.keeping import KeptLeaf, grain, kept, pass_key
from nwidth_graphs.layout import Panel, panels
from nwidth_graphs.leaves import Partial, Tally
from nwidth_graphs.lifting import Lift, lift_graph
from nwidth_graphs.reduction import GRAM, TSQR
from nwidth_graphs.source import FieldSource, Reading
from nwidth_graphs.trees import FAN_IN, Tree

BLOCKS, ROWS, COLUMNS = 70, 30, 6
VALUES = np.random.default_rng(1).standard_normal((BLOCKS * ROWS - 7, COLUMNS))
READ: list[int] = []


def other_read(panel: Panel) -> Reading:
    """A reader of something else."""
    return read(panel)


@dataclass
class MemoryShelf:
    """A shelf in this process, which is all that threads need; it may be full."""

    always: bool = False
    full: bool = False
    held: dict[tuple[str, str], Any] = field(default_factory=dict)

    def has(self, folder: str, name: str) -> bool:
        """As a folder does."""
        return (folder, name) in self.held

    def load(self, folder: str, name: str) -> Any | None:
        """As a folder does."""
        return deepcopy(self.held.get((folder, name)))

    def save(self, folder: str, name: str, value: Any) -> bool:
        """As a folder does."""
        if not self.full:
            self.held[folder, name] = deepcopy(value)
        return not self.full


def read(panel: Panel) -> Reading:
    """A block of `VALUES`, and a note that it was read."""
    READ.append(panel.index)
    return Reading(VALUES[panel.selection], VALUES[panel.selection].nbytes)


def source_on(shelf: Any) -> FieldSource:
    """The field of `VALUES`."""
    cut = panels((len(VALUES),), (ROWS,))
    return FieldSource("T", cut, COLUMNS, 8, read=read, shelf=shelf)


def reduced(shelf: Any, reduction: Any = GRAM) -> Partial:
    """The factor of the field, and the blocks that were read for it in `READ`."""
    READ.clear()
    result: Partial = ThreadExecutor(2).run(factor_graph([source_on(shelf)], reduction, "token"), "pass")[f"{reduction.name}-T"]
    return result


@pytest.mark.parametrize(
    ("reduction", "in_turn"), [(GRAM, False), (GRAM, True), (TSQR, False)], ids=["gram", "gram in turn", "tsqr"]
)
@pytest.mark.parametrize("size", [1, FAN_IN, FAN_IN**2])
def test_keeping_changes_no_bit_and_saves_all_reads(
    monkeypatch: pytest.MonkeyPatch, reduction: Any, in_turn: bool, size: int
) -> None:
    """Results of one, eight and sixty-four blocks: kept, loaded, or some of each, the factor is that of the plain tree, which
    merges eight at once; large Gram matrices are merged in turn, to the same bits.
    """
    plain = reduced(None, reduction)
    monkeypatch.setattr(strips, "SMALL_FACTOR", np.inf)  # else blocks of what is merged in turn are strips: other sums
    if in_turn:
        monkeypatch.setattr("nwidth_graphs.reduction.IN_TURN_BYTES", 1)
    assert reduction.merges_in_turn(COLUMNS) == in_turn
    shelf = MemoryShelf()
    monkeypatch.setattr(keeping, "MIN_GROUPS", 1)
    monkeypatch.setattr(keeping, "grain", lambda *_, **__: size)
    first = reduced(shelf, reduction)
    assert sorted(READ) == list(range(BLOCKS))
    assert len(shelf.held) == -(-BLOCKS // size)
    again = reduced(shelf, reduction)
    assert not READ
    assert (again.tally.blocks, again.tally.blocks_reused, again.tally.bytes_read) == (BLOCKS, BLOCKS, 0)
    del shelf.held[next(iter(shelf.held))]
    third = reduced(shelf, reduction)
    assert len(READ) <= size
    for result in (first, again, third):
        np.testing.assert_array_equal(result.factor, plain.factor)
    assert first.tally.bytes_read == plain.tally.bytes_read == VALUES.nbytes


def test_a_full_shelf_costs_nothing_but_itself() -> None:
    """Where nothing can be kept the pass is what it was, and tells how many blocks were not kept."""
    result = reduced(MemoryShelf(always=True, full=True))
    np.testing.assert_array_equal(result.factor, reduced(None).factor)
    assert (result.tally.blocks_unkept, result.tally.blocks_reused) == (BLOCKS, 0)


@pytest.mark.parametrize(
    ("result", "block", "n_blocks", "size"),
    [
        (4, 100, 10, 1),  # cheap beside its block
        (0, 100, 10, 1),  # unknown: the worker decides
        (6, 100, 1000, FAN_IN),
        (39, 100, 1000, FAN_IN),
        (41, 100, 10_000, FAN_IN**2),
        (6, 100, 255, 0),  # 32 groups of eight are too few
        (6, 100, 256, FAN_IN),
    ],
)
def test_the_grain_follows_from_shapes(result: int, block: int, n_blocks: int, size: int) -> None:
    """The fewest blocks whose merged result is below a twentieth of their bytes; none where groups would be too few."""
    assert grain(result, block, n_blocks) == size
    assert grain(result, block, n_blocks, always=True) == 1


def leaf(block: Any, **shared: Any) -> Any:
    """Nothing."""


def merge(parts: Sequence[Any]) -> Any:
    """Nothing."""


COMPUTED: list[int] = []


def count(block: Any, **_: Any) -> Any:
    """A leaf that tells how often it was asked."""
    COMPUTED.append(block.index)
    return Partial(np.ones((2, 2)), Tally(blocks=1))


def tree_with(**shared: Any) -> Tree:
    """A tree with these shared values."""
    source = source_on(MemoryShelf(always=True))
    return Tree("lift", "T", leaf, source.panels, merge, leaf, {"source": source, **shared})


class Folder:
    """Where modes go."""

    def __init__(self, name: str) -> None:
        self.name = name

    def proof(self, panel: Panel) -> str:
        """Nothing to prove."""
        return ""


def test_a_key_tells_contents_apart() -> None:
    """Another token, transform, type, number, reduction or reader is another pass; another folder for the modes is not."""
    transform = np.arange(6.0).reshape(3, 2)
    keys = [
        pass_key(tree_with(transform=transform), "a"),
        pass_key(tree_with(transform=transform), "b"),
        pass_key(tree_with(transform=transform.copy()), "a"),
        pass_key(tree_with(transform=np.nextafter(transform, 9)), "a"),
        pass_key(tree_with(transform=transform.astype(np.float32)), "a"),
        pass_key(tree_with(transform=transform.reshape(2, 3)), "a"),
        pass_key(tree_with(transform=transform.T), "a"),
        pass_key(tree_with(transform=transform, power=1), "a"),
        pass_key(tree_with(transform=transform, power=2), "a"),
        pass_key(tree_with(reduction=GRAM), "a"),
        pass_key(tree_with(reduction=TSQR), "a"),
        pass_key(tree_with(source=replace(source_on(None), read=other_read)), "a"),
    ]
    assert None not in keys
    same = {keys.index(key) for key in keys}
    assert len(same) == len(keys) - 1  # a copy is the same
    assert keys[0] == keys[2]
    one, two = (pass_key(tree_with(transform=transform, write=Folder(name)), "a") for name in ("x", "y"))
    assert one == two is not None


def test_what_has_no_content_is_not_kept() -> None:
    """A closure cannot be told from another one, so a pass that shares one is left as it is; so is one without a shelf."""
    hidden = tree_with(function=lambda: 1)
    assert pass_key(hidden, "a") is None
    assert kept(hidden, "a") is hidden
    bare = Tree("lift", "T", leaf, (), merge, leaf, {"source": source_on(None)})
    assert kept(bare, "a") is bare


def test_a_result_whose_output_is_gone_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modes that changed on disk since their partial was saved make it worthless: the block is computed again."""
    proofs = {"": "1"}

    def prove(self: Folder, panel: Panel) -> str:
        return proofs[self.name]

    monkeypatch.setattr(Folder, "proof", prove)
    COMPUTED.clear()
    tree = kept(replace(tree_with(write=Folder("")), leaf=count), "a")
    bundle = tree.blocks[0]
    for expected, seen in ((1, "1"), (1, "1"), (2, "2")):
        proofs[""] = seen
        tree.leaf(bundle, **tree.shared)
        assert len(COMPUTED) == expected


def test_both_passes_are_kept() -> None:
    """The graphs of the factor pass and of the lifting pass have leaves that look on the shelf first."""
    source = source_on(MemoryShelf(always=True))
    lift = Lift(source, np.ones((COLUMNS, 2)), None, Folder("x"))  # type: ignore[arg-type]
    for graph in (factor_graph([source], GRAM, "token"), lift_graph([lift], "token")):
        assert [type(tree.leaf) for tree in graph.trees] == [KeptLeaf]


def test_modes_that_nobody_can_prove_are_not_kept() -> None:
    """A leaf that writes to a place which cannot tell what lies there is left as it is: its result alone would be no result."""
    tree = tree_with(write=print)
    assert kept(tree, "a") is tree


@dataclass(frozen=True)
class Own:
    """A block with a source of its own."""

    source: FieldSource
    number: int


def test_blocks_with_sources_of_their_own_are_told_apart() -> None:
    """Where each leaf has its own source, what the blocks are is part of the key, and the first one's shelf serves all."""
    source = source_on(MemoryShelf(always=True))
    trees = [Tree("node", "T", leaf, (Own(source, 0), Own(source, number)), merge, leaf, {}) for number in (1, 2)]
    assert pass_key(trees[0], "a") != pass_key(trees[1], "a")
    assert isinstance(kept(trees[0], "a").leaf, KeptLeaf)
