"""Compression of fields: set explicitly, because Zarr's default (zstd without shuffling) is nearly useless on floats.

    blosc   zstd level 3 after a byte shuffle: the default; every Zarr v3 reader has it
    lz4     lz4 level 5 after a byte shuffle: decodes about twice as fast, compresses somewhat less
    none    raw bytes: the fastest where the disk or the network keeps up (noise does not compress anyway)

All are lossless. Shuffling groups the bytes of equal significance, so Blosc must be told the size of a number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nwidth.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from zarr.abc.codec import BytesBytesCodec

DEFAULT_CODEC = "blosc"
CODECS = ("blosc", "lz4", "none")


def check_codec(name: str) -> str:
    """Return `name`, or raise `ConfigError` where no codec has it."""
    if name not in CODECS:
        raise ConfigError(f"codec {name!r} is unknown; choose one of {', '.join(CODECS)}")
    return name


def compressors(name: str, dtype: np.dtype[Any]) -> tuple[BytesBytesCodec, ...]:
    """The bytes-to-bytes codecs of a field of `dtype` (complex numbers are shuffled as pairs of reals).

    Raises
    ------
    ConfigError
        `name` is not one of `CODECS`.
    """
    from zarr.codecs import BloscCodec

    check_codec(name)
    typesize = dtype.itemsize // 2 if dtype.kind == "c" else dtype.itemsize
    if name == "blosc":
        return (BloscCodec(cname="zstd", clevel=3, shuffle="shuffle", typesize=typesize),)
    if name == "lz4":
        return (BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", typesize=typesize),)
    return ()


def codec_words(codecs: tuple[BytesBytesCodec, ...]) -> str:
    """Stored compressors in words, for `FieldInfo.codec`: ``blosc(zstd-3, shuffle, 8)``, ``none``."""
    return " + ".join(_one(codec.to_dict()) for codec in codecs) or "none"


def _one(document: Any) -> str:
    name, settings = document["name"], document.get("configuration", {})
    if name != "blosc":
        return str(name)
    return f"blosc({settings['cname']}-{settings['clevel']}, {settings['shuffle']}, {settings['typesize']})"
