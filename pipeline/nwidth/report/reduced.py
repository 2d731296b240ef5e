"""Reduced mechanics in the report: what each body is worth, where its points lie, how its indicator was calibrated.

Figures are functions of a `ReducedBody`; `mechanics_section` puts them, body by body, into markup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nwidth.report import words
from nwidth.report.markup import Html, figure, join, table, tag
from nwidth.report.styling import BLUE, INK, ORANGE, SHADE, WIDTH, Plot, inline_svg, plain, styled
from nwidth.report.surface import best_view

if TYPE_CHECKING:
    from nwidth.mechanics.body import ReducedBody
    from nwidth.mechanics.files import ReducedMechanics
    from nwidth.mesh import Mesh
    from nwidth_graphs.kernels.indicator import Calibration

Floats = NDArray[np.float64]

MOST_NODES = 4000
"""Of the mesh behind the points: more are a grey cloud all the same."""
LARGEST_DOT = 120.0
"""Square points of paper of the largest weight."""


def mechanics_section(mechanics: ReducedMechanics, mesh: Mesh | None) -> Html:
    """All bodies: a table, notes, and for each its points on the mesh and its calibration."""
    parts: list[Html] = [_overview(mechanics), _duals(mechanics), _unseen(mechanics)]
    parts += [tag("p", note, class_="note") for note in mechanics.notes]
    for number, body in enumerate(mechanics.bodies):
        if len(mechanics.bodies) > 1:
            parts.append(tag("h3", f"Body of cluster {number}"))
        parts += _pictures(body, mesh, f"r{number}")
    return join(parts)


def _overview(mechanics: ReducedMechanics) -> Html:
    rows = [
        (
            str(number),
            words.number(body.rank),
            words.number(body.rule.points),
            words.number(len(body.points)),
            words.error(body.rule.training, 2),
            "–" if body.rule.held_out is None else words.error(body.rule.held_out, 2),
            words.number(body.rule.volume_ratio, 3),
            "tolerance met" if body.rule.ended == "tolerance" else f"ended by {body.rule.ended}",
        )
        for number, body in enumerate(mechanics.bodies)
    ]
    head = ("body", "modes", "points of the rule", "with those of dual fields", "error, training", "held out", "volume", "search")
    shared = ": the same points for all bodies, weights of each body's own" if mechanics.shared_points else ""
    return table(f"Cubature of {mechanics.case}{shared}", head, rows, numeric=range(1, 7))


def _duals(mechanics: ReducedMechanics) -> Html:
    rows = [
        (
            str(number),
            dual.name,
            dual.variable,
            words.number(dual.masked.modes),
            words.number(len(dual.places)),
            words.number(dual.masked.amplification, 3),
        )
        for number, body in enumerate(mechanics.bodies)
        for dual in body.duals
    ]
    if not rows:
        return Html("")
    head = ("body", "field", "of the law", "modes", "values in the mask", "errors grow at most")
    return table("Dual fields, reconstructed from the points", head, rows, numeric=range(3, 6))


def _unseen(mechanics: ReducedMechanics) -> Html:
    """Errors of every body on what was held out; nothing where nothing was."""
    rows = [
        (str(number), field, words.number(len(of)), words.number(len(of) - np.isfinite(of).sum()), *_middle_and_largest(of))
        for number, body in enumerate(mechanics.bodies)
        if body.unseen is not None
        for field, of in zip(body.unseen.fields, body.unseen.errors.T, strict=True)
    ]
    if not rows:
        return Html("")
    head = ("body", "field", "simulations", "of which failed", "relative error, median", "largest")
    return table(
        "Simulations that were held out, solved by bodies that have seen nothing of them", head, rows, numeric=range(2, 6)
    )


def _middle_and_largest(errors: Floats) -> tuple[str, str]:
    known = errors[np.isfinite(errors)]
    return (words.error(float(np.median(known)), 2), words.error(float(known.max()), 2)) if known.size else ("–", "–")


def _pictures(body: ReducedBody, mesh: Mesh | None, prefix: str) -> list[Html]:
    found = []
    if mesh is not None and len(mesh.points):
        drawn = inline_svg(points_on_mesh(body, mesh), f"{len(body.points)} points of the body on the mesh.", f"{prefix}p")
        caption = (
            "Points of the cubature, as large as their weight; orange: points of weight 0, at which dual fields are evaluated."
        )
        found.append(figure(Html(drawn), caption))
    if body.calibration is not None:
        plot = calibration_plot(body.calibration, body.indicating)
        drawn = inline_svg(plot, f"True error of {body.indicating} against the residual of its reconstruction.", f"{prefix}c")
        caption = (
            f"Indicator of {body.indicating}: training runs repeated with all modes and with fewer. The upper line is what the "
            f"indicator says; correlation {body.calibration.correlation:.3f}."
        )
        found.append(figure(Html(drawn), caption))
    return found


@styled
def points_on_mesh(body: ReducedBody, mesh: Mesh) -> Plot:
    """The body's points in the view that the report has of the mesh, its nodes behind them."""
    view = best_view(mesh.points)
    nodes, _ = view.project(mesh.points[:: -(-len(mesh.points) // MOST_NODES)])
    places, _ = view.project(positions(body))
    height = float(np.clip(0.6 * WIDTH * view.half_height / view.half_width, 1.5, 5.0))
    plot = Plot(figsize=(0.6 * WIDTH, height), layout="constrained")
    axes = plot.subplots()
    axes.plot(nodes[:, 0], nodes[:, 1], ".", ms=3.0 if len(nodes) < 500 else 1.5, color=SHADE, rasterized=True)
    weighted = body.weights > 0
    sizes = LARGEST_DOT * body.weights[weighted] / body.weights.max()
    axes.scatter(places[weighted, 0], places[weighted, 1], s=sizes, color=BLUE, alpha=0.6, linewidths=0)
    axes.plot(places[~weighted, 0], places[~weighted, 1], "o", ms=3, color=ORANGE)
    axes.set_aspect("equal")
    axes.axis("off")
    return plot


def positions(body: ReducedBody) -> Floats:
    """(n, 3) where the body's points lie."""
    return body.interpolation(body.interpolation.nodes.T).T


@styled
def calibration_plot(calibration: Calibration, field: str) -> Plot:
    """Pairs of residual and true error, both logarithmic, with the fitted mean and the upper estimate."""
    plot = Plot(figsize=(0.6 * WIDTH, 3.0), layout="constrained")
    axes = plot.subplots()
    axes.loglog(calibration.residuals, calibration.errors, ".", ms=4, color=BLUE, alpha=0.6, label="training steps")
    along = np.geomspace(calibration.residuals[0], calibration.residuals[-1], 100)
    estimate = calibration.evaluate(along)
    axes.loglog(along, estimate.mean, color=INK, lw=1.0, label="fit")
    axes.loglog(along, estimate.upper, color=ORANGE, label="indicator")
    axes.set_xlabel("residual of the reconstruction")
    axes.set_ylabel(f"relative error of {plain(field)}")
    axes.legend()
    return plot
