"""The study file: TOML in, checked records out. An unknown key is refused with the nearest name.

[study]
name = "blade"
store = "blade.icechunk"          # relative paths start at the study file's folder
output = "runs"

[reduce]
fields = ["displacement"]         # default: every field of the store
basis = "joint"                   # one basis for all fields, or "each"
rtol = 1e-4                       # relative projection error, Frobenius over all snapshots
inner_product = "mass"

[workers]
count = 2
memory = "1 GiB"
"""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from nwidth.errors import ConfigError
from nwidth.sections import MechanicsSection, OperationsSection, Section, UncertaintySection

_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}


def parse_bytes(text: str | float) -> int:
    """``"1.5 GiB"`` -> 1610612736; plain numbers are bytes.

    Raises
    ------
    ValueError
        The text is not a positive number with one of the units B, kB, MB, GB, TB, KiB, MiB, GiB, TiB.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?(?:e[0-9]+)?)\s*([a-zA-Z]*)\s*", str(text))
    if match is None or match[2].lower() not in _UNITS or float(match[1]) <= 0:
        raise ValueError(f"{text!r} is not an amount of memory; write for example 2 GiB")
    return int(float(match[1]) * _UNITS[match[2].lower()])


Bytes = Annotated[int, BeforeValidator(parse_bytes)]
AUTO_MEMORY = 0
"""Stands for ``workers.memory = "auto"`` until `nwidth.runs.budgets` puts an amount in its place."""


def parse_memory(text: str | float) -> int:
    """As `parse_bytes`, or ``"auto"``."""
    return AUTO_MEMORY if text == "auto" else parse_bytes(text)


def parse_limit(text: str | float) -> int:
    """As `parse_bytes`, or 0 for no limit."""
    return 0 if text == 0 else parse_bytes(text)


MemoryAmount = Annotated[int, BeforeValidator(parse_memory)]


_SECONDS = {"": 1, "s": 1, "min": 60, "h": 3600, "d": 86400}


def parse_seconds(text: str | float) -> float:
    """``"5 min"`` -> 300.0; plain numbers are seconds.

    Raises
    ------
    ValueError
        The text is not a positive number with one of the units s, min, h, d.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?)\s*(s|min|h|d|)\s*", str(text))
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"{text!r} is not a time; write for example 30s, 5min or 1h")
    return float(match[1]) * _SECONDS[match[2]]


Seconds = Annotated[float, BeforeValidator(parse_seconds)]


class StoreOptionsSection(Section):
    """``[study.store_options]``: how the store is reached. Credentials come from the environment and are never written here."""

    endpoint: Annotated[str, Field(description="URL of an S3-compatible server; AWS itself by default")] = ""
    region: Annotated[str, Field(description="S3 region")] = ""
    references: Annotated[str, Field(description="folder whose files a store by reference may read")] = ""


