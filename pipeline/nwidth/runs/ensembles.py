"""The Monte Carlo run of a study: its table [uncertainty], its model, its workers.

study ──run──> model ──draws──> runs/<name>/draws.zarr            a killed run goes on where it was; the same is not done twice
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nwidth.config import Study
from nwidth.errors import ConfigError, StoreError
from nwidth.mechanics.model import MechanicsModel, open_mechanics
from nwidth.models.model import Model, open_model
from nwidth.operations.observing import observed
from nwidth.runs.enriching import enriching_of
from nwidth.runs.executing import execution
from nwidth.runs.folder import MODEL
from nwidth.uncertainty.api import RESULT, place_of
from nwidth.uncertainty.asking import Surrogate, learned_surrogate
from nwidth.uncertainty.distributions import distribution
from nwidth.uncertainty.draws import draws_of
from nwidth.uncertainty.ensemble import Ensemble
from nwidth.uncertainty.monte_carlo import MonteCarlo, asked_draws, check_wanted, run_monte_carlo
from nwidth.uncertainty.quantities import Quantity
from nwidth.workers import Progress

if TYPE_CHECKING:
    from nwidth.sections import UncertaintySection
    from nwidth.uncertainty.verification import Reference


def predict_study(
    study: Study,
    *,
    draws: int | None = None,
    seed: int | None = None,
    verify: int | None = None,
    out: Path | None = None,
    progress: Progress | None = None,
) -> Ensemble:
    """Draw the study's uncertain inputs and ask its model; the table's numbers unless others are given.

    Raises
    ------
    ConfigError
        There is no table [uncertainty], or it does not fit the model.
    StoreError
        The study was not run yet, or its model neither solves nor predicts.
    RunError
        All draws failed, or another Monte Carlo run of this study is at work.
    """
    with observed(study) as seen:
        ensemble = _predict(study, draws=draws, seed=seed, verify=verify, out=out, progress=progress)
        seen.indicated(ensemble.document["indicator"])
    return ensemble


def _predict(
    study: Study, *, draws: int | None, seed: int | None, verify: int | None, out: Path | None, progress: Progress | None
) -> Ensemble:
    section = study.uncertainty
    if section is None:
        raise ConfigError("the study has no table [uncertainty]; say there which inputs are uncertain, and how")
    given = {"draws": draws, "seed": seed, "verify": verify}
    section = section.model_copy(update={name: value for name, value in given.items() if value is not None})
    model = open_model(study.run_folder / MODEL)
    mechanics = None if study.mechanics is None else open_mechanics(model, study.mechanics.case)
    surrogate = surrogate_of(model, mechanics)
    reference = reference_of(section) if section.verify else None
    wanted = _wanted(section, surrogate)
    check_wanted(wanted, surrogate)
    enriching = enriching_of(study, section, mechanics)
    with execution(study, progress) as executor, place_of(wanted, model, out or study.run_folder / RESULT) as place:
        asked = None
        if enriching is not None and mechanics is not None:
            with enriching.folder.held():
                mechanics, asked = enriching.enriched(
                    mechanics,
                    wanted,
                    lambda version: asked_draws(wanted, version.surrogate, place, executor, progress),
                    executor,
                    progress,
                )
            surrogate = mechanics.surrogate
        found = run_monte_carlo(
            wanted,
            surrogate,
            place,
            executor,
            reference=reference,
            asked=asked,
            enrichments=() if mechanics is None else mechanics.enrichments,
            progress=progress,
        )
    if out is None and study.report.enabled:
        from nwidth.report import write_report

        write_report(study.run_folder, n_modes=study.report.modes)
    return found


def surrogate_of(model: Model, mechanics: MechanicsModel | None) -> Surrogate:
    """The model's reduced mechanics where the study has them, and what it has learnt otherwise."""
    if mechanics is not None:
        return mechanics.surrogate
    try:
        return learned_surrogate(model)
    except StoreError:
        raise StoreError(
            f"{model.path} neither solves nor predicts; put a table [mechanics] or [learn] into the study, and run it"
        ) from None


def reference_of(section: UncertaintySection) -> Reference:
    """The full-order model of the table.

    Raises
    ------
    ConfigError
        None is named, or it cannot be imported.
    """
    module, colon, attribute = section.reference.partition(":")
    if not colon:
        raise ConfigError(f"uncertainty.reference = {section.reference!r}: draws are to be verified; name module:function")
    try:
        found: Any = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"uncertainty.reference = {section.reference!r} cannot be loaded: {error}") from None
    if not callable(found):
        raise ConfigError(f"uncertainty.reference = {section.reference!r} is no function; name one of the inputs")
    reference: Reference = found
    return reference


def _wanted(section: UncertaintySection, surrogate: Surrogate) -> MonteCarlo:
    inputs = {name: distribution(name, table) for name, table in section.parameters.items()}
    return MonteCarlo(
        draws=section.draws,
        sequence=draws_of(inputs, section.seed),
        fields=section.fields or tuple(surrogate.modes),
        quantities=tuple(Quantity(name, found.field, found.of, found.at) for name, found in section.quantities.items()),
        levels=section.levels,
        batch=section.batch,
        verify=section.verify,
    )
