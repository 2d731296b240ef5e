"""Pictures of meshes: from the right side, with the right faces, and also where PyVista cannot draw."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nwidth.mesh import Mesh, mesh_from_cells
from nwidth.report import write_report
from nwidth.report.scene import Painting, Rendered, Scene, paint
from nwidth.report.surface import best_view, dimension, visible_faces
from tests.report.samples import blade_strain, plate, twisted_beam, write_run


def cube() -> Mesh:
    """Two hexahedra, one on the other."""
    points = np.array([[x, y, z] for z in range(3) for y in range(2) for x in range(2)], float)
    return mesh_from_cells(points, [(12, [[0, 1, 3, 2, 4, 5, 7, 6], [4, 5, 7, 6, 8, 9, 11, 10]])], "m")


def tetrahedra() -> Mesh:
    """A cube cut into five tetrahedra."""
    points = np.array([[x, y, z] for z in range(2) for y in range(2) for x in range(2)], float)
    return mesh_from_cells(points, [(10, [[0, 1, 2, 4], [3, 2, 1, 7], [5, 4, 7, 1], [6, 7, 4, 2], [1, 2, 4, 7]])])


def pixels(data: bytes) -> np.ndarray[Any, Any]:
    """A PNG as (height, width, 4) numbers in 0..1."""
    import matplotlib.image

    return np.asarray(matplotlib.image.imread(io.BytesIO(data), format="png"))


def test_only_outer_faces_are_visible() -> None:
    """Two stacked hexahedra show ten quadrilaterals of area one, five tetrahedra in a cube twelve triangles of area a half."""
    assert len(visible_faces(cube()).corners) == 10
    assert np.bincount(visible_faces(cube()).cell).tolist() == [5, 5]
    faces = visible_faces(tetrahedra())
    assert len(faces.corners) == 12
    corners = tetrahedra().points[faces.corners]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    np.testing.assert_allclose(area.sum(), 6.0, rtol=1e-14)


@pytest.mark.parametrize("normal", [0, 1, 2])
def test_plane_meshes_are_seen_face_on(normal: int) -> None:
    """A square in any coordinate plane fills its frame, without any depth."""
    flat = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
    points = np.insert(flat, normal, 0.25, axis=1)
    mesh = mesh_from_cells(points, [(9, [[0, 1, 2, 3]])])
    view = best_view(mesh.points)
    assert dimension(mesh) == 2
    picture, depth = view.project(mesh.points)
    np.testing.assert_allclose(np.ptp(picture, axis=0), 1.0, rtol=1e-14)
    np.testing.assert_allclose(depth, 0.0, atol=1e-15)
    # The first coordinate grows to the right, as on paper.
    assert picture[1, 0] > picture[0, 0]


def test_the_camera_frames_the_body() -> None:
    """Camera axes are orthonormal and right-handed, and every point lies inside the frame and touches it nearly."""
    points, _ = twisted_beam()
    view = best_view(points)
    axes = np.stack([view.right, view.up, view.towards_eye])
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-15)
    assert np.linalg.det(axes) > 0
    flat, _ = view.project(points)
    np.testing.assert_allclose(np.abs(flat).max(axis=0) * 1.03, [view.half_width, view.half_height], rtol=1e-12)


@pytest.mark.parametrize("on", ["point", "cell"])
def test_fallback_paints_the_values(on: Any) -> None:
    """matplotlib's picture has transparent ground, and the upper cell of two has the colour of the larger value."""
    mesh = cube()
    values = mesh.points[:, 2] if on == "point" else np.array([0.0, 2.0])
    image = pixels(paint(mesh, Painting(values, on, 0.0, 2.0, "gray"), best_view(mesh.points), 200))
    assert image[0, 0, 3] == 0
    opaque = np.flatnonzero(image[..., 3].min(axis=1) < 2)
    column = image[:, image.shape[1] // 2]
    shown = column[column[:, 3] > 0.9]
    assert opaque.size
    assert shown[: len(shown) // 3, 0].mean() > shown[-len(shown) // 3 :, 0].mean() + 0.2


def test_clouds_and_lines_are_painted() -> None:
    """Points without cells, and cells that are lines, give a picture as well."""
    points = np.random.default_rng(3).random((50, 3))
    cloud, wire = Mesh(points), mesh_from_cells(points, [(3, np.stack([np.arange(49), np.arange(1, 50)], 1))])
    assert (dimension(cloud), dimension(wire)) == (0, 1)
    for mesh, painting in (
        (cloud, Painting(points[:, 0], "point", 0.0, 1.0, "viridis")),
        (wire, Painting(np.arange(49.0), "cell", 0.0, 48.0, "viridis")),
    ):
        assert pixels(paint(mesh, painting, best_view(points), 120))[..., 3].max() == 1


def render(folder: Path, timeout: float = 120.0) -> Rendered:
    """One picture of the two hexahedra."""
    scene = Scene(cube(), folder)
    scene.add(Painting(cube().points[:, 2], "point", 0.0, 2.0, "viridis"))
    return scene.render(timeout)


def stub_pyvista(monkeypatch: pytest.MonkeyPatch, folder: Path, program: str) -> None:
    """Put another pyvista before the real one, for the second process."""
    (folder / "pyvista.py").write_text(program, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))


def test_pyvista_draws_where_it_can(tmp_path: Path) -> None:
    """With a working PyVista the picture is its own, has a transparent ground, and shows the colours of both ends."""
    pytest.importorskip("pyvista")
    rendered = render(tmp_path)
    if rendered.remark:
        pytest.skip(f"no off-screen rendering here: {rendered.remark}")
    image = pixels(rendered.pictures[0])
    assert image[0, 0, 3] == 0
    opaque = image[image[..., 3] > 0.99]
    # viridis runs from violet (little green) to yellow (much green).
    assert opaque[:, 1].min() < 0.15
    assert opaque[:, 1].max() > 0.7


@pytest.mark.parametrize(
    ("program", "timeout", "reason"),
    [
        ("raise ImportError('No module named pyvista')", 60.0, "No module named pyvista"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 60.0, "crashed with SIGSEGV"),
        ("import time; time.sleep(60)", 2.0, "longer than 2 s"),
        ("raise SystemExit(0)", 60.0, "left pictures out"),
    ],
    ids=["missing", "crash", "hang", "nothing drawn"],
)
def test_without_pyvista_matplotlib_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, timeout: float, reason: str
) -> None:
    """A PyVista that is missing, crashes, hangs or draws nothing is replaced, and the remark says what happened."""
    stub_pyvista(monkeypatch, tmp_path, program)
    (tmp_path / "job").mkdir()
    rendered = render(tmp_path / "job", timeout)
    assert reason in rendered.remark
    assert "matplotlib" in rendered.remark
    assert pixels(rendered.pictures[0])[..., 3].max() == 1


def test_a_report_without_pyvista_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report of a run on a mesh is complete without PyVista, with a sentence on how its pictures were drawn."""
    stub_pyvista(monkeypatch, tmp_path, "raise ImportError('broken here')")
    (tmp_path / "run").mkdir()
    text = write_report(write_run(tmp_path / "run", plate()), n_modes=2).read_text("utf-8")
    assert "broken here" in text
    assert text.count("data:image/png") == 3


def test_integration_points_are_averaged_over_their_cells(tmp_path: Path) -> None:
    """Values at integration points are drawn as the mean of each cell, in whatever order the points are stored."""
    from nwidth.report.pictures import cell_means

    owner = np.array([2, 0, 2, 0, 1])
    np.testing.assert_array_equal(cell_means(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), owner, 4), [3.0, 5.0, 2.0, np.nan])
    text = write_report(write_run(tmp_path, blade_strain()), n_modes=1).read_text("utf-8")
    assert "averaged over each cell" in text
    assert "are assumed" not in text