class StudySection(Section):
    """``[study]``: what is reduced, and where results go."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="names the folder of results")]
    store: Annotated[str, Field(min_length=1, description="path or URL of the snapshot store")]
    output: Annotated[str, Field(description="folder under which `<name>/` is written")] = "runs"
    keep: Annotated[
        Literal["auto", "always", "never"], Field(description="partials for a run that resumes; auto: of passes of 1 GiB or more")
    ] = "auto"
    store_options: Annotated[StoreOptionsSection, Field(description="how the store is reached")] = StoreOptionsSection()


# A sketch holds squares, whose rounding a random test matrix amplifies to some 1e-12 of their sum: a hundredth of (1e-5)^2.
SKETCH_MIN_RTOL = 1e-5
RouteName = Literal["auto", "gram", "tsqr", "hapod", "wide", "sketch", "nystrom"]


class ReduceSection(Section):
    """``[reduce]``: the basis that is wanted."""

    fields: Annotated[tuple[str, ...], Field(description="fields to reduce; all of the store by default")] = ()
    simulations: Annotated[tuple[str, ...], Field(description="simulations to use; all by default")] = ()
    basis: Annotated[Literal["joint", "each"], Field(description="one basis over all fields, or one for each")] = "each"
    rtol: Annotated[float | None, Field(gt=0, lt=1, description="relative projection error, Frobenius over all snapshots")] = None
    rank: Annotated[int | None, Field(ge=1, description="largest number of modes")] = None
    route: Annotated[RouteName, Field(description="how the basis is computed")] = "auto"
    tree: Annotated[Literal["distributed", "incremental"], Field(description="route hapod: a tree, or a chain")] = "distributed"
    omega: Annotated[float, Field(gt=0, lt=1, description="route hapod: share of the tolerance that its root may use")] = 0.75
    seed: Annotated[int, Field(ge=0, lt=2**63, description="routes sketch, nystrom: seed of the random numbers")] = 0
    oversampling: Annotated[
        int | None, Field(ge=0, description="routes sketch, nystrom: samples beyond the rank; by default 10, and 20 of nystrom")
    ] = None
    power_iterations: Annotated[int, Field(ge=0, le=8, description="route sketch: reads that sharpen the sample")] = 0
    centre: Annotated[bool, Field(description="remove the mean over the snapshots")] = False
    snapshot_scaling: Annotated[Literal["none", "unit"], Field(description="unit: every snapshot weighs the same")] = "none"
    inner_product: Annotated[
        str | dict[str, str], Field(description="identity, mass, or a name of the store's inner_products; or a table by field")
    ] = "identity"
    field_scaling: Annotated[
        Literal["unit", "none"] | dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]],
        Field(description="scaling of the fields in a joint basis; or a table by field"),
    ] = "unit"
    beyond_floor: Annotated[bool, Field(description="keep modes below the trustworthy floor, too")] = False
    update: Annotated[Literal["full", "exact", "fast"], Field(description="what a run does with a store that only grew")] = "full"

    missing: Annotated[
        Literal["refuse", "gappy"], Field(description="gappy: fill isolated NaN from the modes, iteratively; needs a rank")
    ] = "refuse"
    gappy_iterations: Annotated[int, Field(ge=1, description="gappy: most iterations, two reads each")] = 50
    gappy_tolerance: Annotated[float, Field(gt=0, lt=1, description="gappy: relative change of the filling to stop at")] = 1e-6

    @field_validator("missing", mode="after")
    @classmethod
    def _fills_with_so_many_modes(cls, missing: str, info: ValidationInfo) -> str:
        if missing == "gappy" and info.data.get("rank") is None:
            raise ValueError("the number of modes that fill is not to be found from values that are missing; give rank")
        if missing == "gappy" and info.data.get("update", "full") != "full":
            raise ValueError("more snapshots change what older ones are filled with, so all are read again; leave out update")
        return missing

    @field_validator("route", mode="after")
    @classmethod
    def _known_to_the_sketch(cls, route: str, info: ValidationInfo) -> str:
        rtol, rank = info.data.get("rtol"), info.data.get("rank")
        if route == "nystrom" and rank is None:
            raise ValueError("it reads the data once, so the number of modes must be known before; give rank")
        if route in ("sketch", "nystrom") and rtol is not None and rtol < SKETCH_MIN_RTOL:
            raise ValueError(f'it measures errors down to {SKETCH_MIN_RTOL:g}, and rtol = {rtol:g} is asked for; use "tsqr"')
        return route

    def samples_beyond(self, route: str) -> int:
        """Samples beyond the rank that a route takes: the one read of nystrom leaves no second chance."""
        if self.oversampling is not None:
            return self.oversampling
        return 20 if route == "nystrom" else 10

    @model_validator(mode="before")
    @classmethod
    def _default_tolerance(cls, table: Any) -> Any:
        # Neither a tolerance nor a rank: 1e-4 is what an engineer's first look wants, and the plan prints it.
        return table if not isinstance(table, dict) or "rtol" in table or "rank" in table else {**table, "rtol": 1e-4}


DissimilarityName = Literal[
    "sine", "euclidean", "parameters",
    "geodesic", "chordal", "binet-cauchy", "fubini-study", "procrustes", "martin", "projection", "spectral", "bi-projection",
]  # fmt: skip
Clusters = Annotated[int, Field(ge=1)]


class AtlasSection(Section):
    """``[atlas]``: a dictionary of local bases beside the global one."""

    of: Annotated[Literal["snapshots", "simulations"], Field(description="what is partitioned")] = "snapshots"
    dissimilarity: Annotated[
        DissimilarityName | Annotated[tuple[DissimilarityName, ...], Field(min_length=1)],
        Field(description="between two of them; the last nine: of subspaces; of a list, the one of largest expected gain"),
    ] = "sine"
    time: Annotated[
        Literal["space-time", "last", "subspaces"] | Annotated[float, Field(allow_inf_nan=False)],
        Field(description="how a simulation of several times is read; a number: at that time"),
    ] = "space-time"
    method: Annotated[Literal["k-medoids", "tree", "k-means"], Field(description="how representatives are found")] = "k-medoids"
    clusters: Annotated[
        Clusters | Literal["auto"] | tuple[Clusters, ...],
        Field(description="how many; `auto` or a list: the one of largest expected gain, or one where none pays"),
    ] = "auto"
    rank: Annotated[int | None, Field(ge=1, description="largest number of modes of a local basis; default: as `[reduce]`")] = (
        None
    )
    rtol: Annotated[
        float | None, Field(gt=0, lt=1, description="relative projection error over a cluster; default: as `[reduce]`")
    ] = None
    max_rank: Annotated[int, Field(ge=1, description="largest number of modes that the gain is computed for")] = 20
    overlap: Annotated[float, Field(ge=0, le=1, description="members borrowed from neighbours, as a share of a cluster")] = 0.1
    minimum_size: Annotated[
        int, Field(ge=1, description="smaller clusters join others; at most a sixth of all, or half the mean")
    ] = 10
    normalise: Annotated[bool, Field(description="every member weighs the same in its local basis")] = True
    tolerance: Annotated[float, Field(gt=0, lt=1, description="method tree: largest sine of a member to its anchor")] = 0.15
    seed: Annotated[int, Field(ge=0, lt=2**63, description="seed of splits and starts")] = 0
    holdout: Annotated[
        Annotated[float, Field(ge=0, lt=1)] | tuple[str, ...],
        Field(description="share of the simulations, or their names, that the gain is measured on"),
    ] = 0.2


class LearnSection(Section):
    """``[learn]``: the model is taught to predict, after every run that made other bases."""

    parameters: Annotated[
        tuple[str, ...], Field(description="coordinates of the snapshots that are the inputs; all numbers that vary by default")
    ] = ()
    classifier: Annotated[Literal["logistic", "stacking"], Field(description="from inputs to clusters")] = "logistic"
    augmentation: Annotated[
        float, Field(ge=0, allow_inf_nan=False, description="new inputs inside the classes, as a multiple")
    ] = 0.0
    regression: Annotated[
        Literal["gaussian-process", "rbf"], Field(description="from inputs to the coordinates in a cluster")
    ] = "gaussian-process"
    novelty: Annotated[
        Literal["neighbour", "mahalanobis"], Field(description="distance by which inputs unlike all of training are known")
    ] = "neighbour"
    quantile: Annotated[
        float, Field(gt=0, le=1, description="of that distance among the training inputs: beyond it, none of the clusters")
    ] = 0.99
    folds: Annotated[int, Field(ge=2, description="of the cross-validation, by simulation")] = 5
    seed: Annotated[int, Field(ge=0, lt=2**32, description="seed of folds, augmentation and starts")] = 0


class TlsSection(Section):
    """``[workers.tls]``: certificates for a scheduler at a ``tls://`` address; paths start at the study's folder."""

    ca: Annotated[str, Field(min_length=1, description="certificate of the authority that signed the scheduler's")]
    certificate: Annotated[
        str, Field(min_length=1, description="our certificate, signed by the authority that the scheduler trusts")
    ]
    key: Annotated[str, Field(min_length=1, description="its private key")]


