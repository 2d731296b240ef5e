"""Partials on a shelf: whole or absent, bit for bit, never trusted when damaged, and never in the way of a run."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nwidth.shelf import FolderShelf, decode, pieces
from nwidth_graphs.keeping import Kept
from nwidth_graphs.kernels.lift import LiftSums
from nwidth_graphs.leaves import BadValue, LiftPartial, Partial, Tally

NUMBERS = np.random.default_rng(0).standard_normal((7, 5))
VALUES = [
    Partial(NUMBERS, Tally(3, 0.1 + 0.2, 1e-300, 1, 5), {4: NUMBERS[:2], 2: NUMBERS[:0]}),
    Partial(NUMBERS.T, Tally(), {}, (BadValue("T", 3, (1, 2), float("-inf")), BadValue("T", 0, (), float("inf")))),
    LiftPartial(LiftSums(NUMBERS, NUMBERS.astype(np.float32), None), Tally(bytes_read=2**60)),
    Kept((None, True, "words", [1, -2.5], {"a": NUMBERS[0]}), "proof"),
    np.zeros((0, 3)),
    np.array(2.0),
]


def same(one: Any, two: Any) -> bool:
    """Equal in type, bits and memory order, all the way down."""
    if type(one) is not type(two):
        return False
    if isinstance(one, np.ndarray):
        layout = [(a.dtype, a.shape, a.flags.c_contiguous, a.flags.f_contiguous, a.tobytes()) for a in (one, two)]
        return layout[0] == layout[1]
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, dict):
        return same(list(one.items()), list(two.items()))
    if hasattr(one, "__dataclass_fields__"):
        return all(same(getattr(one, field.name), getattr(two, field.name)) for field in fields(one))
    return bool(one == two)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_what_is_kept_comes_back_bit_for_bit(tmp_path: Path, value: Any) -> None:
    """Records, numbers to the last digit, and arrays with their memory order, which decides how a product rounds."""
    shelf = FolderShelf(str(tmp_path))
    assert shelf.save("gram-T-0", "0000000x1", value)
    assert same(shelf.load("gram-T-0", "0000000x1"), value)
    assert [path.name for path in (tmp_path / "gram-T-0").iterdir()] == ["0000000x1.part"]


def test_a_damaged_partial_is_not_there(tmp_path: Path) -> None:
    """Cut at any length, or with any byte changed, a file loads as None."""
    shelf, file = FolderShelf(str(tmp_path)), tmp_path / "gram" / "0000000x1.part"
    assert shelf.save("gram", "0000000x1", VALUES[0])
    whole = file.read_bytes()
    for length in range(0, len(whole), 7):
        file.write_bytes(whole[:length])
        assert shelf.load("gram", "0000000x1") is None, length
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        assert shelf.load("gram", "0000000x1") is None, place
    assert shelf.load("gram", "0000001x1") is None


@dataclass(frozen=True)
class Foreign:
    """A record of somebody else's."""

    number: int


@pytest.mark.parametrize("value", [Foreign(1), np.array(["a"], object), {1, 2}, print], ids=lambda value: type(value).__name__)
def test_nothing_else_is_written(value: Any) -> None:
    """What is no number, word, array or record of ours is refused; nothing is pickled."""
    with pytest.raises(TypeError, match="cannot be kept as a partial; hand on arrays, numbers, and records"):
        b"".join(pieces(value))


def test_a_file_cannot_ask_for_other_classes() -> None:
    """A record that a file names is looked for among ours alone, even where its checksum is right."""
    import hashlib

    for name in ("subprocess:Popen", "nwidth_graphs.keeping:np", "nwidth_graphs.keeping:KeptLeaf.__call__"):
        content = b"".join(pieces(VALUES[0]))[:-16].replace(b"nwidth_graphs.leaves:Partial", name.encode())
        header = content[16:].partition(b"]}")[0]
        torn = bytearray(content[:8] + (len(header) + 2).to_bytes(8, "little") + content[16:])
        with pytest.raises((ValueError, AttributeError)):
            decode(torn + hashlib.blake2b(torn, digest_size=16).digest())


def test_a_swept_attempt_is_not_brought_back(tmp_path: Path) -> None:
    """A worker that outlives its driver saves nothing where the attempt is gone, and says so."""
    shelf = FolderShelf(str(tmp_path / "attempt"))
    (tmp_path / "attempt").mkdir()
    assert shelf.save("gram", "0000000x1", 1)
    shutil.rmtree(tmp_path / "attempt")
    assert not shelf.save("gram", "0000001x1", 1)
    assert not (tmp_path / "attempt").exists()


def test_blocks_are_counted_by_name(tmp_path: Path) -> None:
    """A file of eight blocks counts as eight, and what a kill left half written as none."""
    shelf = FolderShelf(str(tmp_path))
    for name in ("0000000x8", "0000008x3"):
        assert shelf.save("gram-T-01", name, 1)
    (tmp_path / "gram-T-01" / ".0000011x8.abc.partial").touch()
    assert shelf.kept_blocks() == {"gram-T-01": 11}
