"""``nw.train_mechanics``: from a finished run to a reduced mechanical model, of one body or of a dictionary of them.

model without an atlas            its own bases of displacement and dual fields ──> one body
model with an atlas of runs       for each cluster: bases of its simulations (and borrowed ones), cubature, dual fields
                                  ──> K bodies; the classifier that `nw.learn` has taught chooses among them

No basis of a body has seen what is held out: where the model's own have, its bases are made anew of the other simulations.
Sampled runs (`nwidth.mechanics.sampling`) join the simulations that bases are made of, and each the cluster that it falls into.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nwidth.config import ReduceSection, parse_bytes
from nwidth.errors import ConfigError
from nwidth.mechanics.body import ReducedBody
from nwidth.mechanics.case import Case, case_named
from nwidth.mechanics.cluster_bases import reduced_to
from nwidth.mechanics.files import FOLDER, LEARNT, ReducedMechanics, aside, mechanics_key, read_mechanics, write_mechanics
from nwidth.mechanics.options import MechanicsOptions
from nwidth.mechanics.sampling import FINER, SampledRuns, chosen_clusters, sampled_runs
from nwidth.mechanics.sharing import bodies_on_shared_points
from nwidth.mechanics.training import Training, check_store, train_body
from nwidth.models.atlas import Atlas
from nwidth.models.learned import has_learned
from nwidth.models.model import Model, open_model
from nwidth.problems import Memory, content_token
from nwidth.stores import open_store
from nwidth.workers import Executor, Progress, ThreadExecutor, executor_of
from nwidth_graphs.kernels.materials import Law, law_record
from nwidth_graphs.kernels.partition import nearest, overlapping

if TYPE_CHECKING:
    from nwidth.stores.protocol import SnapshotStore

PARTED = (
    "held-out errors are those of the bodies: the partition and its classifier were made with all simulations, those that are "
    "held out among them"
)
OVERLAP = 0.1
"""Members that a cluster borrows from its neighbours, as a share of its own."""


def train_mechanics(
    model: str | Path | Model,
    case: Case | str,
    law: Law,
    *,
    options: MechanicsOptions | None = None,
    store: SnapshotStore | str | Path | None = None,
    reduce: ReduceSection | None = None,
    memory: str | int = "2 GiB",
    client: Any = None,
    progress: Progress | None = None,
) -> ReducedMechanics:
    """Train reduced mechanics on a model, and write them into it: ``model.zarr/mechanics/``, arrays and JSON.

    Parameters
    ----------
    model : path or Model
        With a basis of the displacement, and of every dual field, each alone; or with an atlas of simulations, whose clusters are
        then reduced field by field.
    case : Case or str
        Loads and temperature; see `nwidth.mechanics.case`.
    law : Law
        The material, see `nwidth_graphs.kernels.materials`.
    options : MechanicsOptions, optional
    store : optional
        The snapshots; by default the store that the model was reduced from.
    reduce : ReduceSection, optional
        Tolerance or rank, and inner products, of the clusters' bases, and of those of one body that must not know what is held
        out; the model's own by default.
    memory : of each worker
    client : distributed.Client, optional
        Workers; by default two threads of this process.

    Raises
    ------
    ConfigError
        Before any work: the store, the model, the case or the options do not fit together.
    InputError
        A cell is inverted, integrals are zero, or the case gives what is not finite.
    """
    opened = model if isinstance(model, Model) else open_model(model)
    trainer = Trainer(
        model=opened,
        store=_opened_store(opened, store),
        case=case,
        law=law,
        options=options or MechanicsOptions(),
        reduce=reduce,
        memory=memory if isinstance(memory, int) else parse_bytes(memory),
    )
    return trainer.train(ThreadExecutor(2) if client is None else executor_of(client), progress)


def _opened_store(model: Model, store: SnapshotStore | str | Path | None) -> SnapshotStore:
    if store is None:
        store = model.manifest.get("store", {}).get("url")
    if store is None:
        raise ConfigError(f"{model.path} does not know the store that it was reduced from; give it with store=")
    return open_store(str(store)) if isinstance(store, str | Path) else store


@dataclass(frozen=True)
class Trainer:
    """One training: what it is of, and how."""

    model: Model
    store: SnapshotStore
    case: Case | str
    law: Law
    options: MechanicsOptions
    reduce: ReduceSection | None
    memory: int
    """Bytes of each worker."""

    @property
    def case_name(self) -> str:
        """By which the case is found again, if it has such a name."""
        return self.case if isinstance(self.case, str) else type(self.case).__qualname__

    @property
    def key(self) -> str:
        """Content of bases, store and settings together."""
        settings = (self.case_name, law_record(self.law), vars(self.options), self.reduce and self.reduce.model_dump_json())
        return content_token("mechanics", content_key_of(self.model), self.store.schema().version, repr(settings))

    def known(self) -> ReducedMechanics:
        """What was trained before, if it was the same."""
        return read_mechanics(self.model.path, content_key_of(self.model))

    def train(self, executor: Executor, progress: Progress | None = None) -> ReducedMechanics:
        """Train and publish, unless the same was trained before; errors as `train_mechanics`."""
        if mechanics_key(self.model.path) == self.key:
            return self.known()
        atlas = self.model.atlas if "atlas" in self.model.manifest else None
        check_store(self.store, self.law, self.options)
        work = _Work(self, case_named(self.case) if isinstance(self.case, str) else self.case, executor, progress)
        with fresh(aside(self.model.path)):
            bodies = (work.one(),) if atlas is None else work.dictionary(atlas)
            notes = (*work.notes, *_notes(bodies), *([PARTED] if atlas is not None and self.options.held_out else ()))
            mechanics = ReducedMechanics(bodies, self.case_name, notes)
            write_mechanics(self.model.path, mechanics, of=content_key_of(self.model), key=self.key)
        return mechanics


@dataclass(frozen=True)
class _Work:
    """A training on its workers."""

    trainer: Trainer
    case: Case
    executor: Executor
    progress: Progress | None
    notes: list[str] = field(default_factory=list)
    """What is to be known of the training itself."""

    @property
    def path(self) -> Path:
        return self.trainer.model.path

    def one(self) -> ReducedBody:
        """The body of the model's own bases; of bases without what is held out, where the model's have seen it."""
        model, held_out = self.trainer.model, self.trainer.options.held_out
        schema = self.trainer.store.schema()
        check_held_out(self.trainer.options, [run.simulation for run in schema.runs], str(schema.url))
        known = tuple(dict.fromkeys(str(name) for name in model.snapshots["simulation"].values))
        learnt = tuple(name for name in known if name not in held_out)
        if not learnt:
            raise ConfigError("mechanics: all training simulations are held out; leave some to train on")
        if learnt == known and not self.trainer.options.sampled_runs:
            bases = {basis.fields[0]: basis for basis in model.bases.values() if len(basis.fields) == 1}
            return train_body(self._training(self.path / "bases", bases, (*learnt, *held_out)))
        with self._sampled(learnt) as runs:
            return _moved(train_body(self._apart(aside(self.path) / LEARNT, learnt, held_out, runs)))

    def dictionary(self, atlas: Atlas) -> tuple[ReducedBody, ...]:
        """A body for each cluster, on bases of its own simulations."""
        options = self.trainer.options
        if atlas.of != "simulations":
            raise ConfigError(
                "mechanics: the atlas is one of snapshots, and internal variables follow a whole simulation; partition with "
                'of = "simulations"'
            )
        check_held_out(options, atlas.items, "the atlas")
        clusters = []
        for cluster, members in enumerate(_members(atlas)):
            learnt = tuple(name for name in members if name not in options.held_out)
            if not learnt:
                raise ConfigError(f"mechanics: all simulations of cluster {cluster} are held out; leave some of each to train on")
            clusters.append((learnt, tuple(name for name in members if name in options.held_out)))
        if len(clusters) > 1:
            self._check_classifier()
        trainings = []
        with self._sampled(tuple(dict.fromkeys(name for learnt, _ in clusters for name in learnt))) as runs:
            for cluster, names in enumerate(clusters):
                own = runs if runs is None or len(clusters) == 1 else self._of_cluster(runs, cluster)
                trainings.append(self._apart(aside(self.path) / f"cluster-{cluster}", *names, own))
        bodies = bodies_on_shared_points(trainings) if options.points == "shared" else map(train_body, trainings)
        return tuple(_moved(body) for body in bodies)

    def _of_cluster(self, runs: SampledRuns, cluster: int) -> SampledRuns:
        """The sampled runs that a cluster will be asked for."""
        return runs.some(np.flatnonzero(chosen_clusters(self.trainer.model.learned, runs.inputs) == cluster))

    def _check_classifier(self) -> None:
        if self.trainer.options.sampled_runs and not has_learned(self.path):
            raise ConfigError(
                f"mechanics.sampled_runs: {self.path} has learnt no classifier that would say to what cluster a sampled run "
                "belongs; call nw.learn first, or put a table [learn] into the study"
            )

    @contextmanager
    def _sampled(self, simulations: tuple[str, ...]) -> Iterator[SampledRuns | None]:
        """Runs that were asked for, of a body of all these simulations, whose basis stays as long as they are needed."""
        options = self.trainer.options
        if not options.sampled_runs:
            yield None
            return
        with fresh(aside(self.path) / "sampling") as folder:
            requests = [
                request.model_copy(update={"rtol": None if request.rtol is None else FINER * request.rtol})
                for request in self._requests(simulations)
                if options.displacement in request.fields
            ]
            memory = Memory(self.trainer.memory)
            bases = reduced_to(folder, self.trainer.store, requests, memory, self.executor, self.progress)
            runs = sampled_runs(self._training(folder / "bases", bases, simulations), options.sampled_runs)
            if runs.failed:
                self.notes.append(f"{runs.failed} of {options.sampled_runs} sampled runs failed and are left out")
            yield runs
            shutil.rmtree(folder)

    def _apart(self, folder: Path, learnt: tuple[str, ...], held_out: tuple[str, ...], runs: SampledRuns | None) -> Training:
        """The training of a body on bases of some simulations alone, and of runs, made in a folder of their own: two reads."""
        memory, own = Memory(self.trainer.memory), runs if runs is not None and runs.count else None
        bases = reduced_to(folder, self.trainer.store, self._requests(learnt), memory, self.executor, self.progress, own)
        return self._training(folder / "bases", bases, (*learnt, *held_out))

    def _requests(self, simulations: tuple[str, ...]) -> list[ReduceSection]:
        """What every cluster, and one body that needs bases of its own, is reduced with: one for the fields of each tolerance."""
        options, known = self.trainer.options, self.trainer.model.manifest.get("reduce")
        if self.trainer.reduce is None and known is None:
            raise ConfigError(f"{self.path} does not know how it was reduced, and bodies need bases of their own; give reduce=")
        given = self.trainer.reduce or ReduceSection(**(known or {}))
        products = given.inner_product
        if isinstance(products, str):
            # A mass is one of nodes, and dual fields are Euclidean: their masks know no weights.
            products = {options.displacement: products}
        together: dict[tuple[float | None, int | None], list[str]] = {}
        for name in (options.displacement, *options.duals):
            rtol, rank = options.truncation(name)
            asked = (given.rtol, given.rank) if rtol is None and rank is None else (rtol, rank)
            together.setdefault(asked, []).append(name)
        change = {"basis": "each", "simulations": simulations, "centre": False}
        return [
            given.model_copy(
                update={
                    **change,
                    "fields": tuple(names),
                    "rtol": rtol,
                    "rank": rank,
                    "inner_product": {name: products[name] for name in names if name in products},
                }
            )
            for (rtol, rank), names in together.items()
        ]

    def _training(self, bases: Path, named: Mapping[str, Any], simulations: tuple[str, ...]) -> Training:
        return Training(
            store=self.trainer.store,
            model=self.path,
            bases=bases,
            named=named,
            simulations=simulations,
            case=self.case,
            law=self.trainer.law,
            options=self.trainer.options,
            executor=self.executor,
            token=self.trainer.key,
            progress=self.progress,
        )


def check_held_out(options: MechanicsOptions, known: Sequence[str], where: str) -> None:
    """Refuse to hold out what is not there.

    Raises
    ------
    ConfigError
        Names the simulation.
    """
    for name in options.held_out:
        if name not in known:
            raise ConfigError(f"mechanics.held_out: {name!r} is not in {where}; it has {', '.join(list(known)[:20])}")


def content_key_of(model: Model) -> str:
    """Content key of a model's bases; empty for a basis that was saved by itself."""
    return str(model.manifest.get("provenance", {}).get("content_key", ""))