class SlurmSection(Section):
    """``[workers.slurm]``: workers as jobs; empty values are Slurm's own, or those of Dask's `jobqueue.yaml`."""

    queue: Annotated[str, Field(description="partition")] = ""
    account: Annotated[str, Field(description="who is charged")] = ""
    walltime: Annotated[str, Field(pattern=r"^(\d+-)?\d+:\d{2}:\d{2}$", description="of a job; a run may take longer")] = (
        "01:00:00"
    )
    per_job: Annotated[int, Field(ge=1, description="workers of each job")] = 1
    directives: Annotated[tuple[str, ...], Field(description="more `#SBATCH` lines, as `--gres=gpu:1`")] = ()
    prologue: Annotated[tuple[str, ...], Field(description="shell lines before the worker, as `module load cuda`")] = ()
    python: Annotated[str, Field(description="interpreter on the nodes; the one that runs this by default")] = ""
    interface: Annotated[str, Field(description="network between nodes and this machine, as `ib0`")] = ""
    local_directory: Annotated[str, Field(description="scratch of the workers, on a disk of the node")] = ""
    logs: Annotated[str, Field(description="shared folder for the jobs' logs; default: `jobs` in the run's folder")] = ""
    encrypt: Annotated[
        bool, Field(description="TLS with certificates of this run alone; others could send your workers code")
    ] = True
    queue_wait: Annotated[Seconds, Field(description="longest wait for the first worker")] = 24 * 3600.0


