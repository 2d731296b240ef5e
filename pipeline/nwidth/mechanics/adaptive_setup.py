"""What an adaptive march needs, put together from a model, its store and a full-order plug-in; refused before any step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nwidth.errors import ConfigError, InputError
from nwidth.fullorder.small_strain import Stepper
from nwidth.mechanics.adaptive_origin import Origin, origin_of, product_of
from nwidth.mechanics.adaptive_states import Material
from nwidth.mechanics.adaptive_stepping import check_stepper
from nwidth.mechanics.adaptive_update import Updater
from nwidth.mechanics.body import ReducedBody
from nwidth.mechanics.case import Case
from nwidth.mechanics.model import MechanicsModel
from nwidth.mechanics.options import MechanicsOptions
from nwidth.mechanics.training import Added, Training
from nwidth.models.predicting import choose
from nwidth.stores import open_store
from nwidth.workers import Executor, Progress

if TYPE_CHECKING:
    from nwidth.stores.protocol import SnapshotStore


def check_asked(case: Case, inputs: Mapping[str, float], tolerance: float, most_updates: int) -> None:
    """Refuse what cannot be asked for; errors as `solve_adaptively`."""
    if not 0.0 < tolerance < np.inf or most_updates < 0:
        raise ConfigError(
            f"a tolerance of {tolerance:g} and at most {most_updates} updates were asked for; expected a positive tolerance of "
            "the relative error, and no negative number"
        )
    if set(inputs) != set(case.inputs):
        raise InputError(
            f"the inputs given are {', '.join(sorted(inputs)) or 'none'}, and the case takes {', '.join(case.inputs)}; give "
            "exactly those"
        )


def prepared(
    model: MechanicsModel,
    stepper: Stepper,
    inputs: Mapping[str, float],
    work: Path,
    options: MechanicsOptions | None,
    store: SnapshotStore | str | Path | None,
    executor: Executor,
    progress: Progress | None,
) -> tuple[int, Updater, Training]:
    """The body's number, what updates it, and what it was trained on; errors as `solve_adaptively`."""
    opened = _opened(model, store)
    cluster = _cluster(model, inputs)
    body, path = model.bodies[cluster], model.model.path
    if body.calibration is None:
        raise ConfigError(
            f"{path} has no calibrated indicator, so nothing says when to enrich; train its mechanics with a dual field"
        )
    regressed = [dual.name for dual in body.duals if dual.regression is not None]
    if regressed:
        raise ConfigError(
            f"{path} has a regression of {', '.join(regressed)}, which knows its own points only, and an update changes them; "
            'train the mechanics with reconstruction = "gappy"'
        )
    mesh, points = opened.mesh(), opened.integration_points()
    if mesh is None or points is None:
        raise ConfigError(f"the store {opened.schema().url} has no mesh with integration points, which an update takes")
    origin = origin_of(path, body)
    named = origin.read(path)
    displacement = named[body.displacement]
    parameters = {name: float(value) for name, value in inputs.items()}
    check_stepper(stepper, parameters, body.law, mesh.n_points, len(points.cell))
    material = Material(body.law, model.case, {name: np.array([value]) for name, value in parameters.items()}, len(points.cell))
    components = int(displacement.modes_by_field[body.displacement].shape[2])
    product = product_of(opened, displacement.inner_products[body.displacement], components)
    training = Training(
        store=opened,
        model=path,
        bases=path / origin.bases,
        named=named,
        simulations=tuple(dict.fromkeys(str(name) for name in displacement.coefficients.coords["simulation"].values)),
        case=model.case,
        law=body.law,
        options=options if options is not None else _options_of(body),
        executor=executor,
        token=f"adaptive-{work.name}",
        progress=progress,
        added=_added(path, body, origin),
    )
    return cluster, Updater(stepper, parameters, material, origin, product, work), training


def _opened(model: MechanicsModel, store: SnapshotStore | str | Path | None) -> SnapshotStore:
    given: Any = store if store is not None else model.model.manifest.get("store", {}).get("url")
    if given is None:
        raise ConfigError(f"{model.model.path} does not know the store that it was reduced from; give it with store=")
    opened: SnapshotStore = open_store(str(given)) if isinstance(given, str | Path) else given
    return opened


def _cluster(model: MechanicsModel, inputs: Mapping[str, float]) -> int:
    if len(model.bodies) == 1:
        return 0
    learned = model.model.learned
    names = getattr(learned.features, "names", tuple(inputs))
    return choose(learned, {name: float(inputs[name]) for name in names}).nearest


def _options_of(body: ReducedBody) -> MechanicsOptions:
    """As far as a body knows what it was trained with."""
    return MechanicsOptions(
        displacement=body.displacement,
        duals={dual.name: dual.variable for dual in body.duals},
        indicating=body.indicating,
        tolerance=body.rule.asked,
        newton_tolerance=body.tolerance,
        smallest_norm=max(dual.smallest_norm for dual in body.duals),
    )


def _added(model: Path, body: ReducedBody, origin: Origin) -> Added | None:
    if not origin.states:
        return None
    return Added((model / body.modes).parent, origin.states, body.points[body.weights > 0.0])