def _members(atlas: Atlas) -> list[tuple[str, ...]]:
    """Names of the simulations of every cluster, with those that it borrows."""
    partition = nearest(atlas.dissimilarities, atlas.medoids)
    return [tuple(atlas.items[item] for item in members) for members in overlapping(atlas.dissimilarities, partition, OVERLAP)]


def _moved(body: ReducedBody) -> ReducedBody:
    """The body with its folders where they will lie when training is published."""

    def final(folder: str) -> str:
        return folder.replace(f"{FOLDER}.partial", FOLDER, 1)

    duals = tuple(replace(dual, modes=final(dual.modes)) for dual in body.duals)
    return replace(body, modes=final(body.modes), duals=duals)


def _notes(bodies: tuple[ReducedBody, ...]) -> tuple[str, ...]:
    """What is to be known, in words."""
    found = []
    for number, body in enumerate(bodies):
        name = f"body {number}: "
        if body.rule.ended != "tolerance":
            asked = f"and {body.rule.asked:.1e} was asked"
            found.append(f"{name}the cubature's search ended by {body.rule.ended} at {body.rule.training:.1e}, {asked}")
        found += [
            f"{name}{dual.name} has as many points as modes: its residual warns of nothing"
            for dual in body.duals
            if dual.masked.blind
        ]
        if body.duals and body.calibration is None:
            found.append(f"{name}too few training steps with a positive residual to calibrate the indicator")
    return tuple(found)


@contextmanager
def fresh(folder: Path) -> Iterator[Path]:
    """An empty folder, which does not stay behind where what is done in it fails."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
