"""What makes a run the same run: the bytes of its files and the reader that reads them, not their names or dates."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from nwidth.errors import FormatError
from nwidth.readers.protocol import Reader

_PIECE = 1 << 22


def files_of(path: Path, reader: Reader) -> tuple[Path, ...]:
    """All files of a run: `path` (or everything below it, for a folder) and the companions that the reader names."""
    own = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    companions = getattr(reader, "companions", None)
    beside = companions(path) if companions is not None and not path.is_dir() else ()
    return tuple(dict.fromkeys([*own, *beside]))


def source_key(files: Iterable[Path], reader: str) -> str:
    """Key of a run: blake2b over the reader's name and the length and content of each file, in order.

    Raises
    ------
    nwidth.errors.FormatError
        A file cannot be read.
    """
    digest = hashlib.blake2b(reader.encode(), digest_size=16)
    for file in files:
        try:
            digest.update(file.stat().st_size.to_bytes(8, "little"))
            with file.open("rb") as stream:
                while piece := stream.read(_PIECE):
                    digest.update(piece)
        except OSError as error:
            raise FormatError(f"{file} cannot be read ({error.strerror}); check the path and its permissions") from None
    return digest.hexdigest()
