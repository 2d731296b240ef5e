"""Plots for notebooks, ``nw.plots``: the figures of the report, one by one. Each returns a Matplotlib figure of its own.

    of a basis       spectrum  energy  projection_error  error_curves  snapshot_errors  coefficients_in_time
                     coefficients_by_parameter
    of an atlas      partition  medoids  silhouette  errors  transitions  spectra  widths  comparison  loss_curve
                     gain_map
    of a comparison  comparison  loss_curve  gain_map
    of what a model has learnt  confusion

Nothing is shown and no global state of pyplot is touched: a notebook shows the figure that a cell returns,
``figure.savefig("gain.png")`` keeps it.
"""

from nwidth.report.atlas.choices import comparison, gain_map, loss_curve
from nwidth.report.atlas.clusters import confusion, errors, partition, silhouette, transitions
from nwidth.report.atlas.medoids import medoids
from nwidth.report.atlas.widths import spectra, widths
from nwidth.report.figures import (
    coefficients_by_parameter,
    coefficients_in_time,
    energy,
    error_curves,
    projection_error,
    snapshot_errors,
    spectrum,
)

__all__ = [
    "coefficients_by_parameter",
    "coefficients_in_time",
    "comparison",
    "confusion",
    "energy",
    "error_curves",
    "errors",
    "gain_map",
    "loss_curve",
    "medoids",
    "partition",
    "projection_error",
    "silhouette",
    "snapshot_errors",
    "spectra",
    "spectrum",
    "transitions",
    "widths",
]
