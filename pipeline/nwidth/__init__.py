"""nwidth: certified model reduction of simulation snapshots larger than memory.

>>> import nwidth as nw
>>> snapshots = nw.open_snapshots("blade.icechunk")["displacement"]  # doctest: +SKIP
>>> basis = nw.pod(snapshots, rtol=1e-4, inner_product="mass")  # doctest: +SKIP

Names are imported when they are first used, so that ``import nwidth`` and ``nwidth --help`` stay light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Atlas": "nwidth.models.atlas",
    "Basis": "nwidth.models.basis",
    "Certificate": "nwidth.models.certificate",
    "add_inner_product": "nwidth.sparse_products",
    "dashboard": "nwidth.dashboards",
    "drop": "nwidth.updating",
    "ingest": "nwidth.stages.ingest",
    "keep_enriched": "nwidth.mechanics.adaptive_keeping",
    "learn": "nwidth.learning.training",
    "load_study": "nwidth.config",
    "merge": "nwidth.updating",
    "monte_carlo": "nwidth.uncertainty.api",
    "open_ensemble": "nwidth.uncertainty.ensemble",
    "open_mechanics": "nwidth.mechanics.model",
    "open_model": "nwidth.models.model",
    "open_snapshots": "nwidth.stores",
    "open_store": "nwidth.stores",
    "partition": "nwidth.atlas",
    "plan": "nwidth.runs",
    "plots": "nwidth.plots",
    "pod": "nwidth.api",
    "produce": "nwidth.runs.producing",
    "run": "nwidth.runs",
    "solve_adaptively": "nwidth.mechanics.adaptive",
    "train_mechanics": "nwidth.mechanics.train",
    "update": "nwidth.updating",
}

__all__ = ["__version__", *_HOMES]

if TYPE_CHECKING:
    from nwidth import plots as plots
    from nwidth.api import pod as pod
    from nwidth.atlas import partition as partition
    from nwidth.config import load_study as load_study
    from nwidth.learning.training import learn as learn
    from nwidth.mechanics.adaptive import solve_adaptively as solve_adaptively
    from nwidth.mechanics.adaptive_keeping import keep_enriched as keep_enriched
    from nwidth.mechanics.model import open_mechanics as open_mechanics
    from nwidth.mechanics.train import train_mechanics as train_mechanics
    from nwidth.models.atlas import Atlas as Atlas
    from nwidth.models.basis import Basis as Basis
    from nwidth.models.certificate import Certificate as Certificate
    from nwidth.sparse_products import add_inner_product as add_inner_product
    from nwidth.uncertainty.api import monte_carlo as monte_carlo
    from nwidth.uncertainty.ensemble import open_ensemble as open_ensemble
    from nwidth.updating import drop as drop
    from nwidth.updating import merge as merge
    from nwidth.updating import update as update


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nwidth' has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}")
    home = import_module(_HOMES[name])
    # A home of that very name is what is asked for: ``nw.plots``.
    return home if home.__name__ == f"{__name__}.{name}" else getattr(home, name)


def __dir__() -> list[str]:
    return sorted(__all__)
