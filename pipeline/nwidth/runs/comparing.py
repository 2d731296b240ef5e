"""Dictionaries compared before one is made: every dissimilarity, number of clusters and number of modes, on one small factor.

last model of the study, its factors    no read of a field, where the store and the settings are those of the model
otherwise                               one factor pass
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from nwidth.config import AtlasSection, ReduceSection, Study
from nwidth.errors import ConfigError, NwidthError
from nwidth.models.atlas import GainMap
from nwidth.models.model import open_model
from nwidth.problems.stored import snapshot_ranges
from nwidth.runs.budgets import with_memory
from nwidth.runs.dictionary import planned_problem
from nwidth.runs.executing import execution
from nwidth.runs.folder import MODEL
from nwidth.stages.atlas import Wanted, local_request, table_of
from nwidth.stages.atlas.chart import active_items, dissimilarities_of, tried
from nwidth.stages.atlas.choice import Choice, decide
from nwidth.stages.atlas.coordinates import coordinates_of
from nwidth.stages.atlas.items import items_of
from nwidth.stages.atlas.reduction import tightest
from nwidth.stages.atlas.spaces import item_space
from nwidth.stages.atlas.trials import gain_map
from nwidth.stages.parents import stored_factor
from nwidth.stages.pod import Reducing
from nwidth.stages.problem import Passes
from nwidth.stages.route import choose_route
from nwidth.stages.sinks import MemorySink
from nwidth.stores import open_store
from nwidth.stores.coordinates import read_coordinates
from nwidth.workers import Progress
from nwidth_graphs.reduction import Reduction, reduction_named
from nwidth_graphs.truncation import unit_field_scaling

if TYPE_CHECKING:
    from nwidth.stores.protocol import SnapshotStore, StoreSchema

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """What dictionaries would gain."""

    gain: GainMap
    choices: Mapping[str, Choice]
    """Dissimilarity -> the number of clusters that it would lead to, and why."""
    factor: str
    """Where the factor came from, in words."""
    bytes_read: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "factor": self.factor,
            "bytes_read": self.bytes_read,
            "held_out": self.gain.held_out,
            "accuracy_of": self.gain.accuracy_of,
            "floor": self.gain.floor,
            "choices": {
                name: {"clusters": choice.count, "pays": choice.pays, "reason": choice.reason}
                for name, choice in self.choices.items()
            },
            "rows": self.gain.rows(),
        }


@dataclass(frozen=True)
class _Factors:
    fields: Mapping[str, Floats]
    reduction: Reduction
    rows: int
    words: str
    bytes_read: int = 0


def compare(study: Study, dissimilarities: Sequence[str] = (), progress: Progress | None = None) -> Comparison:
    """Compare dictionaries for a study: its ``[atlas]``, or the defaults of one, with each dissimilarity.

    Raises
    ------
    ConfigError, StoreError, PlanError
        The study names something that the store does not have, or does not fit.
    FieldError
        A field holds NaN or infinite values, or is zero.
    """
    # On matrices of this size a second BLAS thread spins more than it computes.
    with threadpool_limits(1):
        return _compare(with_memory(study), dissimilarities, progress)


def _compare(study: Study, dissimilarities: Sequence[str], progress: Progress | None) -> Comparison:
    section = local_request(study.atlas or AtlasSection(), study.reduce)
    store = open_store(study.store_url, options=study.store_options)
    ranges = snapshot_ranges(store.schema(), study.reduce)
    found = _stored(study, store) or _computed(study, store, section, progress)
    coordinates = coordinates_of(found.fields, _scaling(found, study.reduce), found.reduction, found.rows)
    wanted = Wanted(section, table_of(read_coordinates(store, ranges), len(coordinates.norms)))
    items = items_of(wanted.table, section.of)
    active = active_items(coordinates, items)
    names = tuple(dissimilarities) or dissimilarities_of(section)
    spaces = [item_space(name, str(section.time), coordinates, items) for name in names]
    bench, trials = tried(coordinates, items, active, wanted, spaces)
    own = {name: [trial for trial in trials if trial.dissimilarity == name] for name in names}
    return Comparison(
        gain=gain_map(bench, trials),
        choices={name: decide(own[name], bench.ranks, section.rank, section, len(active)) for name in names},
        factor=found.words,
        bytes_read=found.bytes_read,
    )


def _stored(study: Study, store: SnapshotStore) -> _Factors | None:
    """The factors of the last model, where they are of these very snapshots."""
    schema = store.schema()
    try:
        model = open_model(study.run_folder / MODEL)
        last = ReduceSection.model_validate(model.manifest["reduce"])
        made_of = model.manifest["store"]
    except (NwidthError, KeyError, TypeError, ValueError):
        return None
    same = ("fields", "simulations", "inner_product", "centre", "missing")
    if any(getattr(last, key) != getattr(study.reduce, key) for key in same):
        return None
    if (made_of["url"], made_of["version"]) != (schema.url, schema.version):
        return None
    names = _one_space(study.reduce.fields or tuple(schema.fields), study.reduce)
    factors = {name: stored_factor(model, name) for name in names}
    if any(factor is None for factor in factors.values()):
        return None
    kind = str(model.manifest["factor"])
    known = {name: factor[1] for name, factor in factors.items() if factor is not None}
    return _Factors(known, reduction_named(kind), _rows(schema, names), f"{kind} factor of the last run: no field was read")


def _computed(study: Study, store: SnapshotStore, section: AtlasSection, progress: Progress | None) -> _Factors:
    """The factors by one pass."""
    names = _one_space(study.reduce.fields or tuple(store.schema().fields), study.reduce)
    with tempfile.TemporaryDirectory(prefix="nwidth-") as scratch:
        problem = planned_problem(study, store, Path(scratch))
        gram_only = any(source.gram_only for source in problem.sources.values())
        reduction = choose_route(tightest(study.reduce, section), gram_only=gram_only).reduction
        with execution(study) as executor:
            passes = Passes(executor, progress)
            run = Reducing(problem, study.reduce, passes, MemorySink(), study.workers.device)
            factors = run.factor_pass(reduction)
    read = sum(measure.bytes_read for measure in passes.measures)
    words = f"{reduction.name} factor of one pass over the fields"
    return _Factors(factors, reduction, _rows(store.schema(), names), words, read)


def _one_space(names: tuple[str, ...], request: ReduceSection) -> tuple[str, ...]:
    if len(names) > 1 and request.basis != "joint":
        raise ConfigError(
            f"dictionaries are compared on one basis over the {len(names)} fields {', '.join(names)}; set reduce.basis to "
            '"joint", or reduce.fields to one of them'
        )
    return names


def _scaling(found: _Factors, request: ReduceSection) -> dict[str, float]:
    asked = request.field_scaling
    if isinstance(asked, dict):
        return {name: asked.get(name, 1.0) for name in found.fields}
    joint = len(found.fields) > 1 and asked == "unit"
    return unit_field_scaling(found.fields, found.reduction) if joint else dict.fromkeys(found.fields, 1.0)


def _rows(schema: StoreSchema, names: Sequence[str]) -> int:
    return sum(int(np.prod(schema.fields[name].shape[1:])) for name in names)
