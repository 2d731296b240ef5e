"""Draw ``docs/images/overview.png`` from the results of ``make demo``:  python docs/_scripts/overview_picture.py demo

snapshots of two runs  |  spectrum with its floor
first modes            |  measured error of every snapshot
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

import nwidth as nw

FIELD = "temperature_rise"
PICTURE = Path(__file__).resolve().parents[1] / "images" / "overview.png"


def main(demo: Path) -> None:
    """Draw the picture from the demo in the folder `demo`."""
    snapshots = nw.open_snapshots(demo / "plate.icechunk")[FIELD]
    model = nw.open_model(demo / "results" / "plate")
    corners = model.mesh.points[model.mesh.connectivity.reshape(-1, 4)][:, :, :2]
    cells = model.mesh.connectivity.reshape(-1, 4)
    figure = Figure(figsize=(11, 3.9), layout="constrained", dpi=120)
    halves: Any = figure.subfigures(1, 2, width_ratios=(1.75, 1))
    left, right = halves
    axes = left.subplots(2, 3)
    for axis, number in zip(axes[0], (7, 116, 223), strict=True):
        draw(axis, corners, snapshots[number].values[cells].mean(axis=1), "inferno")
        axis.set_title(f"snapshot {number}", fontsize=9)
    for number, axis in enumerate(axes[1]):
        values = model.basis.modes[number].values[cells].mean(axis=1)
        draw(axis, corners, values, "RdBu_r", limit=float(np.abs(values).max()))
        axis.set_title(f"mode {number + 1}", fontsize=9)
    left.suptitle(f"{snapshots.shape[0]} snapshots of {snapshots.shape[1]} unknowns   →   {model.basis.rank} modes", fontsize=11)
    upper, lower = right.subplots(2, 1)
    spectrum(upper, model.basis)
    errors(lower, model.basis, model.manifest["reduce"]["rtol"])
    figure.savefig(PICTURE)


def draw(axes: Any, corners: Any, values: Any, colours: str, limit: float | None = None) -> None:
    """One field, a colour for each cell."""
    cells = PolyCollection(corners, array=values, cmap=colours, linewidths=0, antialiased=False)
    if limit is not None:
        cells.set_clim(-limit, limit)
    axes.add_collection(cells)
    axes.autoscale()
    axes.set_aspect("equal")
    axes.set_axis_off()


def spectrum(axes: Any, basis: nw.Basis) -> None:
    """Singular values, the floor of the route, and the rank."""
    values = basis.spectrum.singular_values
    axes.semilogy(np.arange(1, len(values) + 1), values, ".", ms=3, color="#1f5f99")
    axes.axhspan(values[values > 0].min() / 3, basis.spectrum.floor, color="#999999", alpha=0.3, lw=0)
    axes.axvline(basis.rank, color="#c4541a", lw=1)
    axes.annotate("not trustworthy", (0.02, 0.06), xycoords="axes fraction", fontsize=8, color="#555555")
    axes.annotate(f" {basis.rank} modes", (basis.rank, values[0]), fontsize=8, color="#c4541a", va="top")
    axes.set_title(f"singular values, and the floor of the {basis.spectrum.route.capitalize()} route", fontsize=9)
    axes.tick_params(labelsize=8, which="both")


def errors(axes: Any, basis: nw.Basis, rtol: float) -> None:
    """The certificate: the measured error of every snapshot."""
    certificate = basis.certificate
    axes.semilogy(certificate.relative_errors, ".", ms=2.5, color="#1f5f99")
    axes.axhline(rtol, color="#c4541a", lw=1)
    axes.plot(certificate.worst_snapshot, certificate.worst_error, "o", mfc="none", color="#c4541a", ms=8)
    axes.set_title(f"measured errors: all {certificate.frobenius_error:.2e}, worst {certificate.worst_error:.2e}", fontsize=9)
    axes.set_xlabel("snapshot", fontsize=8)
    axes.tick_params(labelsize=8, which="both")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
