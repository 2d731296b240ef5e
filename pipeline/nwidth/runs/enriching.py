"""Draws that the model is not good enough for enrich it before they are counted: ``[uncertainty] enrich_above``.

    all draws ──ask──> indicators ──┬─ the largest is within the limit: go on to the statistics
                                    ├─ `most_enrichments` versions are made: go on, and say so
                                    └─ march that draw with full-order steps ──keep──> the model, a version more ──> ask again

Every version lies in the model with its inputs and updates, and every decision in the run's ledger. So a run that is killed goes
on with the versions that are there, and answers of one version are never taken for those of another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from nwidth.config import Study
from nwidth.errors import ConfigError
from nwidth.fullorder.small_strain import Stepper
from nwidth.mechanics.adaptive import solve_adaptively
from nwidth.mechanics.adaptive_keeping import keep_enriched
from nwidth.mechanics.adaptive_solution import AdaptiveSolution
from nwidth.mechanics.adaptive_stepping import in_store_order
from nwidth.mechanics.model import MechanicsModel
from nwidth.runs.folder import RunFolder
from nwidth.runs.mechanics import options_of
from nwidth.stores import open_store
from nwidth.workers import Executor, Progress, client_of
from nwidth_graphs.draws import Answers

if TYPE_CHECKING:
    from nwidth.sections import MechanicsSection, UncertaintySection
    from nwidth.stores.protocol import SnapshotStore
    from nwidth.uncertainty.monte_carlo import Asked, MonteCarlo

LEDGER = "ledger.jsonl"


@dataclass
class Enriching:
    """One Monte Carlo run that enriches its model; refused before any draw where it cannot."""

    section: UncertaintySection
    mechanics: MechanicsSection
    store: SnapshotStore
    stepper: Stepper
    folder: RunFolder
    tried: set[int] = field(default_factory=set)
    """Draws that brought nothing."""

    def enriched(
        self,
        model: MechanicsModel,
        wanted: MonteCarlo,
        ask: Callable[[MechanicsModel], Asked],
        executor: Executor,
        progress: Progress | None,
    ) -> tuple[MechanicsModel, Asked]:
        """The model with as many versions more as its draws need, and as are allowed, and its answers to all draws, by `ask`.

        Raises
        ------
        ConfigError
            The full-order model is one of another mesh or law.
        StoreError
            Somebody else has trained or enriched the model meanwhile.
        """
        asked = ask(model)
        while (draw := self._worst(asked.answers)) is not None:
            if len(model.enrichments) >= self.section.most_enrichments:
                self.folder.note("not enriched", draw=draw, reason=f"all {self.section.most_enrichments} versions are made")
                break
            solution = self._march(model, wanted, draw, executor, progress)
            if not solution.updates:
                self.tried.add(draw)
                self.folder.note("not enriched", draw=draw, reason="; ".join(solution.warnings) or "no step needed it")
                continue
            model = keep_enriched(solution)
            asked, made = ask(model), model.enrichments[-1]
            self.folder.note("enriched", draw=draw, body=solution.cluster, version=made["folder"], updates=len(solution.updates))
        return model, asked

    def _worst(self, answers: Answers) -> int | None:
        """The draw with the largest indicator beyond the limit that was not tried in vain; None where there is none."""
        largest = np.nanmax(np.where(np.isnan(answers.indicator), -np.inf, answers.indicator), axis=1)
        largest[answers.failed] = -np.inf
        largest[list(self.tried)] = -np.inf
        draw = int(np.argmax(largest))
        return draw if largest[draw] > self.section.enrich_above else None

    def _march(
        self, model: MechanicsModel, wanted: MonteCarlo, draw: int, executor: Executor, progress: Progress | None
    ) -> AdaptiveSolution:
        inputs = {name: float(values[0]) for name, values in wanted.sequence(draw, draw + 1).items()}
        return solve_adaptively(
            model,
            self.stepper,
            inputs,
            tolerance=self.section.enrich_above,
            options=options_of(self.mechanics),
            store=self.store,
            ledger=self.folder.path / LEDGER,
            client=client_of(executor),
            progress=progress,
        )


def enriching_of(study: Study, section: UncertaintySection, model: MechanicsModel | None) -> Enriching | None:
    """What is to enrich the study's model; None where nothing is asked for.

    Raises
    ------
    ConfigError
        Nothing can be enriched: no [mechanics], no indicator, a regression, or no full-order model that can be loaded.
    """
    if not section.enrich_above:
        return None
    if model is None or study.mechanics is None:
        raise ConfigError(
            "uncertainty.enrich_above is of reduced mechanics, and the study has no table [mechanics]; leave it out"
        )
    if any(body.calibration is None for body in model.bodies):
        raise ConfigError(
            f"uncertainty.enrich_above: {model.model.path} has no calibrated indicator, so nothing says when to enrich; train "
            "its mechanics with a dual field"
        )
    if study.mechanics.reconstruction != "gappy":
        raise ConfigError(
            "uncertainty.enrich_above: a regression of dual fields knows its own points only, and an update changes them; set "
            'mechanics.reconstruction = "gappy"'
        )
    store = open_store(study.store_url, options=study.store_options)
    stepper = in_store_order(stepper_named(section.stepper), store)
    return Enriching(section, study.mechanics, store, stepper, RunFolder(study.run_folder))


def stepper_named(name: str) -> Stepper:
    """The full-order model of single steps of that name, ``module:object``; a function is called without arguments.

    Its integration points are counted cell by cell, as `nwidth.fullorder.small_strain` does.

    Raises
    ------
    ConfigError
        None is named, it cannot be imported, or it takes no steps.
    """
    module, colon, attribute = name.partition(":")
    if not colon:
        raise ConfigError(
            f"uncertainty.stepper = {name!r}: draws are to enrich the model; name module:object of a full-order step"
        )
    try:
        found: Any = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"uncertainty.stepper = {name!r} cannot be loaded: {error}") from None
    made = found() if callable(found) and not hasattr(found, "step") else found
    lacking = [member for member in ("initial", "step") if not callable(getattr(made, member, None))]
    if lacking or isinstance(made, type):
        raise ConfigError(f"uncertainty.stepper = {name!r} has no {' and no '.join(lacking) or 'instance'}; see nwidth.fullorder")
    stepper: Stepper = made
    return stepper
