"""Models made of models, as Python functions: merge two, drop snapshots from one, take new simulations in.

merge(a, b, into=...)      no read of fields       drop(model, ..., into=...)    no read of fields
update(study)              reads the new simulations, and the old ones only where that is asked for
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nwidth.config import Study, load_study, parse_bytes
from nwidth.errors import ConfigError, StoreError
from nwidth.models.derived import joined_snapshots
from nwidth.models.model import Model, open_model
from nwidth.problems.cutting import Memory
from nwidth.problems.models import problem_from_models
from nwidth.problems.options import content_token
from nwidth.stages.derived import Recipe, Story, make, request_like, write_derived
from nwidth.stages.dropping import Drop, kept_snapshots, optimal_error
from nwidth.stages.merging import Merge, check_mergeable
from nwidth.stages.parents import content_key
from nwidth.stages.problem import Passes
from nwidth.workers import Executor, Progress, ThreadExecutor, executor_of

if TYPE_CHECKING:
    from nwidth.stages.combining import Combination, Combined

ModelLike = Model | str | os.PathLike[str]


def merge(
    first: ModelLike,
    second: ModelLike,
    *,
    into: str | os.PathLike[str],
    rtol: float | None = None,
    rank: int | None = None,
    memory: str | int = "2 GiB",
    client: Any = None,
    progress: Progress | None = None,
) -> Model:
    """Merge two models of the same mesh, fields and inner product that differ in their snapshots; no field is read.

    The POD of ``[Phi_1 Q_1 | Phi_2 Q_2]``, the snapshots as both models know them, by the factor of ``[Phi_1 | Phi_2]`` and a
    lifting pass over it. The certificate is an upper bound: for a snapshot ``s = Phi_i q + e`` of model i,

        ||s - Phi q'|| <= ||(I - P) Phi_i q|| + ||e||        and the squares of both add up over all snapshots

    Parameters
    ----------
    first, second : Model or path
        Models, or folders of runs.
    into : path
        Where the new model is written; nothing may be there.
    rtol, rank : optional
        Truncation of the merged snapshots, relative to their norm; the larger `rtol` of both models where neither is given.
        What both left out before comes on top: the certificate says how much that is.
    memory : str or int
        What this process, or a worker of `client`, may use.
    client : distributed.Client, optional
        Where the modes are read and lifted; threads of this process by default.

    Returns
    -------
    Model
        Its manifest names both parents; its snapshots are those of `first`, then those of `second`.

    Raises
    ------
    ConfigError
        The models differ in more than their snapshots, or share some.
    StoreError
        A model cannot be read, or something is at `into` already.

    Notes
    -----
    Weighted merge, which is hierarchical approximate POD with two leaves: Himpe, Leibner and Rave 2018. Means of centred bases
    are combined as by incremental PCA: Ross, Lim, Lin and Yang 2008.
    """
    _refuse_existing(into)
    models = tuple(_model(given) for given in (first, second))
    rtol, rank = _truncation(models, rtol, rank)
    check_mergeable(*models)
    recipe = Merge(*models)
    key = content_token("merge", content_key(models[0]), content_key(models[1]), rtol, rank)
    with _written(into) as folder:
        made, combinations = _make(
            recipe, models, rtol, rank, key, folder, memory, client, progress, "modes of two models, merged"
        )
        names = [str(model.manifest.get("study") or model.path.name) for model in models]
        story = Story("merge", " + ".join(dict.fromkeys(names)), None, _asked(models[0], rtol, rank), key, "tsqr")
        write_derived(folder, story, models, made, combinations, joined_snapshots([model.snapshots for model in models]))
    return open_model(Path(into))


def drop(
    model: ModelLike,
    *,
    into: str | os.PathLike[str],
    simulations: Sequence[str] = (),
    snapshots: Sequence[int] = (),
    rtol: float | None = None,
    rank: int | None = None,
    memory: str | int = "2 GiB",
    client: Any = None,
    progress: Progress | None = None,
) -> Model:
    """Drop simulations, or single snapshots, from a model; no field is read.

    The POD of ``Phi Q_kept`` is a rotation within the span of the old modes. Of a model whose errors were measured the new
    certificate is exact, ``||s_j - Phi' q'_j||^2 = ||Phi q_j - Phi' q'_j||^2 + ||s_j - Phi q_j||^2``.

    Parameters
    ----------
    model : Model or path
    into : path
        Where the new model is written; nothing may be there.
    simulations, snapshots
        Names of simulations, and numbers of snapshots in the model (from 0).
    rtol, rank : optional
        Truncation of what is kept, relative to its norm; the `rtol` of the model where neither is given.

    Returns
    -------
    Model
        Its entry of a basis tells ``optimal_error``, the error of the best basis of the same rank for the kept snapshots, where
        the model keeps its factor. A centred basis keeps its mean.

    Raises
    ------
    ConfigError
        An unknown simulation or snapshot, nothing to drop, or nothing left.
    StoreError
        The model cannot be read, or something is at `into` already.
    """
    _refuse_existing(into)
    parent = _model(model)
    recipe = Drop(parent, kept_snapshots(parent, simulations, snapshots))
    rtol, rank = _truncation((parent,), rtol, rank)
    key = content_token("drop", content_key(parent), recipe.kept, rtol, rank)
    with _written(into) as folder:
        made, combinations = _make(
            recipe, (parent,), rtol, rank, key, folder, memory, client, progress, "modes of a model, rotated"
        )
        stored = recipe.kept_factors()
        spectra = {name: spectrum for name in parent.bases if (spectrum := recipe.exact_spectrum(name)) is not None}
        notes = {
            basis.parts.name: {"optimal_error": optimal_error(spectra[basis.parts.name], len(basis.parts.coefficients))}
            for basis in made.bases
            if basis.parts.name in spectra
        }
        store = parent.manifest.get("store")
        story = Story(
            "drop",
            str(parent.manifest.get("study") or parent.path.name),
            {**store, "snapshots": len(recipe.kept)} if store else None,
            _asked(parent, rtol, rank),
            key,
            stored[0] if stored else "tsqr",
        )
        write_derived(
            folder,
            story,
            (parent,),
            made,
            combinations,
            parent.snapshots.isel(snapshot=recipe.kept),
            factors=stored[1] if stored else None,
            spectra=spectra,
            notes=notes,
        )
    return open_model(Path(into))


def update(
    study: Study | str | os.PathLike[str], how: Literal["exact", "fast"] | None = None, *, progress: Progress | None = None
) -> Model:
    """Run a study, taking in what its store has gained since the last run, and return its model.

    Parameters
    ----------
    study : Study or path of a study file
    how : optional
        ``"fast"`` reads the new simulations alone, twice; errors of the old snapshots become bounds. ``"exact"`` reads all, and
        extends the Gram matrix of the last run; its spectrum equals that of a full run to rounding. ``reduce.update`` of the
        study otherwise. Where the last model cannot be updated so, the study is run in full; the ledger says why.

    Raises
    ------
    PlanError, ConfigError, StoreError, FieldError, RunError, CertificateError
        As `nwidth.run`.

    Notes
    -----
    Block update of the singular value decomposition: Zha and Simon 1999, Brand 2006.
    """
    from nwidth.runs import run

    loaded = study if isinstance(study, Study) else load_study(os.fspath(study))
    return open_model(run(with_update(loaded, how), progress=progress).model)


def with_update(study: Study, how: str | None) -> Study:
    """The study with another ``reduce.update``; as it is for None.

    Raises
    ------
    ConfigError
        `how` is none of full, exact, fast, or the study has an atlas, which is always made in full.
    """
    if how is None:
        return study
    if how not in ("full", "exact", "fast"):
        raise ConfigError(f"update = {how!r} is unknown; use full, exact or fast")
    if study.atlas is not None and how != "full":
        raise ConfigError(f'update = "{how}" and [atlas] exclude each other: new snapshots change who belongs together')
    return study.model_copy(update={"reduce": study.reduce.model_copy(update={"update": how})})


def _make(
    recipe: Recipe,
    models: tuple[Model, ...],
    rtol: float | None,
    rank: int | None,
    key: str,
    folder: Path,
    memory: str | int,
    client: Any,
    progress: Progress | None,
    reason: str,
) -> tuple[Combined, dict[str, Combination]]:
    bases = models[0].bases
    request = request_like(bases, rtol, rank)
    passes = Passes(_executor(client), progress)
    with tempfile.TemporaryDirectory(prefix="nwidth-") as scratch:
        problem = problem_from_models(recipe.columns(), request, Memory(_bytes(memory)), Path(scratch), key)
        made = make(recipe, problem, bases, request, passes, folder, reason)
    return made, {name: recipe.combination(name, made.factors) for name in bases}


def _model(given: ModelLike) -> Model:
    model = given if isinstance(given, Model) else open_model(Path(given))
    if "atlas" in model.manifest:
        raise ConfigError(
            f"{model.path} holds an atlas, and other snapshots would be parted otherwise; run its study on another store"
        )
    return model


def _truncation(models: Sequence[Model], rtol: float | None, rank: int | None) -> tuple[float | None, int | None]:
    if rtol is not None and not 0 < rtol < 1:
        raise ConfigError(f"rtol = {rtol!r} is not between 0 and 1; it is a relative error")
    if rank is not None and rank < 1:
        raise ConfigError(f"rank = {rank!r} keeps no mode; ask for 1 or more")
    if rtol is not None or rank is not None:
        return rtol, rank
    asked = [model.manifest.get("reduce") or {} for model in models]
    rtols = [table["rtol"] for table in asked if table.get("rtol") is not None]
    ranks = [table["rank"] for table in asked if table.get("rank") is not None]
    # Without either (a basis that was saved by itself): what is left out now is not more than what was left out before.
    found = max(basis.certificate.frobenius_error for model in models for basis in model.bases.values())
    return max(rtols, default=None if ranks else max(found, 1e-12)), max(ranks, default=None)


def _asked(model: Model, rtol: float | None, rank: int | None) -> Mapping[str, Any] | None:
    """The request of a derived model, as its manifest tells it."""
    table = model.manifest.get("reduce")
    return None if table is None else {**table, "rtol": rtol, "rank": rank, "simulations": []}


def _bytes(memory: str | int) -> int:
    try:
        return parse_bytes(memory)
    except ValueError as error:
        raise ConfigError(f"memory: {error}") from None


def _executor(client: Any) -> Executor:
    return ThreadExecutor(len(os.sched_getaffinity(0))) if client is None else executor_of(client)


def _refuse_existing(into: str | os.PathLike[str]) -> None:
    if Path(into).exists():
        raise StoreError(f"{into} exists already; remove it, or choose another path")


@contextmanager
def _written(into: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder to write a model in, which becomes `into` when the block ends well, and is removed otherwise."""
    target = Path(into)
    # What a repair leaves beside the model goes with the folder around both.
    around = target.parent / f".{target.name}-{uuid.uuid4().hex[:8]}"
    folder = around / target.name
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror}; choose a writable folder") from None
    try:
        yield folder
        folder.rename(target)
    finally:
        shutil.rmtree(around, ignore_errors=True)
