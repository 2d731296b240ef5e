"""Blocks that one task takes one after the other: in order, settled, and without anything left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from nwidth_graphs.reduction import GRAM, TSQR
from nwidth_graphs.sequence import all_put_away, at_the_end, behind, following, in_sequence, reduce_in_sequence
from nwidth_graphs.source import FieldSource


class Note:
    """What happened, in order, by whichever thread."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def slowly(self, word: str) -> str:
        """Say it after a while."""
        time.sleep(0.02)
        self.said.append(word)
        return word


def test_outside_of_a_sequence_work_is_done_at_once() -> None:
    """And nothing follows."""
    assert behind(lambda: threading.get_ident()) == threading.get_ident()
    assert list(following("reader", "panel")) == []
    assert not at_the_end(lambda: None)


def test_results_come_in_order_when_all_that_was_handed_over_is_done() -> None:
    """The leaf of the next block runs while this one's work is put away, and no further."""
    note = Note()

    def leaf(block: int) -> Any:
        note.said.append(f"leaf {block}")
        behind(lambda: note.slowly(f"written {block}"))
        return behind(lambda: note.slowly(f"kept {block}"))

    for number, result in enumerate(in_sequence(leaf, range(4))):
        assert result == f"kept {number}"
        leaves = [word for word in note.said if word.startswith("leaf")]
        assert len(leaves) == min(number + 2, 4)
    assert [word for word in note.said if not word.startswith("leaf")] == [
        f"{done} {block}" for block in range(4) for done in ("written", "kept")
    ]
    assert note.said.index("leaf 1") < note.said.index("written 0")


def test_after_a_failure_nothing_more_is_put_away() -> None:
    """A result whose output could not be written is not kept; the error is the first one, and it is raised to the caller."""
    done: list[int] = []

    def leaf(block: int) -> Any:
        def write() -> None:
            if block == 1:
                raise OSError(28, "no room")

        behind(write)
        return behind(lambda: done.append(block))

    found = in_sequence(leaf, range(5))
    assert next(found) is None
    with pytest.raises(OSError, match="no room"):
        list(found)
    assert done == [0]
    assert behind(lambda: 3) == 3  # the sequence is over


def test_all_can_be_waited_for() -> None:
    """And what failed is told to who waits; outside of a sequence there is nothing to wait for."""
    note = Note()
    all_put_away()

    def leaf(block: int) -> None:
        behind(lambda: note.slowly(f"written {block}"))
        all_put_away()
        note.said.append(f"leaf {block}")
        if block == 1:
            behind(lambda: 1 / 0)
            all_put_away()

    with pytest.raises(ZeroDivisionError):
        list(in_sequence(leaf, range(3)))
    assert note.said == ["written 0", "leaf 0", "written 1", "leaf 1"]


def test_a_sequence_that_is_left_ends_what_was_begun() -> None:
    """Whoever stops early waits for what is under way, and streams are closed."""
    note, ended = Note(), []

    def leaf(block: int) -> int:
        at_the_end(lambda: ended.append(block))
        behind(lambda: note.slowly(f"written {block}"))
        return block

    with closing(in_sequence(leaf, range(8))) as found:
        assert next(found) == 0
    assert note.said == ["written 0", "written 1"]
    assert sorted(ended) == [0, 1]


def test_a_leaf_that_fails_leaves_nothing_running() -> None:
    """Its error is the caller's."""
    note = Note()

    def leaf(block: int) -> None:
        if block == 2:
            raise ValueError("bad block")
        behind(lambda: note.slowly(f"written {block}"))

    with pytest.raises(ValueError, match="bad block"):
        list(in_sequence(leaf, range(4)))
    assert note.said == ["written 0", "written 1"]


def test_only_the_reader_is_told_what_follows() -> None:
    """By the panels that will be read, the very same objects."""
    panels = [[block] for block in range(4)]
    told: list[tuple[Any, Any]] = []

    def leaf(block: Any) -> None:
        told.append((list(following("reader", block)), list(following("another", block))))

    list(in_sequence(leaf, panels, "reader", lambda block: () if block == [2] else (block,)))
    assert told == [([[1], [3]], []), ([[3]], []), ([], []), ([], [])]


def test_a_block_is_taken_when_somebody_asks_for_it() -> None:
    """By the leaf, or by who fetches what follows, on a thread of its own; once, and then it is this sequence's."""
    taken: list[int] = []
    panels = [[number] for number in range(6)]

    def blocks() -> Iterator[Any]:
        for number, panel in enumerate(panels):
            taken.append(number)
            yield panel

    ahead = ThreadPoolExecutor(1)

    def leaf(block: Any) -> Any:
        number = block[0]
        assert taken == list(range(max(number, 3 if number else 0) + 1))
        if number == 0:
            coming = following("reader", block)
            assert taken == [0]
            assert ahead.submit(lambda: [next(coming) for _ in range(3)]).result() == [[1], [2], [3]]
        return number

    with ahead:
        assert list(in_sequence(leaf, blocks(), "reader")) == list(range(6))
    assert taken == list(range(6))


def test_sequences_within_sequences() -> None:
    """The inner one has its own blocks, and the outer one goes on after it."""
    seen: list[Any] = []

    def outer(block: int) -> Any:
        inner = list(in_sequence(lambda part: behind(lambda: part), range(2)))
        result = behind(lambda: (block, inner))
        seen.append(isinstance(result, Future))
        return result

    assert list(in_sequence(outer, range(2))) == [(0, [0, 1]), (1, [0, 1])]
    assert seen == [True, True]


@pytest.mark.parametrize("count", [1, 2, 8, 9, 64, 70])
@pytest.mark.parametrize("in_turn", [False, True])
def test_merges_are_those_of_the_tree(count: int, in_turn: bool) -> None:
    """Nested tuples show which results were merged with which."""
    from nwidth_graphs.topology import reduced

    source = FieldSource("T", (), 1, 8)
    merge = (lambda parts: sum(parts[1:], parts[0])) if in_turn else tuple
    found = reduce_in_sequence(lambda block, source: [block], range(count), {"source": source}, merge, in_turn=in_turn)
    expected = list(range(count)) if in_turn else reduced([[block] for block in range(count)], tuple)
    assert found == expected


def test_sums_are_taken_as_they_come() -> None:
    """A task of several blocks holds two factors that add up, and not one for each of them."""
    operands: list[int] = []

    def merge(parts: Any) -> float:
        operands.append(len(parts))
        return float(sum(parts[1:], parts[0]))

    def leaf(block: int, reduction: Any) -> float:
        return float(block)

    assert reduce_in_sequence(leaf, range(8), {"reduction": GRAM}, merge) == 28.0
    assert reduce_in_sequence(leaf, range(8), {"reduction": TSQR}, merge) == 28.0
    assert operands == [2] * 7 + [8]
