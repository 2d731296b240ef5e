"""The small arrays beside a store's fields, as a run needs them: NumPy arrays with dimensions and attributes, without xarray.

xarray and pandas, which it brings, take 70 MB of a process; a run needs neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nwidth.stores.columns import array_at, nodes
from nwidth.stores.failures import store_failures
from nwidth.stores.schema import SNAPSHOT

if TYPE_CHECKING:
    from nwidth.stores.protocol import SnapshotStore

_INTERNAL = ("nwidth_", "_FillValue")


@dataclass(frozen=True)
class Coordinate:
    """One coordinate: what `xarray.DataArray` calls by the same names."""

    dims: tuple[str, ...]
    values: NDArray[Any]
    attrs: dict[str, Any] = field(default_factory=dict)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self.values.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the values."""
        return self.values.shape


def read_coordinates(store: SnapshotStore, ranges: Sequence[tuple[int, int]]) -> dict[str, Coordinate]:
    """All coordinates of the fields; those along snapshots cut to some ranges of them.

    Raises
    ------
    StoreError
        An array is damaged or gone.
    """
    root: Any = store.reference().open()
    chosen = np.concatenate([np.arange(start, stop) for start, stop in ranges])
    found: dict[str, Coordinate] = {}
    with store_failures(store.url, "read"):
        for path in nodes(root):
            group, _, name = path.rpartition("/")
            if group != "fields":
                continue
            array: Any = array_at(root, path)
            attributes = array.attrs.asdict()
            if attributes.get("nwidth_role") == "field":
                continue
            dims = tuple(str(name) for name in array.metadata.dimension_names or ())
            values = np.asarray(array[...])
            attributes = {key: value for key, value in attributes.items() if not key.startswith(_INTERNAL)}
            found[name] = Coordinate(dims, values[chosen] if dims == (SNAPSHOT,) else values, attributes)
    return found
