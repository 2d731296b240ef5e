"""Kept partials: what a leaf has made outlives worker, scheduler and driver, so that a killed pass reads only what is missing.

    block ──leaf──> partial ──save──> shelf          the worker that made it, once
    block ──load──────────────────── shelf          whoever is asked for it again: no read of the field, the same bits

A partial is found by the content of its pass (`pass_key`) and the number of its block, so one of other data, of another transform
or of another version of the code is never taken for it. Loading gives the bits that computing would give, because the tree above
the leaves is fixed by the plan.

**Grain.** A factor of m x m beside a block of n x m costs m / n of its bytes. Where that is more than `KEPT_SHARE`, one task
takes `FAN_IN` blocks (or its square, ...), merges them as the tree would, and keeps the merged result: aligned groups of the
tree's own fan-in, so that the bits do not change. Where groups would be too few to share among workers, nothing is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nwidth_graphs.layout import Panel
from nwidth_graphs.leaves import Tally, peak_process_bytes
from nwidth_graphs.reduction import FLOAT, Reduction
from nwidth_graphs.sequence import behind, reduce_in_sequence
from nwidth_graphs.source import FieldSource
from nwidth_graphs.strips import Strip, block_bytes, panels_of
from nwidth_graphs.topology import FAN_IN

if TYPE_CHECKING:
    from nwidth_graphs.trees import Tree

# What a reader would hardly notice beside reading: writing this share of the bytes that a pass reads.
KEPT_SHARE = 0.05
# A task of several blocks is lost whole, and is given to one worker whole: fewer than this many would idle a small cluster.
MIN_GROUPS = 32
# Headers and names of small results, which no share of a tiny block would allow.
SMALL_BYTES = 64 * 2**10


class Shelf(Protocol):
    """Where partials are kept; travels to the workers."""

    @property
    def always(self) -> bool:
        """Keep every block's partial, whatever it costs beside the block."""
        ...

    def has(self, folder: str, name: str) -> bool:
        """Whether something lies under that name, good or not."""
        ...

    def load(self, folder: str, name: str) -> Any | None:
        """What was saved under that name, in memory of its own; or None: never there, torn, or not what its checksum says."""
        ...

    def save(self, folder: str, name: str, value: Any) -> bool:
        """Save whole or not at all; False where there is no room. Saving twice does no harm. The value may change afterwards."""
        ...


@dataclass(frozen=True)
class Kept:
    """What lies on a shelf: a leaf's result, and what proves that whatever else the leaf wrote is still there."""

    result: Any
    proof: str = ""


@dataclass(frozen=True)
class Bundle:
    """Neighbouring blocks of a tree that one task reduces."""

    first: int
    blocks: tuple[Any, ...]

    @property
    def name(self) -> str:
        """Of its file: the first block, and how many panels."""
        return f"{self.first:07d}x{len(self.panels)}"

    @property
    def panels(self) -> tuple[Any, ...]:
        """What is read for its blocks, in order."""
        return tuple(panel for block in self.blocks for panel in panels_of(block))


@dataclass(frozen=True)
class KeptLeaf:
    """``leaf(bundle, **shared)``: loads what lies on the shelf, or reduces the blocks and saves the result."""

    leaf: Callable[..., Any]
    merge: Callable[[Sequence[Any]], Any]
    in_turn: bool
    shelf: Shelf
    folder: str
    limit_bytes: int
    """The largest result that is worth keeping."""

    def __call__(self, bundle: Bundle, **shared: Any) -> Any:
        # Files first: the proof is asked for only where there is something to prove.
        found = self.found(bundle, shared)
        if found is not None:
            return _with_tally(found.result, lambda tally: _reused(tally, len(bundle.panels)))
        return behind(partial(self._keep, bundle, self._reduce(bundle, shared), shared))

    def panels_to_read(self, bundle: Bundle) -> tuple[Any, ...]:
        """What is read for the blocks, where nothing lies on the shelf for them."""
        return () if self.shelf.has(self.folder, bundle.name) else bundle.panels

    def _keep(self, bundle: Bundle, result: Any, shared: Mapping[str, Any]) -> Any:
        """Save what a bundle gave, when all that its leaves wrote is written."""
        if nbytes_of(result) > self.limit_bytes or self.shelf.save(
            self.folder, bundle.name, Kept(result, _proof(bundle, shared))
        ):
            return result
        return _with_tally(result, lambda tally: replace(tally, blocks_unkept=len(bundle.panels)))

    def found(self, bundle: Bundle, shared: Mapping[str, Any]) -> Kept | None:
        """What lies on the shelf for these blocks, and still holds."""
        found = self.shelf.load(self.folder, bundle.name)
        return found if isinstance(found, Kept) and found.proof == _proof(bundle, shared) else None

    def _reduce(self, bundle: Bundle, shared: Mapping[str, Any]) -> Any:
        """The subtree of these blocks, merged in the tree's own order."""
        if len(bundle.blocks) == 1:
            return self.leaf(bundle.blocks[0], **shared)
        return reduce_in_sequence(self.leaf, bundle.blocks, shared, self.merge, in_turn=self.in_turn)


