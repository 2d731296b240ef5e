"""Designs: names of points, and what the three ways of drawing promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nwidth.errors import ConfigError
from nwidth.fullorder.design import Axis, design_text, draw, keep_design, points_of
from nwidth.stages.parameters import read_parameters

AXES = (Axis("speed", 1.0, 3.0), Axis("peak", 1e-3, 1e3, logarithmic=True, levels=3))


def test_points_are_named_for_folders_and_stores() -> None:
    """A number becomes point-<4 digits>, a name stands for itself, in the order of the rows."""
    points = points_of({"7": {"a": 1.0}, "hot-start": {"a": 2.0}}, "design")
    assert [point.name for point in points] == ["point-0007", "hot-start"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({"1": {"a": 1.0}, "2": {"a": 1.0}}, "rows 1 and 2 have the same parameters"),
        ({"7": {"a": 1.0}, "07": {"a": 2.0}}, "two rows are called point-0007"),
        ({"../up": {"a": 1.0}}, "cannot name a folder"),
        ({".hidden": {"a": 1.0}}, "cannot name a folder"),
        ({"a/b": {"a": 1.0}}, "cannot name a folder"),
    ],
)
def test_rows_that_cannot_be_points_are_refused(rows: dict[str, dict[str, float]], words: str) -> None:
    """The same run twice, two folders of one name, and names that lead out of the folder are refused."""
    with pytest.raises(ConfigError, match=words):
        points_of(rows, "design")


def test_a_latin_hypercube_has_one_point_in_each_stratum() -> None:
    """Along every axis, on its own scale, each of n equal strata holds exactly one of n points."""
    values = draw(AXES, "latin-hypercube", 50, seed=3)
    shares = np.stack([(values[:, 0] - 1) / 2, np.log(values[:, 1] / 1e-3) / np.log(1e6)], axis=1)
    assert (np.sort(np.floor(shares * 50), axis=0) == np.arange(50)[:, None]).all()


def test_sobol_points_are_balanced_and_extend() -> None:
    """Of 16 points each quarter of the square holds four, and the first 5 of 16 are the design of 5."""
    values = draw((Axis("a", 0.0, 1.0), Axis("b", 0.0, 1.0)), "sobol", 16, seed=1)
    quarters = np.floor(values * 2) @ [2, 1]
    assert (np.bincount(quarters.astype(int)) == 4).all()
    assert (draw((Axis("a", 0.0, 1.0), Axis("b", 0.0, 1.0)), "sobol", 5, seed=1) == values[:5]).all()


def test_a_factorial_has_every_combination() -> None:
    """Levels include both ends, on the axis's own scale, and every combination occurs once."""
    values = draw(AXES, "factorial", 1, seed=0)
    assert values == pytest.approx(np.array([[a, b] for a in (1.0, 3.0) for b in (1e-3, 1.0, 1e3)]), rel=1e-14)


@pytest.mark.parametrize("method", ["latin-hypercube", "sobol"])
def test_the_seed_decides(method: str) -> None:
    """The same seed gives the same bits, another one another design."""
    assert (draw(AXES, method, 9, seed=4) == draw(AXES, method, 9, seed=4)).all()
    assert (draw(AXES, method, 9, seed=4) != draw(AXES, method, 9, seed=5)).any()


def test_a_drawn_design_is_read_back_to_the_bit(tmp_path: Path) -> None:
    """What is written as CSV comes back from the reader of parameters with its values and units."""
    values = draw(AXES, "sobol", 8, seed=0)
    keep_design(design_text(AXES, values, {"speed": "rad/s"}), tmp_path / "design.csv")
    table = read_parameters(tmp_path / "design.csv")
    assert [tuple(row.values()) for row in table.rows.values()] == [tuple(row) for row in values.tolist()]
    assert table.units == {"speed": "rad/s", "peak": ""}


def test_a_design_may_grow_and_not_change(tmp_path: Path) -> None:
    """More Sobol' points are appended to the file; another seed is refused, and the file stays."""
    file = tmp_path / "design.csv"
    keep_design(design_text(AXES, draw(AXES, "sobol", 4, 0), {}), file)
    longer = design_text(AXES, draw(AXES, "sobol", 9, 0), {})
    keep_design(longer, file)
    with pytest.raises(ConfigError, match="drawn with other settings"):
        keep_design(design_text(AXES, draw(AXES, "sobol", 9, 1), {}), file)
    assert file.read_text("utf-8") == longer


@pytest.mark.parametrize(
    ("axis", "words"),
    [
        ({"low": 1.0, "high": 1.0}, "the smaller first"),
        ({"low": float("nan"), "high": 1.0}, "two finite numbers"),
        ({"low": 0.0, "high": 1.0, "logarithmic": True}, "start above 0"),
    ],
)
def test_ranges_are_checked(axis: dict[str, float], words: str) -> None:
    """An empty or infinite range, and a logarithmic one that reaches zero, are refused."""
    with pytest.raises(ConfigError, match=words):
        Axis("a", **axis)  # type: ignore[arg-type]


def test_designs_are_bounded_before_they_are_made() -> None:
    """A factorial of a billion points is refused by its count, without memory for it."""
    axes = [Axis(name, 0.0, 1.0, levels=1000) for name in "abc"]
    with pytest.raises(ConfigError, match="1000000000 points"):
        draw(axes, "factorial", 1, 0)
    with pytest.raises(ConfigError, match="no design is drawn by"):
        draw(axes, "grid", 4, 0)