class WorkersSection(Section):
    """``[workers]``: who computes."""

    kind: Annotated[
        Literal["local", "threads", "slurm"],
        Field(
            description="local: processes here, or those of `address`; threads: of this process alone, with the least memory; "
            "slurm: jobs, see `[workers.slurm]`"
        ),
    ] = "local"
    count: Annotated[int, Field(ge=1, description="workers: processes here, or in jobs; 1 of kind threads")] = 2
    threads: Annotated[int, Field(ge=1, description="threads of each worker; 2 by default of kind threads")] = 1
    memory: Annotated[MemoryAmount, Field(description='memory of each worker; `"auto"`: what the workers of a cluster have')] = (
        2 * 2**30
    )
    address: Annotated[
        str | None, Field(description="address of a running Dask scheduler, instead of local workers; may be `$VARIABLE`")
    ] = None
    wait: Annotated[Seconds, Field(description="longest wait for the first worker at that address")] = 20.0
    device: Annotated[
        Literal["cpu", "cuda", "pool"],
        Field(
            description="cuda: blocks go to workers with the resource GPU; pool: to workers with and without, by measured rates"
        ),
    ] = "cpu"
    tls: Annotated[TlsSection | None, Field(description="certificates for a `tls://` address")] = None
    slurm: Annotated[SlurmSection | None, Field(description="jobs of Slurm")] = None

    @property
    def description(self) -> str:
        """Who computes, in words."""
        if self.kind == "threads":
            return f"{self.threads} threads of one process"
        where = "Slurm" if self.kind == "slurm" else "local"
        return self.address or f"{self.count} {where} workers x {self.threads} threads"

    @model_validator(mode="before")
    @classmethod
    def _as_many_threads_as_processes(cls, given: Any) -> Any:
        """Two threads where there would be two processes."""
        return {"count": 1, "threads": 2, **given} if isinstance(given, dict) and given.get("kind") == "threads" else given

    @model_validator(mode="after")
    def _threads_alone(self) -> WorkersSection:
        if self.kind != "threads":
            return self
        if self.count != 1:
            raise ValueError('kind = "threads" is this process alone; remove count, and set threads to how many shall compute')
        if self.address is not None:
            raise ValueError('kind = "threads" computes in this process, and address names a cluster; remove one of them')
        if self.device != "cpu":
            raise ValueError(f'device = "{self.device}" needs a worker that is a process; set kind = "local"')
        return self

    @model_validator(mode="after")
    def _one_kind(self) -> WorkersSection:
        if self.kind == "slurm" and self.address is not None:
            raise ValueError('kind = "slurm" starts a scheduler of its own, and address names another; remove one of them')
        if self.kind == "slurm" and self.device == "pool":
            raise ValueError('jobs of Slurm are all alike, so they are no pool; use device = "cpu" or "cuda"')
        if self.kind == "slurm" and self.memory == AUTO_MEMORY:
            raise ValueError('a job asks for an amount of memory; give memory, as "4 GiB"')
        if self.kind != "slurm" and self.slurm is not None:
            raise ValueError('[workers.slurm] is there, and kind is not "slurm"; set kind = "slurm", or remove the table')
        if self.tls is not None and self.address is None:
            raise ValueError(
                "[workers.tls] is for the scheduler at workers.address, which is not given; give it, or remove the table"
            )
        return self


