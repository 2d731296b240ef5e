"""The arrows between the rooms as data: which module may import what, and the reading of imports that the rules need.

    kernels   <-   graphs    <-   readers, stores, stages, runs   <-   cli, dashboards, workflows

ARCHITECTURE.md draws the same picture for people.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.repository import REPOSITORY

ROOTS = (REPOSITORY / "graphs", REPOSITORY / "pipeline")
STANDARD_LIBRARY = tuple(sys.stdlib_module_names)

PEOPLE = ("nwidth.cli", "nwidth.dashboards", "nwidth.workflows")
DASK_TASKS = (
    "dask.task_spec",
    "dask._task_spec",
    "dask.highlevelgraph",
    "dask.delayed",
    "dask.blockwise",
    "dask.base.DaskMethodsMixin",
)
STORES = ("zarr", "xarray", "icechunk", "obstore", "h5py", "netCDF4", "pyvista")
SERVICES = ("pydantic", "typer", "rich", "distributed")
# cupyx.scipy is SciPy's twin for arrays that lie on a GPU already; imported elsewhere it would fail wherever there is none.
ARRAY_LIBRARIES = ("numpy", "scipy", "cupyx.scipy", "array_api_compat", "array_api_extra")
PROTOCOL_ONLY = "stores know of readers only what their protocol says"
PICKLES = ("pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal")
COPYLEFT = ("foamlib", "fluidfoam", "ccx2paraview", "eofs", "flowtorch", "gmsh", "PyQt5", "PyQt6", "frisky", "kmedoids")


def within(name: str, parents: tuple[str, ...]) -> bool:
    """Whether the dotted `name` is one of `parents` or below one."""
    return any(name == parent or name.startswith(parent + ".") for parent in parents)


@dataclass(frozen=True)
class Rule:
    """What the modules of one room may import. Every name stands for itself and all below it."""

    room: str
    reason: str
    allowed: tuple[str, ...] | None = None
    """Where given, nothing else may be imported."""
    forbidden: tuple[str, ...] = ()
    but: tuple[str, ...] = ()
    """Imports that are meant although `forbidden` names their parent."""
    exempt: tuple[str, ...] = ()
    """Modules of the room that are outside the rule."""

    def refuses(self, module: str, imported: str) -> bool:
        """Whether `module` importing `imported` breaks this rule."""
        if not within(module, (self.room,)) or within(module, self.exempt):
            return False
        if within(imported, self.forbidden) and not within(imported, self.but):
            return True
        return self.allowed is not None and not within(imported, self.allowed)


PIPELINE_ROOMS = (
    "nwidth.api",
    "nwidth.atlas",
    "nwidth.clusters",
    "nwidth.config",
    "nwidth.demo",
    "nwidth.fullorder",
    "nwidth.inner_products",
    "nwidth.learning",
    "nwidth.mechanics",
    "nwidth.models",
    "nwidth.operations",
    "nwidth.plots",
    "nwidth.report",
    "nwidth.runs",
    "nwidth.showing",
    "nwidth.sources",
    "nwidth.sparse_products",
    "nwidth.stages",
    "nwidth.stores",
    "nwidth.uncertainty",
    "nwidth.updating",
    "nwidth.workers",
    *PEOPLE,
)


def pipeline_room(room: str, *allowed: str, reason: str) -> Rule:
    """A room of `nwidth` that may import, of `nwidth` itself, only itself and `allowed`; other packages are not its concern."""
    others = tuple(name for name in PIPELINE_ROOMS if not within(name, (room, *allowed)) and not within(room, (name,)))
    return Rule(room, reason, forbidden=others)


RULES = (
    Rule(
        "nwidth_graphs.kernels",
        "kernels are pure array functions: NumPy, SciPy, array-API helpers and the standard library",
        allowed=(*STANDARD_LIBRARY, *ARRAY_LIBRARIES, "nwidth_graphs.kernels"),
    ),
    Rule(
        "nwidth_graphs",
        "graphs know no store, no configuration and no people",
        forbidden=("nwidth", *STORES, *SERVICES),
    ),
    *(
        Rule(
            root,
            "trees.py is the only file that knows how Dask tasks are made",
            forbidden=DASK_TASKS,
            exempt=("nwidth_graphs.trees",),
        )
        for root in ("nwidth_graphs", "nwidth")
    ),
    Rule("nwidth.errors", "the error tree stands on nothing", forbidden=("nwidth", "nwidth_graphs")),
    pipeline_room("nwidth.mesh", reason="a mesh is plain arrays"),
    pipeline_room("nwidth.config", reason="the configuration is read before anything is opened"),
    pipeline_room(
        "nwidth.clusters",
        "nwidth.config",
        "nwidth.workers",
        reason="a cluster is brought up and judged, and knows no study's work",
    ),
    pipeline_room("nwidth.readers", reason="readers know solver files, not stores nor stages"),
    pipeline_room("nwidth.fullorder", reason="solvers write files, and know of readers how to open them; stages store them"),
    pipeline_room("nwidth.stores", reason=PROTOCOL_ONLY),
    Rule("nwidth.stores", PROTOCOL_ONLY, forbidden=("nwidth.readers",), but=("nwidth.readers.protocol",)),
    pipeline_room("nwidth.models", "nwidth.showing", reason="a finished model does not know how it was made"),
    pipeline_room("nwidth.operations", "nwidth.config", reason="what operators see is told to it: it knows no work"),
    pipeline_room(
        "nwidth.report",
        "nwidth.mechanics",
        "nwidth.models",
        "nwidth.showing",
        "nwidth.uncertainty",
        reason="a report shows what is finished",
    ),
    pipeline_room(
        "nwidth.showing",
        "nwidth.mechanics",
        "nwidth.models",
        "nwidth.report",
        "nwidth.runs",
        "nwidth.uncertainty",
        reason="what notebooks show is words",
    ),
    pipeline_room("nwidth.plots", "nwidth.report", reason="plots are the report's, one by one"),
    pipeline_room("nwidth.learning", "nwidth.models", reason="learning runs on what a model keeps, and reads no store"),
    pipeline_room(
        "nwidth.uncertainty",
        "nwidth.models",
        "nwidth.showing",
        "nwidth.workers",
        reason="Monte Carlo asks models on workers, and knows no study",
    ),
    Rule(
        "nwidth.mechanics",
        "reduced mechanics stand on models and stages, and know no run",
        forbidden=(*PEOPLE, "nwidth.api", "nwidth.atlas", "nwidth.demo", "nwidth.runs", "nwidth.report", "nwidth.updating"),
    ),
    Rule(
        "nwidth.stages",
        "stages do not know who asked for them",
        forbidden=(*PEOPLE, "nwidth.api", "nwidth.atlas", "nwidth.demo", "nwidth.updating"),
    ),
    Rule(
        "nwidth.runs", "runs do not know who asked for them", forbidden=(*PEOPLE, "nwidth.api", "nwidth.demo", "nwidth.updating")
    ),
    Rule("nwidth", "nothing stands on what people touch", forbidden=PEOPLE, exempt=(*PEOPLE, "nwidth.__main__", "nwidth.demo")),
    *(Rule(root, "no pickle is ever loaded", forbidden=PICKLES) for root in ("nwidth_graphs", "nwidth")),
    *(Rule(root, "the licence of these does not suit a BSD package", forbidden=COPYLEFT) for root in ("nwidth_graphs", "nwidth")),
)


def module_name(path: Path) -> str:
    """The dotted name under which a source file is imported."""
    root = next(root for root in ROOTS if path.is_relative_to(root))
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Every (line, dotted name) that `source` imports, wherever it stands; relative names made absolute.

    ``from a import b`` gives ``a.b``, because `b` may be a module; ``dask.delayed`` used as an attribute counts as an import.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "dask":
            yield node.lineno, f"dask.{node.attr}"


def violations(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """One sentence for every import of `source` that a rule refuses."""
    package = module if is_package else module.rpartition(".")[0]
    return [
        f"{module}, line {line}, imports {imported}: {rule.reason}"
        for line, imported in imports(source, package)
        for rule in RULES
        if rule.refuses(module, imported)
    ]


def sources() -> list[Path]:
    """Every Python file of the two packages."""
    return sorted(path for root in ROOTS for path in root.rglob("*.py"))
