"""One Monte Carlo run, resumable: ask about all draws, form the statistics of the fields, verify a subset, publish.

draws ──ask (batches, kept)──> answers ──modes, one pass──> statistics of fields, summaries of draws ──> quantities
                                    └──a random subset──> full-order model ──> true errors, speed-up
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import ConfigError, RunError
from nwidth.exchange import exchange
from nwidth.shelf import FolderShelf
from nwidth.uncertainty.asking import AskDraws, Surrogate, check_inputs
from nwidth.uncertainty.draws import Draws
from nwidth.uncertainty.ensemble import Ensemble, open_ensemble, write_document, write_draws
from nwidth.uncertainty.fields import ModesReader, create_statistics, panels_at
from nwidth.uncertainty.quantities import Quantity, estimate
from nwidth.uncertainty.verification import Check, Reference, subset
from nwidth.workers import Executor, Progress
from nwidth_graphs.draws import (
    DRAWS_ROOT,
    VERIFIED_ROOT,
    Answers,
    FieldOfDraws,
    Summaries,
    Verified,
    draws_graph,
    statistics_graph,
    statistics_root,
    verification_graph,
)

Floats = NDArray[np.float64]

LEVELS = (0.05, 0.5, 0.95)
BATCH = 16
"""Draws of a task: enough that a Newton iteration works on arrays, few enough that a killed run loses little."""
_TAKEN = ("time", "label", "indicator", "seconds")


@dataclass(frozen=True)
class MonteCarlo:
    """What is wanted."""

    draws: int
    sequence: Draws
    fields: tuple[str, ...]
    """Whose statistics are formed."""
    quantities: tuple[Quantity, ...] = ()
    levels: tuple[float, ...] = LEVELS
    batch: int = BATCH
    verify: int = 0
    """Draws that the full-order model answers, too."""


@dataclass(frozen=True)
class Place:
    """Where a run reads, works and publishes."""

    model: Path
    work: Path
    """Kept from a killed run to the next; removed when the run is done."""
    result: Path
    key: str
    """Content of the model and of what is asked: partials of anything else are not taken."""


def check_wanted(wanted: MonteCarlo, surrogate: Surrogate) -> None:
    """Refuse, before any work, what cannot be answered.

    Raises
    ------
    ConfigError
        Names the input, field or quantity.
    """
    check_inputs(surrogate, wanted.sequence)
    asked = (*wanted.fields, *(quantity.field for quantity in wanted.quantities))
    for name in asked:
        if name not in surrogate.modes:
            raise ConfigError(f"the model answers no field {name!r}; it answers {', '.join(surrogate.modes)}")
    names = [*wanted.sequence.names, *(quantity.name for quantity in wanted.quantities)]
    for name in names:
        if name in _TAKEN or names.count(name) > 1:
            raise ConfigError(f"the name {name!r} is taken in the results; give the quantity or the input another one")
    if wanted.verify > wanted.draws:
        raise ConfigError(f"{wanted.verify} of {wanted.draws} draws are to be verified; verify at most all of them")


@dataclass(frozen=True)
class Asked:
    """All draws, answered."""

    answers: Answers
    seconds: float
    """Of the clock."""


def asked_draws(
    wanted: MonteCarlo, surrogate: Surrogate, place: Place, executor: Executor, progress: Progress | None = None
) -> Asked:
    """The answers to all draws; those that a killed run left, of the same surrogate, are taken as they are."""
    clock = time.perf_counter()
    graph = draws_graph(AskDraws(surrogate, wanted.sequence), wanted.draws, wanted.batch, place.key, _shelf(place))
    answers: Answers = executor.run(graph, "draws", progress)[DRAWS_ROOT]
    return Asked(answers, time.perf_counter() - clock)


def _shelf(place: Place) -> FolderShelf:
    folder = place.work / "partials"
    folder.mkdir(parents=True, exist_ok=True)
    return FolderShelf(str(folder), always=True)


def run_monte_carlo(
    wanted: MonteCarlo,
    surrogate: Surrogate,
    place: Place,
    executor: Executor,
    *,
    weights: Mapping[str, str] | None = None,
    reference: Reference | None = None,
    asked: Asked | None = None,
    enrichments: Sequence[Mapping[str, Any]] = (),
    progress: Progress | None = None,
) -> Ensemble:
    """Do it, and publish it.

    Parameters
    ----------
    weights : field -> array on disk of the weights of its places; without, every place weighs 1
    reference : the full-order model of the draws that are verified
    asked : the answers, where they are known already
    enrichments : versions of the model that answers, in JSON, for the document

    Raises
    ------
    ConfigError
        Before any work: what is wanted does not fit the model.
    RunError
        All draws failed; an earlier result stays in place.
    """
    check_wanted(wanted, surrogate)
    if wanted.verify and reference is None:
        raise ConfigError("draws are to be verified, and there is no full-order model; name one, or set verify = 0")
    clock = time.perf_counter()
    found = asked_draws(wanted, surrogate, place, executor, progress) if asked is None else asked
    answers = found.answers
    _refuse_failure(answers)
    readers = _readers(wanted, surrogate, place.model, weights or {})
    fresh = place.work / "draws.zarr"
    shutil.rmtree(fresh, ignore_errors=True)
    summaries = _statistics(wanted, surrogate, answers, readers, fresh, place.key, executor, progress)
    values = _values(wanted.quantities, answers, summaries, {name: _total_weight(reader) for name, reader in readers.items()})
    write_draws(fresh, wanted.sequence(0, wanted.draws), answers, surrogate.times, values)
    verified = None
    if wanted.verify and reference is not None:
        numbers = subset(wanted.sequence.seed, wanted.draws, wanted.verify)
        check = Check(AskDraws(surrogate, wanted.sequence), reference, readers)
        checked = verification_graph(check, list(numbers), place.key, _shelf(place))
        verified = executor.run(checked, "verification", progress)[VERIFIED_ROOT]
    document = _document(wanted, answers, values, executor)
    if enrichments:
        document["enrichments"] = [dict(version) for version in enrichments]
    document["seconds"] = {"draws": found.seconds, "all": time.perf_counter() - clock}
    if verified is not None:
        document["verified"] = _verification(verified, answers, found.seconds, executor.n_workers)
    write_document(fresh, document)
    _publish(fresh, place)
    return open_ensemble(place.result)


def _refuse_failure(answers: Answers) -> None:
    if answers.failed.all():
        raise RunError(
            f"all {len(answers.failed)} draws failed, the first because: {answers.words[0]}; look at the inputs' ranges"
        )


def _readers(wanted: MonteCarlo, surrogate: Surrogate, model: Path, weights: Mapping[str, str]) -> dict[str, ModesReader]:
    names = dict.fromkeys((*wanted.fields, *(quantity.field for quantity in wanted.quantities)))
    return {
        name: ModesReader(
            folders=tuple(str(model / folder) for folder in surrogate.modes[name]),
            weights=weights.get(name, ""),
            components=_components(model / surrogate.modes[name][0]),
        )
        for name in names
    }


def _components(folder: Path) -> int:
    import zarr

    group: Any = zarr.open_group(str(folder), mode="r")
    return len(group.attrs.get("components", ())) or 1


def _statistics(
    wanted: MonteCarlo,
    surrogate: Surrogate,
    answers: Answers,
    readers: Mapping[str, ModesReader],
    fresh: Path,
    token: str,
    executor: Executor,
    progress: Progress | None,
) -> dict[str, Summaries]:
    """One pass over the modes of all fields; statistics are written, summaries of the draws that did not fail come back."""
    good = ~answers.failed
    fields = []
    for name, reader in readers.items():
        levels = wanted.levels if name in wanted.fields else ()
        write = create_statistics(fresh / "fields" / name, Path(reader.folders[0]), surrogate.times, levels)
        coefficients = answers.coefficients[name][good]
        panels = panels_at(reader.folders[0])
        fields.append(FieldOfDraws(name, panels, reader, answers.labels[good], coefficients, levels, write))
    found = executor.run(statistics_graph(fields, token), "statistics", progress)
    return {name: found[statistics_root(name)] for name in readers}


def _values(
    quantities: Sequence[Quantity], answers: Answers, summaries: Mapping[str, Summaries], weight: Mapping[str, float]
) -> dict[str, Floats]:
    """Quantity -> (D,), NaN where the draw failed."""
    found = {}
    for quantity in quantities:
        values = np.full(len(answers.failed), np.nan)
        values[~answers.failed] = quantity.values(summaries[quantity.field].of_draws, weight[quantity.field])
        found[quantity.name] = values
    return found


def _total_weight(reader: ModesReader) -> float:
    import zarr

    if reader.weights:
        stored: Any = zarr.open_array(reader.weights, mode="r")
        return float(np.sum(stored[...])) * reader.components
    modes: Any = zarr.open_array(f"{reader.folders[0]}/modes", mode="r")
    return float(np.prod(modes.shape[1:]))


def _document(wanted: MonteCarlo, answers: Answers, values: Mapping[str, Floats], executor: Executor) -> dict[str, Any]:
    failed = np.flatnonzero(answers.failed)
    said = {str(d): words for d, words in enumerate(answers.words) if words and not answers.failed[d]}
    known = answers.indicator[~answers.failed]
    known = known[np.isfinite(known)]
    return {
        "draws": wanted.draws,
        "seed": wanted.sequence.seed,
        "inputs": {
            name: {"distribution": type(found).__name__, **vars(found)}
            for name, found in zip(wanted.sequence.names, wanted.sequence.distributions, strict=True)
        },
        "fields": list(dict.fromkeys((*wanted.fields, *(quantity.field for quantity in wanted.quantities)))),
        "levels": list(wanted.levels),
        "quantities": {quantity.name: vars(quantity) for quantity in wanted.quantities},
        "estimates": {name: estimate(of[~answers.failed], wanted.levels).as_dict() for name, of in values.items()},
        "failures": {str(d): answers.words[d] for d in failed},
        "remarks": said,
        "indicator": None
        if not known.size
        else {"median": float(np.median(known)), "q95": float(np.quantile(known, 0.95)), "largest": float(known.max())},
        "processor_seconds": float(answers.seconds.sum()),
        "draws_reused": answers.tally.blocks_reused * wanted.batch,
        "workers": executor.description,
    }


def _verification(verified: Verified, answers: Answers, asked_seconds: float, workers: int) -> dict[str, Any]:
    """True errors, and both speed-ups: they differ by how busy the workers are kept."""
    solved = np.array([not words for words in verified.words])
    of_one = float(verified.seconds[solved].mean()) if solved.any() else float("nan")
    draws = len(answers.seconds)
    errors = {name: _of_errors(of[np.isfinite(of)]) for name, of in verified.errors.items()}
    return {
        "draws": [int(draw) for draw in verified.draws],
        "errors": errors,
        "failures": {str(d): words for d, words in zip(verified.draws, verified.words, strict=True) if words},
        "processor_seconds_of_one": of_one,
        # The same draws by the full-order model, on one core each, as many at once as there are workers.
        "speed_up_core_hours": of_one * draws / float(answers.seconds.sum()),
        "speed_up_wall_clock": of_one * draws / workers / asked_seconds,
    }


def _of_errors(known: Floats) -> dict[str, float] | None:
    """None where the full-order model gave no such field, or failed everywhere."""
    return {"median": float(np.median(known)), "largest": float(known.max())} if known.size else None


def _publish(fresh: Path, place: Place) -> None:
    if not place.result.exists():
        fresh.rename(place.result)
    elif not exchange(fresh, place.result):
        shutil.rmtree(place.result)
        fresh.rename(place.result)
    shutil.rmtree(place.work, ignore_errors=True)
