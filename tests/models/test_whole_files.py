"""Files of modes: the same bytes whichever way they are written, and the way that suits the disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google_crc32c import value
from hypothesis import given
from hypothesis import strategies as st

from nwidth import disks
from nwidth.disks import Devices
from nwidth.models import modes as modes_module
from nwidth.models import whole_files
from nwidth.models.files import FieldShape
from nwidth.models.modes import create_modes, layer_depth
from nwidth.models.whole_files import DIRECT_BYTES, crc_of_file, write_whole
from nwidth_graphs.kernels.memory import page_aligned
from nwidth_graphs.layout import panels

LARGE = DIRECT_BYTES // 8 * 2


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> Devices:
    """A process that knows nothing of any disk yet."""
    fresh = Devices()
    monkeypatch.setattr(disks, "writes", fresh)
    return fresh


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Flags of every file that is opened for a direct write."""
    flags: list[int] = []
    real = os.open

    def noting(path: Any, how: int, *rest: Any, **options: Any) -> int:
        if how & getattr(os, "O_DIRECT", 0):
            flags.append(how)
        return real(path, how, *rest, **options)

    monkeypatch.setattr(os, "open", noting)
    return flags


def values(size: int = LARGE) -> Any:
    """Numbers that begin with a page."""
    found = page_aligned((size,))
    found[...] = np.random.default_rng(0).standard_normal(size)
    return found


needs_direct_writes = pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="this system has no direct writes")


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("size", [0, 1, 1000, LARGE, LARGE + 1])
def test_a_file_holds_the_numbers(tmp_path: Path, size: int, direct: bool) -> None:
    """Whichever way it was written; the checksum is the file's, and nothing else is left in the folder."""
    written = values(size)
    told = write_whole(tmp_path / "0", written, direct=direct)
    assert (tmp_path / "0").read_bytes() == written.tobytes()
    assert told == f"{value(written.tobytes()):08x}"
    assert crc_of_file(tmp_path / "0") == (told if size else "0")
    assert os.listdir(tmp_path) == ["0"]


@needs_direct_writes
def test_large_files_that_begin_with_a_page_pass_by_the_cache(tmp_path: Path, devices: Devices, opened: list[int]) -> None:
    """Small ones, ragged ones, and those that lie across pages do not."""
    whole = values()
    for name, part in {"whole": whole, "small": whole[:512], "ragged": whole[:-1], "across": whole[1:]}.items():
        opened.clear()
        write_whole(tmp_path / name, part, direct=True)
        assert bool(opened) == (name == "whole"), name
    opened.clear()
    write_whole(tmp_path / "read again", whole)
    assert not opened


@needs_direct_writes
def test_a_file_system_without_direct_writes_is_asked_once(
    tmp_path: Path, devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is written through the cache, and so are all later ones."""
    asked = []

    def refuse(*_: Any) -> Any:
        asked.append(1)
        raise OSError(errno.EINVAL, "no direct writes here")

    monkeypatch.setattr(os, "open", refuse)
    for name in ("0", "1"):
        write_whole(tmp_path / name, values(), direct=True)
        assert (tmp_path / name).read_bytes() == values().tobytes()
    assert len(asked) == 1


@needs_direct_writes
def test_a_full_disk_is_not_taken_for_a_refusal(tmp_path: Path, devices: Devices, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said as it is, and there is no file."""

    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(whole_files, "_write_all", full)
    with pytest.raises(OSError, match="no space left"):
        write_whole(tmp_path / "0", values(), direct=True)
    assert not (tmp_path / "0").exists()


@given(rank=st.integers(0, 2000), most=st.integers(0, 500))
def test_layers_waste_little(rank: int, most: int) -> None:
    """Chunks hold at most as many modes as asked for, at least half as many, and waste no more than the fullest choice would."""
    depth = layer_depth(rank, most)
    limit = max(1, min(rank, most))
    assert limit // 2 < depth <= limit
    assert -rank % depth <= -rank % limit
    assert (layer_depth(50, 8), layer_depth(50, 16), layer_depth(7, 7)) == (5, 10, 7)


def test_what_was_just_written_is_not_read_to_be_proven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof of a panel comes from memory, once; the next is read from disk, and is the same until a file changes."""
    shape = FieldShape("u", ("node",), (600,), (200,))
    write = create_modes(tmp_path, "joint", shape, 5, centred=True)
    panel = panels((600,), (200,))[1]
    read: list[Path] = []

    def noted(file: Path) -> str:
        read.append(file)
        return crc_of_file(file)

    monkeypatch.setattr(modes_module, "crc_of_file", noted)
    write(panel, np.arange(1000.0).reshape(5, 200), np.ones(200))
    from_memory = write.proof(panel)
    assert not read
    assert write.proof(panel) == from_memory
    assert read
    read[0].write_bytes(b"x")
    assert write.proof(panel) != from_memory


@pytest.mark.parametrize("at", [0, 2])
def test_panels_are_read_as_they_were_written(tmp_path: Path, at: int) -> None:
    """Whole ones from their files, the ragged one at the end through Zarr; one whose file is torn is not read as numbers."""
    write = create_modes(tmp_path, "joint", FieldShape("u", ("node",), (500,), (200,)), 5, centred=False)
    panel = panels((500,), (200,))[at]
    modes = np.random.default_rng(at).standard_normal((5, panel.rows))
    write(panel, modes, None)
    np.testing.assert_array_equal(write.read(panel), modes)
    file = tmp_path / "bases" / "joint" / "u" / "modes" / "c" / "0" / str(at)
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"buffer|reshape|size"):
        write.read(panel)
