"""Partials of a pass as files: written whole by the worker that made them, never pickled, never trusted without their checksum.

    <attempt>/partials/<pass>/<first block>x<blocks>.part

    NWPART01 | length of the header, 8 bytes | header (JSON) | arrays, each at a multiple of 64 | blake2b of all that, 16 bytes

The header is the value as nested lists, with ``{"array": i}`` where array `i` stands. Records of `nwidth_graphs` (a factor with
its tally, the sums of a lift) are written by name and fields, whatever fields they have, so that a new route needs no code here.

A file is written under a name of its own and renamed: a kill leaves it whole or absent. It is not synced: what a power cut takes
away fails its checksum, and is computed again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

MAGIC = b"NWPART01"
SUFFIX = ".part"
CHECKSUM_BYTES = 16
_ALIGN = 64
_RECORDS = "nwidth_graphs"
# No room, no rights, a bad disk, or an attempt that was swept: keeping is a service, and no reason to stop a pass.
_REFUSED = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENOENT}


@dataclass(frozen=True)
class FolderShelf:
    """A `keeping.Shelf` in a folder that driver and workers share."""

    root: str
    always: bool = False

    def has(self, folder: str, name: str) -> bool:
        """Whether there is such a file."""
        return (Path(self.root) / folder / f"{name}{SUFFIX}").exists()

    def load(self, folder: str, name: str) -> Any | None:
        """The value, or None where there is no such file, or one that is torn, altered, or of an unknown record."""
        try:
            return decode(_read(Path(self.root) / folder / f"{name}{SUFFIX}"))
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, ImportError, RecursionError):
            return None

    def save(self, folder: str, name: str, value: Any) -> bool:
        """Write the value whole, or nothing; False where the system refuses (no room, no rights, or the attempt was swept)."""
        place = Path(self.root) / folder
        partial = place / f".{name}.{uuid.uuid4().hex}.partial"
        try:
            # Not its parents: the worker of a driver that died long ago must not bring a swept attempt back.
            place.mkdir(exist_ok=True)
            with partial.open("wb") as file:
                for piece in pieces(value):
                    file.write(piece)
            os.replace(partial, place / f"{name}{SUFFIX}")
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            _remove(partial)
            return False
        return True

    def kept_blocks(self) -> dict[str, int]:
        """Pass folder -> blocks whose partials lie there, by the names of the files."""
        found: dict[str, int] = {}
        for folder in sorted(Path(self.root).glob("*/")):
            blocks = sum(int(file.stem.partition("x")[2] or 0) for file in folder.glob(f"[0-9]*{SUFFIX}"))
            if blocks:
                found[folder.name] = blocks
        return found


def pieces(value: Any) -> Iterator[bytes | memoryview]:
    """A value as the bytes of a file, piece by piece: an array is never copied.

    Raises
    ------
    TypeError
        It holds something else than records of `nwidth_graphs`, numbers, words, None, lists, tuples, dictionaries and arrays of
        numbers.
    """
    digest = hashlib.blake2b(digest_size=CHECKSUM_BYTES)
    for piece in _content(value):
        digest.update(piece)
        yield piece
    yield digest.digest()


def _content(value: Any) -> Iterator[bytes | memoryview]:
    arrays: list[NDArray[Any]] = []
    tree = _to_json(value, arrays)
    described = [{"dtype": array.dtype.str, "shape": array.shape, "order": _order(array)} for array in arrays]
    header = json.dumps({"value": tree, "arrays": described}).encode()
    yield MAGIC + len(header).to_bytes(8, "little") + header
    length = 16 + len(header)
    for array in arrays:
        yield bytes(-length % _ALIGN)
        flat = array.T if _order(array) == "F" else array
        yield np.ascontiguousarray(flat).reshape(-1).view(np.uint8).data
        length += -length % _ALIGN + array.nbytes


def decode(content: bytearray) -> Any:
    """The value of a file's bytes; its arrays are views on them.

    Raises
    ------
    ValueError
        The bytes are not what their checksum says.
    """
    body = memoryview(content)[:-CHECKSUM_BYTES]
    if body[:8] != MAGIC or hashlib.blake2b(body, digest_size=CHECKSUM_BYTES).digest() != content[-CHECKSUM_BYTES:]:
        raise ValueError("a partial is torn or altered")
    start = 16 + int.from_bytes(body[8:16], "little")
    header = json.loads(bytes(body[16:start]))
    arrays = []
    for described in header["arrays"]:
        start += -start % _ALIGN
        dtype, shape = np.dtype(described["dtype"]), tuple(described["shape"])
        stop = start + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        # The memory order, too: a product may round otherwise on a transposed array.
        arrays.append(np.frombuffer(body[start:stop], dtype).reshape(shape, order=described["order"]))
        start = stop
    return _from_json(header["value"], arrays)


def _read(path: Path) -> bytearray:
    with path.open("rb") as file:
        content = bytearray(os.fstat(file.fileno()).st_size)
        if file.readinto(content) != len(content):
            raise ValueError("a partial became shorter while it was read")
    return content


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def _order(array: NDArray[Any]) -> Literal["C", "F"]:
    return "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"


def _to_json(value: Any, arrays: list[NDArray[Any]]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiubc":
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if isinstance(value, np.generic):
        return _to_json(value.item(), arrays)
    if isinstance(value, list | tuple):
        return {"list" if isinstance(value, list) else "tuple": [_to_json(part, arrays) for part in value]}
    if isinstance(value, Mapping):
        return {"pairs": [[_to_json(key, arrays), _to_json(part, arrays)] for key, part in value.items()]}
    kind = type(value)
    if is_dataclass(value) and kind.__module__.partition(".")[0] == _RECORDS:
        parts = {field.name: _to_json(getattr(value, field.name), arrays) for field in fields(value)}
        return {"record": f"{kind.__module__}:{kind.__qualname__}", "fields": parts}
    raise TypeError(f"a {kind.__name__} cannot be kept as a partial; hand on arrays, numbers, and records of {_RECORDS}")


def _from_json(tree: Any, arrays: list[NDArray[Any]]) -> Any:
    if not isinstance(tree, dict):
        return tree
    if "array" in tree:
        return arrays[tree["array"]]
    if "pairs" in tree:
        return {_from_json(key, arrays): _from_json(part, arrays) for key, part in tree["pairs"]}
    if "record" in tree:
        kind = _record(tree["record"])
        return kind(**{name: _from_json(part, arrays) for name, part in tree["fields"].items()})
    parts = [_from_json(part, arrays) for part in tree["list" if "list" in tree else "tuple"]]
    return parts if "list" in tree else tuple(parts)


def _record(name: str) -> Any:
    """The record of that name: a dataclass of ours, and nothing else that a file may ask for."""
    module, _, kind = name.partition(":")
    if module.partition(".")[0] != _RECORDS:
        raise ValueError(f"{name} is no record of {_RECORDS}")
    found = getattr(import_module(module), kind)
    if not (isinstance(found, type) and is_dataclass(found)):
        raise ValueError(f"{name} is no record of {_RECORDS}")
    return found
