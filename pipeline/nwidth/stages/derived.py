"""Make a model of models: the passes over their modes, and the folder that they leave.

parents ──columns, coordinates──> combine ──> modes in the folder + small arrays + manifest (parents, remainders)
"""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nwidth import __version__
from nwidth.config import ReduceSection
from nwidth.models import files
from nwidth.models.basis import Basis, Spectrum
from nwidth.models.derived import FIELD_NORMS, copy_place, write_per_field
from nwidth.models.files import FieldShape
from nwidth.models.model import Model
from nwidth.stacking import FieldColumns, MeansReader
from nwidth.stages.combining import Combination, Combined, CombinedBasis, combine, factor_columns, notes_of
from nwidth.stages.parents import lineage
from nwidth.stages.problem import Floats, Passes, Problem
from nwidth.stages.sinks import FolderSink, Write
from nwidth_graphs.layout import Panel

if TYPE_CHECKING:
    import xarray as xr


class Recipe(Protocol):
    """What is made of which columns: a merge, a drop, an append."""

    def columns(self) -> dict[str, FieldColumns]:
        """Field -> its columns."""
        ...

    def means(self) -> dict[str, MeansReader]:
        """Field -> the mean of the new basis, where it is centred."""
        ...

    def combination(self, basis: str, factors: Mapping[str, Floats]) -> Combination:
        """The snapshots in terms of the columns, whose factors are known."""
        ...


@dataclass(frozen=True)
class WithMean:
    """``write(panel, modes, _)``: the modes, and a mean that is known already instead of one of the columns."""

    write: Write
    mean: MeansReader

    def __call__(self, panel: Panel, modes: Floats, _: Floats | None) -> None:
        self.write(panel, modes, np.asarray(self.mean(panel).values)[:, 0])


@dataclass(frozen=True)
class MeanSink(FolderSink):
    """Modes as Zarr arrays of a model folder, and beside them means that are known already."""

    means: Mapping[str, MeansReader] = field(default_factory=dict)

    def begin(self, basis: str, shape: FieldShape, rank: int, *, centred: bool, read_again: bool = False) -> Write:
        """Create the arrays; `centred` speaks of the columns, which never are."""
        mean = self.means.get(shape.name)
        write = super().begin(basis, shape, rank, centred=mean is not None, read_again=read_again)
        return write if mean is None else WithMean(write, mean)


def request_like(bases: Mapping[str, Basis], rtol: float | None, rank: int | None) -> ReduceSection:
    """The request that made these bases, with another truncation; columns are neither centred nor scaled again."""
    products = {field: basis.inner_products[field] for basis in bases.values() for field in basis.fields}
    truncation = {name: value for name, value in (("rtol", rtol), ("rank", rank)) if value is not None}
    joint = any(len(basis.fields) > 1 for basis in bases.values())
    return ReduceSection(basis="joint" if joint else "each", route="tsqr", inner_product=products, **truncation)  # type: ignore[arg-type]


def make(
    recipe: Recipe, problem: Problem, bases: Mapping[str, Basis], request: ReduceSection, passes: Passes, model: Path, reason: str
) -> Combined:
    """Run the passes of a recipe; modes and means are left under `model`."""
    factors = factor_columns(problem, passes)
    combinations = {name: recipe.combination(name, factors) for name in bases}
    sink = MeanSink(model, means=recipe.means())
    return combine(problem, combinations, factors, request, passes, sink, reason)


@dataclass(frozen=True)
class Story:
    """What a derived model tells of itself beside its numbers."""

    made_by: str
    """``merge``, ``drop`` or ``update``."""
    study: str
    store: Mapping[str, Any] | None
    reduce: Mapping[str, Any] | None
    content_key: str
    factor: str
    """Reduction of the factors that are kept, or of the pass."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What the provenance says beside the usual."""


def write_derived(
    model: Path,
    story: Story,
    parents: Sequence[Model],
    made: Combined,
    combinations: Mapping[str, Combination],
    snapshots: xr.Dataset,
    *,
    factors: Mapping[str, Floats] | None = None,
    spectra: Mapping[str, Spectrum] | None = None,
    notes: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Write everything but the modes, the manifest last; returns the manifest's entries of the bases.

    Parameters
    ----------
    factors : field -> the factor of the snapshots, where it is known; their norms are written otherwise
    spectra : basis -> a spectrum that is better known than that of the combination
    notes : basis -> what its entry says beside the usual
    """
    files.write_snapshots(model, snapshots.coords)
    copy_place(parents, model)
    if factors is not None:
        write_per_field(model, "factors", factors, ("snapshot", "snapshot_"))
    norms = {field: values for combination in combinations.values() for field, values in combination.field_norms.items()}
    write_per_field(model, FIELD_NORMS, norms, ("snapshot",))
    entries = {}
    for basis in made.bases:
        name = basis.parts.name
        spectrum = (spectra or {}).get(name) or basis.parts.spectrum
        described = replace(basis, parts=replace(basis.parts, spectrum=spectrum))
        like = next(parent.bases[name] for parent in parents if name in parent.bases)
        entries[name] = _entry(model, described, combinations[name], like) | dict((notes or {}).get(name, {}))
    manifest = {
        "study": story.study,
        "store": story.store,
        "reduce": story.reduce,
        "factor": story.factor,
        "bases": entries,
        "provenance": provenance(story, parents),
    }
    files.write_manifest(model, manifest)
    return entries


def _entry(model: Path, basis: CombinedBasis, combination: Combination, like: Basis) -> dict[str, Any]:
    parts = basis.parts
    files.write_basis(model, parts.name, parts.spectrum, parts.coefficients, parts.certificate)
    entry = files.basis_entry(
        rank=len(parts.coefficients),
        spectrum=parts.spectrum,
        certificate=parts.certificate,
        truncation=parts.truncation,
        inner_products=dict(like.inner_products),
        field_scaling=parts.field_scaling,
        snapshot_scaling=like.snapshot_scaling,
        centred=like.centred,
    )
    return entry | notes_of(basis, combination)


def provenance(story: Story, parents: Sequence[Model]) -> dict[str, Any]:
    """Versions, and what the model is made of."""
    return {
        "nwidth": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "content_key": story.content_key,
        "made_by": story.made_by,
        "parents": [lineage(parent) for parent in parents],
        **story.details,
    }
