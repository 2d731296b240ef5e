"""``nw.solve_adaptively``: one load case on a reduced body that calls for a full-order step where it is not good enough.

    t_{l-1} ──reduced step──> q, dual values ──gappy──> rho ──calibration──> eta
                                                                              │
              eta <= tolerance: accept  <──────────────────decide─────────────┤
              no update left, or no full-order step: go on, and say so  <─────┤
              else   law along the path, at all points ──> full-order step ──> new body ──> the same step again

Between updates a step costs what it costs on any mesh; an update costs one full-order step and one read of the training stress.
Every step has a line in the ledger, and one that was enriched has two.

Source  F. Casenave, N. Akkari, MCA 24 (2019) 41, in its intent; the decision is `nwidth_graphs.kernels.enrichment.decide`
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nwidth.fullorder.small_strain import Stepper
from nwidth.mechanics.adaptive_ledger import AdaptiveLedger
from nwidth.mechanics.adaptive_march import March
from nwidth.mechanics.adaptive_setup import check_asked, prepared
from nwidth.mechanics.adaptive_solution import AdaptiveSolution, WorkFolder
from nwidth.mechanics.model import MechanicsModel
from nwidth.mechanics.options import MechanicsOptions
from nwidth.workers import Progress, ThreadExecutor, executor_of

if TYPE_CHECKING:
    from nwidth.stores.protocol import SnapshotStore


def solve_adaptively(
    model: MechanicsModel,
    stepper: Stepper,
    inputs: Mapping[str, float],
    *,
    tolerance: float,
    most_updates: int = 5,
    options: MechanicsOptions | None = None,
    store: SnapshotStore | str | Path | None = None,
    work: str | Path | None = None,
    ledger: str | Path | None = None,
    client: Any = None,
    progress: Progress | None = None,
) -> AdaptiveSolution:
    """March one load case; where the indicator exceeds `tolerance`, take one full-order step and learn from it.

    Parameters
    ----------
    model : MechanicsModel
        With a calibrated indicator. It is not changed: `keep_enriched` does that.
    stepper : Stepper
        The full-order model, its integration points in the order of the store (see `in_store_order`), its internal variables
        those of the model's law. Its parameters are the inputs.
    inputs : mapping
        One number for each input of the case.
    tolerance : float
        Of eta, an upper estimate of the relative error of the indicating field.
    most_updates : int
        Full-order steps at most; one that fails counts.
    options : MechanicsOptions, optional
        Those of the training; by default as far as the body knows them, and ``stress`` for the stress.
    store : optional
        The training snapshots; by default those that the model was reduced from.
    work : path, optional
        An empty folder for enriched modes, which workers see; by default a temporary one, gone with the solution.
    ledger : path, optional
        A file of JSON lines to which every decision is appended, ``ledger.jsonl`` of a run, say.
    client : distributed.Client, optional
        Workers for the updates; by default two threads of this process.

    Raises
    ------
    ConfigError
        Before any step: the model has no indicator, the tolerance is not positive, or the full-order model is one of another
        mesh or law.
    InputError
        An input is missing or unknown.

    Notes
    -----
    What fails on the way is no error: a full-order step that is not found, or is of no use, leaves the answer without it, and
    a reduced step that even enrichment does not mend ends the march; both with a reason among `AdaptiveSolution.warnings`.
    """
    check_asked(model.case, inputs, tolerance, most_updates)
    folder = WorkFolder(work)
    executor = ThreadExecutor(2) if client is None else executor_of(client)
    cluster, updater, training = prepared(model, stepper, inputs, folder.path, options, store, executor, progress)
    log = AdaptiveLedger(None if ledger is None else Path(ledger))
    log.begin(updater.parameters, tolerance, most_updates)
    march = March(updater, log, tolerance, most_updates, model.bodies[cluster], training)
    failure = march.run()
    return AdaptiveSolution(
        model=model,
        cluster=cluster,
        inputs=updater.parameters,
        body=march.body,
        coefficients=march.coefficients(),
        residuals=march.residuals,
        indicator=march.indicator,
        decisions=tuple(log.decisions),
        updates=tuple(log.updates),
        failure=failure,
        folder=march.folder,
        work=folder,
    )