class DrawSection(Section):
    """``[full_order.draw]``: a design that is drawn, and kept in the production's folder as ``design.csv``."""

    method: Annotated[Literal["latin-hypercube", "sobol", "factorial"], Field(description="how points are placed")] = "sobol"
    points: Annotated[int, Field(ge=1, le=1_000_000, description="how many; a factorial has its levels instead")] = 16
    seed: Annotated[int, Field(ge=0, lt=2**63, description="seed of the random numbers")] = 0
    ranges: Annotated[dict[str, tuple[float, float]], Field(min_length=1, description="parameter -> smallest and largest value")]
    units: Annotated[dict[str, str], Field(description="parameter -> unit")] = {}  # noqa: RUF012 (pydantic copies it)
    logarithmic: Annotated[tuple[str, ...], Field(description="parameters that are drawn on a logarithmic scale")] = ()
    levels: Annotated[
        Annotated[int, Field(ge=2)] | dict[str, Annotated[int, Field(ge=2)]],
        Field(description="method factorial: values of each parameter, ends included; or a table by parameter"),
    ] = 2

    @model_validator(mode="after")
    def _names_that_are_there(self) -> DrawSection:
        named = {*self.units, *self.logarithmic, *(self.levels if isinstance(self.levels, dict) else ())}
        for name in sorted(named - set(self.ranges)):
            raise ValueError(f"{name!r} has no range; the ranges are of {', '.join(self.ranges)}")
        return self


class FullOrderSection(Section):
    """``[full_order]``: the solver that makes the snapshots, over a design of experiments."""

    solver: Annotated[str, Field(description="calculix, command, or a plug-in")] = "calculix"
    deck: Annotated[str, Field(min_length=1, description="template of the input, with places as in `${speed}`")]
    files: Annotated[tuple[str, ...], Field(description="further inputs, copied beside the deck")] = ()
    design: Annotated[str, Field(description="CSV with one row of parameters per run; or `[full_order.draw]`")] = ""
    folder: Annotated[str, Field(min_length=1, description="folder in which the solver runs")] = "production"
    executable: Annotated[str, Field(description="program, where it is not the solver's usual one")] = ""
    fields: Annotated[tuple[str, ...], Field(description="fields to store; all that the solver writes by default")] = ()
    slots: Annotated[
        Annotated[int, Field(ge=1)] | Literal["auto"], Field(description="solvers at once; auto: as cores allow")
    ] = "auto"
    threads: Annotated[int, Field(ge=1, description="threads of each solver (`OMP_NUM_THREADS`)")] = 1
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False, description="seconds after which a solver is killed")] = 3600.0
    attempts: Annotated[int, Field(ge=1, le=10, description="tries of a point, where another one may help")] = 2
    disk: Annotated[Bytes, Field(description="what one attempt may write")] = 4 * 2**30
    memory: Annotated[
        Annotated[int, BeforeValidator(parse_limit)], Field(description="address space of a solver; no limit by default")
    ] = 0
    keep: Annotated[
        Literal["all", "inputs"], Field(description="inputs: results are removed from the folder once they are in the store")
    ] = "all"
    options: Annotated[dict[str, str], Field(description="settings of the solver's plug-in")] = {}  # noqa: RUF012 (pydantic copies it)
    draw: Annotated[DrawSection | None, Field(description="a design that is drawn")] = None

    @model_validator(mode="after")
    def _one_design(self) -> FullOrderSection:
        if bool(self.design) == (self.draw is not None):
            raise ValueError("there must be one design: a CSV, design = ..., or a table [full_order.draw]")
        return self


