"""An atlas in a model's folder: arrays under ``atlas/``, words and scalars in the manifest's entry ``atlas``.

atlas/labels                  (snapshot,) cluster of every snapshot
atlas/item_of                 (snapshot,) item of every snapshot          items: simulations, or the snapshots themselves
atlas/item_labels, second     (item,) cluster, and that of the second nearest medoid
atlas/medoids                 (cluster,) items                            atlas/medoid_snapshots (cluster,) snapshots
atlas/dissimilarities         (cluster, item) to the medoids              atlas/silhouettes (item,)
atlas/errors                  (cluster, snapshot) on every local basis    atlas/global_errors (snapshot,)
atlas/transitions             (mode, mode_) of all clusters side by side  atlas/switch_losses (cluster, cluster_)
atlas/gain/<column>           (candidate[, rank]) what was tried
atlas/widths/<curve>          ([cluster,] rank)
bases/cluster-<k>/members     (member,) the snapshots that coefficients and certificate of a local basis are of
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from nwidth.errors import LayoutError, StoreError
from nwidth.models.atlas import Atlas, GainMap, WidthCurves, cluster_name
from nwidth.models.basis import Basis

FOLDER = "atlas"

ARRAYS: dict[str, tuple[str, ...]] = {
    "item_of": ("snapshot",),
    "labels": ("snapshot",),
    "item_labels": ("item",),
    "second": ("item",),
    "medoids": ("cluster",),
    "medoid_snapshots": ("cluster",),
    "dissimilarities": ("cluster", "item"),
    "silhouettes": ("item",),
    "errors": ("cluster", "snapshot"),
    "global_errors": ("snapshot",),
    "ranks": ("cluster",),
    "transitions": ("mode", "mode_"),
    "switch_losses": ("cluster", "cluster_"),
}
WORDS = ("of", "dissimilarity", "reading", "method", "loss", "pays", "reason")
GAIN_ROWS = ("clusters", "smallest", "loss", "silhouette", "accuracy")
GAIN_WORDS = ("dissimilarities", "held_out", "accuracy_of", "floor")
WIDTHS: dict[str, tuple[str, ...]] = dict.fromkeys(("ranks", "pod", "greedy", "lower"), ("rank",))
WIDTHS |= {"parts_upper": ("cluster", "rank"), "parts_lower": ("cluster", "rank")}


def write_atlas(model: Path, atlas: Atlas) -> dict[str, Any]:
    """Write the arrays of an atlas whose bases are in place; the manifest's entry is returned."""
    import zarr

    group = zarr.open_group(str(model / FOLDER), mode="w")
    for name, dims in ARRAYS.items():
        _write(group, name, getattr(atlas, name), dims)
    gain = group.create_group("gain")
    for name in _gain_arrays():
        dims = ("rank",) if name == "ranks" else ("candidate",) if name in GAIN_ROWS else ("candidate", "rank")
        _write(gain, name, getattr(atlas.gain, name), dims)
    widths = group.create_group("widths")
    for name, dims in WIDTHS.items():
        _write(widths, name, getattr(atlas.widths, name), dims)
    for cluster in range(atlas.count):
        basis = zarr.open_group(str(model / "bases" / cluster_name(cluster)), mode="a")
        _write(basis, "members", atlas.members(cluster), ("member",))
    return atlas.summary() | {
        "items": list(atlas.items),
        "gain": {
            "dissimilarities": list(atlas.gain.dissimilarities),
            "held_out": atlas.gain.held_out,
            "accuracy_of": atlas.gain.accuracy_of,
            "floor": atlas.gain.floor,
        },
        "widths": {"sample": atlas.widths.sample},
    }


def read_atlas(model: Path, manifest: Mapping[str, Any], bases: Mapping[str, Basis]) -> Atlas:
    """The atlas of a model.

    Raises
    ------
    StoreError
        The model has none.
    LayoutError
        An array of it is missing or does not fit.
    """
    import zarr

    entry = manifest.get(FOLDER)
    if entry is None:
        raise StoreError(f"{model} holds no atlas; run its study with a table [atlas]")
    try:
        group: Any = zarr.open_group(str(model / FOLDER), mode="r")
        gain: dict[str, Any] = {name: np.asarray(group["gain"][name][...]) for name in _gain_arrays()}
        gain |= {"dissimilarities": tuple(entry["gain"]["dissimilarities"])}
        gain |= {name: str(entry["gain"][name]) for name in ("held_out", "accuracy_of")}
        gain["floor"] = float(entry["gain"].get("floor", 0.0))  # models that were written before there was one
        widths = {name: np.asarray(group["widths"][name][...]) for name in WIDTHS}
        arrays: dict[str, Any] = {name: np.asarray(group[name][...]) for name in ARRAYS}
        words: dict[str, Any] = {name: entry[name] for name in WORDS}
        found = Atlas(
            **words,
            **arrays,
            items=tuple(entry["items"]),
            gain=GainMap(**gain),
            widths=WidthCurves(**widths, sample=int(entry["widths"]["sample"])),
            notes=tuple(entry["notes"]),
            bases=bases,
        )
    except (KeyError, OSError, ValueError) as error:
        raise LayoutError(f"the atlas of {model} is damaged ({error}); run the study again, or restore it from a copy") from None
    if found.labels.shape != found.global_errors.shape or found.errors.shape != (found.count, len(found.labels)):
        raise LayoutError(
            f"the atlas of {model} is damaged (shapes do not match); run the study again, or restore it from a copy"
        )
    return found


def _gain_arrays() -> tuple[str, ...]:
    return tuple(field.name for field in fields(GainMap) if field.name not in GAIN_WORDS)


def _write(group: Any, name: str, values: Any, dims: tuple[str, ...]) -> None:
    data = np.asarray(values)
    # An empty array has no chunk to hold: a map of nothing that was tried.
    chunks = tuple(max(1, size) for size in data.shape)
    array = group.create_array(
        name, shape=data.shape, dtype=data.dtype, chunks=chunks, dimension_names=dims, compressors=None, overwrite=True
    )
    array[...] = data