@dataclass(frozen=True)
class KeptRead:
    """``read(bundle, **shared)`` of one block for a leaf on another worker; None where the leaf will find its result."""

    leaf: KeptLeaf
    read: Callable[..., Any]

    def __call__(self, bundle: Bundle, **shared: Any) -> Any:
        return None if self.leaf.found(bundle, shared) is not None else self.read(bundle.blocks[0], **shared)


def kept(tree: Tree, token: str) -> Tree:
    """The tree with its leaves kept on the shelf of its source; as it is where there is none, or where keeping does not pay.

    Trees over a Dask array are never kept: their blocks come through the graph, whatever they cost. Nor is one whose leaves write
    what nobody can prove to be there still.
    """
    source = source_of(tree)
    if tree.array is not None or source is None or source.shelf is None or not _provable(tree.shared.get("write")):
        return tree
    key, read_bytes = pass_key(tree, token), _block_bytes(tree, source)
    size = grain(result_bytes(tree.shared, source), read_bytes, len(tree.blocks), always=source.shelf.always)
    if key is None or size == 0:
        return tree
    limit = np.iinfo(np.int64).max if source.shelf.always else max(SMALL_BYTES, int(KEPT_SHARE * read_bytes * size))
    leaf = KeptLeaf(tree.leaf, tree.merge, tree.in_turn, source.shelf, f"{tree.method}-{tree.field}-{key}", limit)
    bundles = [Bundle(start, tuple(tree.blocks[start : start + size])) for start in range(0, len(tree.blocks), size)]
    # Only what is read block by block can be read elsewhere.
    read = None if tree.read is None or size > 1 else KeptRead(leaf, tree.read)
    return replace(tree, leaf=leaf, blocks=bundles, read=read)


def source_of(tree: Tree) -> FieldSource | None:
    """The field that a tree reads, or the first of several: leaves share it, alone or in a stack, or each has its own."""
    stacked = getattr(tree.shared.get("field"), "sources", None) or (None,)
    own = getattr(tree.blocks[0], "source", None) if tree.blocks else None
    return next((found for found in (tree.shared.get("source"), stacked[0], own) if isinstance(found, FieldSource)), None)


def _provable(write: Any) -> bool:
    return write is None or hasattr(write, "proof")


def _block_bytes(tree: Tree, source: FieldSource) -> int:
    """Bytes of a leaf's reading: a panel with all its snapshots, all of its own source, or its share of the snapshots."""
    if "source" in tree.shared:
        return block_bytes(source, tree.blocks)
    whole: int = source.rows * source.snapshots * source.itemsize
    return whole // len(tree.blocks) if "field" in tree.shared else whole


def grain(result: int, block: int, n_blocks: int, *, always: bool = False) -> int:
    """Blocks whose merged result is kept as one: 1, or the least power of the fan-in at which it is cheap; 0 keeps nothing. Pure.

    Parameters
    ----------
    result : bytes of one leaf's result (0 where it is not known beforehand: then its worker decides, block by block)
    block : bytes of one block, as it is read
    """
    size = 1
    while not always and result > KEPT_SHARE * block * size:
        size *= FAN_IN
    return size if size == 1 or n_blocks >= MIN_GROUPS * size else 0


