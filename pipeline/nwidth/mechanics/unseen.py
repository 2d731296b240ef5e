"""What a body is worth on simulations that no part of it has seen: it solves them, and its fields are held against the store's.

    error of field f, simulation s      sqrt( sum_t ||x_st - Phi q_st||^2 / sum_t ||x_st||^2 )           Euclidean, over all times

One read of the fields of these simulations, panel by panel; a worker holds one of them at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nwidth.mechanics.body import ReducedBody, Unseen
from nwidth.mechanics.calibrating import inputs_in
from nwidth.mechanics.case import Case
from nwidth.sources import StoreReader
from nwidth.stages.scratch import ReadScratch
from nwidth.stores.coordinates import read_coordinates
from nwidth_graphs.layout import Panel, panels
from nwidth_graphs.trees import TaskGraph, Tree, build

if TYPE_CHECKING:
    from nwidth.stores.protocol import SnapshotStore

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class SolvedField:
    """One field of some simulations, as a store has it and as a body gives it; travels to the workers."""

    name: str
    stored: StoreReader
    columns: Indices
    """(S, T): which snapshots of the reader's are those of simulation s."""
    modes: str
    """Folder of the modes."""
    coefficients: Floats
    """(S, T, N); NaN where the body has no answer."""

    def misses(self, panel: Panel) -> Floats:
        """(S, 2): sums of ``(x - Phi q)^2`` and of ``x^2`` over the rows of a panel and all times."""
        phi = np.asarray(ReadScratch(str(Path(self.modes) / "modes"))(panel).values, np.float64)
        found = np.empty((len(self.columns), 2))
        for number, (columns, q) in enumerate(zip(self.columns, self.coefficients, strict=True)):
            first = int(columns.min())
            stored = self.stored.part(first, int(columns.max()) + 1)(panel)
            x = np.asarray(stored.values, np.float64)[:, columns - first]
            found[number] = np.sum((x - phi @ q.T) ** 2), np.sum(x**2)
        return found


def unseen_errors(
    body: ReducedBody,
    store: SnapshotStore,
    ranges: Sequence[tuple[int, int]],
    case: Case,
    folders: Mapping[str, Path],
    token: str,
    run: Callable[[TaskGraph], Mapping[str, Any]],
) -> Unseen:
    """Errors of displacement and dual fields on the simulations of some ranges of snapshots.

    Parameters
    ----------
    folders : field -> where its modes lie now
    run : executes a graph

    Raises
    ------
    InputError
        The snapshots lack an input of the case, or their times are not among the case's.
    """
    coordinates = read_coordinates(store, ranges)
    inputs, columns, steps = inputs_in(coordinates, case)
    solved = body.solve(case, inputs)
    fields = []
    for name, folder in folders.items():
        coefficients = solved.coefficients[name][:, steps].copy()
        coefficients[list(solved.failures)] = np.nan
        fields.append(SolvedField(name, StoreReader(store.reference(), name, tuple(ranges)), columns, str(folder), coefficients))
    sums = run(misses_graph(fields, token))
    ratios = [_ratio(sums[misses_root(field.name)]) for field in fields]
    names = coordinates["simulation"].values[columns[:, 0]]
    return Unseen(
        simulations=tuple(str(name) for name in names),
        fields=tuple(folders),
        errors=np.stack(ratios, axis=1),
        failures=tuple(solved.failures.get(number, "") for number in range(len(names))),
    )


def misses_graph(fields: Sequence[SolvedField], token: str) -> TaskGraph:
    """One pass over fields and modes; the root `misses_root` of each field is the sum of `SolvedField.misses`."""
    return build(
        [Tree("misses", of.name, misses_leaf, _panels(of.modes), merge_misses, _as_it_is, {"of": of}) for of in fields], token
    )


def misses_root(field: str) -> str:
    """Name of a field's root."""
    return f"misses-{field}"


def misses_leaf(panel: Panel, *, of: SolvedField) -> Floats:
    """One panel of one field."""
    return of.misses(panel)


def merge_misses(parts: Sequence[Floats]) -> Floats:
    """Sums over panels."""
    return np.asarray(np.sum(parts, axis=0))


def _as_it_is(value: Any, **_: Any) -> Any:
    return value


def _panels(folder: str) -> tuple[Panel, ...]:
    import zarr

    stored: Any = zarr.open_array(str(Path(folder) / "modes"), mode="r")
    return panels(stored.shape[1:], stored.chunks[1:])


def _ratio(sums: Floats) -> Floats:
    """(S,) relative errors; what is missed of a field of zeros is told as it is."""
    missed, size = sums.T
    return np.asarray(np.sqrt(missed / np.where(size > 0.0, size, 1.0)))