class ReportSection(Section):
    """``[report]``: what a person reads afterwards."""

    enabled: Annotated[bool, Field(description="write `report.html`")] = True
    modes: Annotated[int, Field(ge=0, le=24, description="modes that are drawn")] = 6


class Study(Section):
    """A whole study file."""

    study: StudySection
    reduce: ReduceSection = ReduceSection()
    atlas: AtlasSection | None = None
    full_order: FullOrderSection | None = None
    learn: LearnSection | None = None
    mechanics: MechanicsSection | None = None
    uncertainty: UncertaintySection | None = None
    workers: WorkersSection = WorkersSection()
    report: ReportSection = ReportSection()
    operations: OperationsSection = OperationsSection()
    folder: Annotated[Path, Field(exclude=True, description="where relative paths start")] = Path()

    @model_validator(mode="after")
    def _partitions_all(self) -> Study:
        if self.atlas is not None and self.reduce.update != "full":
            raise ValueError(
                f'reduce.update = "{self.reduce.update}" and [atlas] exclude each other: new snapshots change who belongs '
                'together; use update = "full"'
            )
        return self

    @property
    def store_url(self) -> str:
        """The store, with a relative path made absolute."""
        return self.study.store if "://" in self.study.store else str(self.folder / self.study.store)

    @property
    def store_options(self) -> dict[str, str]:
        """The options that are set; a relative folder of references starts at the study's folder."""
        given = {name: value for name, value in self.study.store_options.model_dump().items() if value}
        if "references" in given:
            given["references"] = str(self.folder / given["references"])
        return given

    @property
    def run_folder(self) -> Path:
        """Where the results go."""
        return self.folder / self.study.output / self.study.name


def load_study(path: str | Path) -> Study:
    """Read and check a study file.

    Raises
    ------
    ConfigError
        The file is missing, is not TOML, or has an unknown key or a bad value; the text names the key.
    """
    file = Path(path)
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no study file {file}; write one, or start from the one that `nwidth demo` leaves") from None
    except OSError as error:
        raise ConfigError(f"the study file {file} cannot be read: {error.strerror}; give a TOML file that you may read") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from None
    return check_study(table, folder=file.resolve().parent, label=str(file))


def check_study(table: dict[str, Any], folder: Path = Path(), label: str = "the study") -> Study:
    """Check a study given as a table; errors name `label` and the key."""
    if "folder" in table:  # ours, and not a key of the file
        raise ConfigError(f"{label}: unknown key 'folder'; known: {', '.join(_known_keys([]))}")
    try:
        return Study(**table, folder=folder)
    except ValidationError as error:
        raise ConfigError(f"{label}: {first_problem(error)}") from None


def first_problem(error: ValidationError) -> str:
    """The first thing to mend, in words."""
    # A misspelt key also leaves its right spelling missing: the misspelling is what to report. Of the alternatives of one key,
    # the one that got furthest into the value is the one that was meant.
    problem = min(error.errors(include_url=False), key=lambda found: (found["type"] != "extra_forbidden", -len(found["loc"])))
    place = [str(part) for part in problem["loc"] if str(part) != "str" and "[" not in str(part)]
    key = ".".join(place)
    if problem["type"] == "extra_forbidden":
        nearest = difflib.get_close_matches(place[-1], _known_keys(place[:-1]), n=1, cutoff=0.5)
        return f"unknown key {key!r}" + (
            f"; did you mean {nearest[0]!r}?" if nearest else f"; known: {', '.join(_known_keys(place[:-1]))}"
        )
    if problem["type"] == "missing":
        return f"{key!r} is missing"
    return f"{key} = {problem['input']!r}: {problem['msg'].removeprefix('Value error, ')}"


def _known_keys(place: list[str]) -> list[str]:
    model: Any = Study
    for part in place:
        model = section_of(model.model_fields[part].annotation) if part in model.model_fields else None
        if model is None:
            return []
    return [name for name in model.model_fields if name != "folder"]


def section_of(annotation: Any) -> Any:
    """The section that a key holds, or may hold; None where it holds a value."""
    choices = (annotation, *get_args(annotation))
    return next((choice for choice in choices if isinstance(choice, type) and issubclass(choice, Section)), None)