def result_bytes(shared: Mapping[str, Any], source: FieldSource) -> int:
    """Bytes of a leaf's result where the shapes tell: a factor or the sums of a lift, and a share of the interface rows. Pure."""
    snapshots = source.snapshots
    if "source" not in shared:
        return 0
    interface = 0 if source.interface is None else FLOAT * source.interface.n_rows * snapshots // len(source.panels)
    if "transform" in shared:
        rank = int(shared["transform"].shape[1])
        return FLOAT * (rank * (rank + snapshots) + snapshots) + interface
    if "test" in shared:
        return FLOAT * (int(shared["test"].shape[1]) + 1) * snapshots + interface
    return FLOAT * snapshots * snapshots + interface if isinstance(shared.get("reduction"), Reduction) else 0


def pass_key(tree: Tree, token: str) -> str | None:
    """Content of a pass, 16 hexadecimal digits: the inputs' token, the leaf, and every value that leaves share or have.

    Panels are left out: the token stands for the cut.

    None where one of the values has no content that can be told (a closure, say): such a pass is not kept.
    """
    blocks = () if tree.blocks and isinstance(tree.blocks[0], Panel | Strip) else tree.blocks
    return content_key((token, tree.method, tree.leaf, tree.merge, tree.shared, len(tree.blocks), blocks))


def content_key(parts: Sequence[Any]) -> str | None:
    """Content of some values, 16 hexadecimal digits; None where one of them has none that can be told."""
    digest = hashlib.blake2b(digest_size=8)
    try:
        for part in parts:
            _update(digest, part)
    except TypeError:
        return None
    return digest.hexdigest()


def _update(digest: Any, value: Any) -> None:
    """Feed the content of one value: what it is made of, never where it lies."""
    digest.update(type(value).__name__.encode())
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiubc":
        digest.update(f"{value.dtype.str}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).data)
    elif isinstance(value, str | bytes | bool | int | float | np.generic | None):
        digest.update(repr(value).encode())
    elif isinstance(value, FieldSource):  # the rest of its content is the token's
        _update(digest, (value.name, value.snapshots, value.itemsize, value.centre, len(value.panels), value.read, value.fill))
    elif isinstance(value, Reduction):
        digest.update(value.name.encode())
    elif hasattr(value, "proof"):  # a place where results go
        return
    elif isinstance(value, Mapping):
        _update(digest, [part for pair in value.items() for part in pair])
    elif isinstance(value, list | tuple | slice):
        parts = (value.start, value.stop, value.step) if isinstance(value, slice) else value
        digest.update(str(len(parts)).encode())
        for part in parts:
            _update(digest, part)
    elif isinstance(value, partial):
        _update(digest, (value.func, value.args, value.keywords))
    elif is_dataclass(value) and not isinstance(value, type):
        _update(digest, {field.name: getattr(value, field.name) for field in fields(value)})
    elif callable(value) and "<" not in getattr(value, "__qualname__", "<"):  # no lambda, no closure
        digest.update(f"{value.__module__}.{value.__qualname__}".encode())
    else:
        raise TypeError(f"the content of a {type(value).__name__} cannot be told")


def nbytes_of(value: Any) -> int:
    """Bytes of all arrays of a result."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(nbytes_of(part) for part in value.values())
    if isinstance(value, list | tuple):
        return sum(nbytes_of(part) for part in value)
    return sum(nbytes_of(getattr(value, field.name)) for field in fields(value)) if is_dataclass(value) else 0


def _proof(bundle: Bundle, shared: Mapping[str, Any]) -> str:
    """What the blocks' own outputs look like on disk, where the leaf writes any: modes that are gone make a partial worthless."""
    prove = getattr(shared.get("write"), "proof", None)
    return "" if prove is None else " ".join(prove(block) for block in bundle.blocks)


def _reused(tally: Tally, blocks: int) -> Tally:
    return replace(
        tally,
        bytes_read=0,
        read_seconds=0.0,
        compute_seconds=0.0,
        peak_process_bytes=peak_process_bytes(),
        blocks_reused=blocks,
        blocks_unkept=0,
    )


def _with_tally(result: Any, change: Callable[[Tally], Tally]) -> Any:
    """The result with what it cost *this time*."""
    return replace(result, tally=change(result.tally)) if isinstance(getattr(result, "tally", None), Tally) else result
