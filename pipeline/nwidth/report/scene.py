"""Fields on a mesh as PNG pictures: drawn by PyVista off-screen in a process of its own, by matplotlib where that fails.

    scene = Scene(mesh, folder)        folder: an empty one, for the job; values go to disk as they come
    number = scene.add(painting)
    scene.start()                      optional: PyVista draws while the caller does something else, and `close` stops it
    scene.render() -> Rendered         pictures in the order of `add`, and a remark where PyVista could not draw

VTK ends its whole process where OpenGL is missing or broken, and no ``except`` sees that: hence the second process, with a
time limit. The pictures have no text and a transparent ground: titles and colour bars are the page's.
"""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from nwidth.mesh import Mesh
from nwidth.report.surface import View, best_view, dimension, visible_faces

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RENDER_SECONDS = 120.0
LONGEST_SIDE = 720
EDGE = "#6b7280"
FEATURE_ANGLE = 30.0
# Its anti-aliasing draws so many pixels for one, in both directions, and a point's size counts them.
SUPERSAMPLED = 4
# Pixels of a point of a cloud, and how far points overlap: gaps between them would be all that one sees.
SMALLEST_POINT, LARGEST_POINT, OVERLAP = 2.0, 12.0, 1.4
# By dimension of the mesh. Colours are to be read against the colour bar: a plane mesh takes no light, a body little.
LOOKS: dict[int, dict[str, Any]] = {
    0: {"lighting": False, "style": "points"},
    1: {"lighting": False, "style": "wireframe", "line_width": 3.0},
    2: {"lighting": False},
    3: {"ambient": 0.6, "diffuse": 0.45, "specular": 0.0, "smooth_shading": True, "split_sharp_edges": True},
}


@dataclass(frozen=True)
class Painting:
    """One picture that is wanted: values on points or cells, and how numbers become colours."""

    values: NDArray[Any]
    """(n_points,) or (n_cells,)."""
    on: Literal["point", "cell"]
    low: float
    high: float
    colours: str
    """Name of a matplotlib colour map."""


@dataclass(frozen=True)
class Rendered:
    """PNG files in the order they were asked for."""

    pictures: tuple[bytes, ...]
    remark: str = ""
    """What a reader should know of how they were made; empty where PyVista drew them."""


class Scene:
    """Pictures of one mesh; see the module."""

    def __init__(self, mesh: Mesh, folder: Path) -> None:
        self.mesh, self.folder = mesh, folder
        self.view = best_view(mesh.points)
        self._jobs: list[dict[str, Any]] = []
        self._process: subprocess.Popen[str] | None = None

    def add(self, painting: Painting) -> int:
        """Ask for a picture; returns its place among the rendered ones."""
        number = len(self._jobs)
        np.save(self.folder / f"values-{number}.npy", np.asarray(painting.values, np.float32), allow_pickle=False)
        self._jobs.append({"on": painting.on, "low": painting.low, "high": painting.high, "colours": painting.colours})
        return number

    def render(self, timeout: float = RENDER_SECONDS) -> Rendered:
        """Draw everything that was asked for; never raises for want of OpenGL."""
        if not self._jobs:
            return Rendered(())
        failure = self.draw_with_pyvista(timeout)
        if failure is None:
            return Rendered(tuple(self._picture(number).read_bytes() for number in range(len(self._jobs))))
        remark = (
            f"PyVista did not draw these pictures ({failure}), so matplotlib did, with flat faces and no feature outline; "
            "nwidth doctor says what is missing."
        )
        return Rendered(tuple(paint(self.mesh, self._painting(number), self.view) for number in range(len(self._jobs))), remark)

    def _picture(self, number: int) -> Path:
        return self.folder / f"picture-{number}.png"

    def _painting(self, number: int) -> Painting:
        return Painting(values=np.load(self.folder / f"values-{number}.npy", allow_pickle=False), **self._jobs[number])

    def start(self) -> None:
        """Begin to draw what was added, in a process of its own; `render` or `close` must follow.

        Raises
        ------
        OSError
            No process can be started.
        """
        mesh = self.mesh
        np.savez(
            self.folder / "mesh.npz",
            points=mesh.points, connectivity=mesh.connectivity, offsets=mesh.offsets, cell_types=mesh.cell_types,
        )  # fmt: skip
        (self.folder / "job.json").write_text(json.dumps(self._jobs), encoding="utf-8")
        # -P: a stray pyvista.py in somebody's working folder is not imported.
        command = [sys.executable, "-P", "-m", "nwidth.report.scene", str(self.folder)]
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        # Our own interpreter and module on a folder that we made: nothing here comes from a user.
        self._process = subprocess.Popen(command, text=True, **pipes)  # noqa: S603

    def close(self) -> None:
        """Stop a process that nobody waits for any more."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def draw_with_pyvista(self, timeout: float) -> str | None:
        """None where all pictures are there, else why not, in words."""
        try:
            if self._process is None:
                self.start()
            failure = self._outcome(timeout)
        except OSError as error:
            return f"no process could be started: {error}"
        finally:
            self.close()
        if failure is not None:
            return failure
        return None if all(self._picture(number).is_file() for number in range(len(self._jobs))) else "it left pictures out"

    def _outcome(self, timeout: float) -> str | None:
        """Wait for the process; None where it ended well, else how it did."""
        process = self._process
        if process is None:
            return "it was not started"
        try:
            _, told = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            return f"it took longer than {timeout:g} s"
        if process.returncode < 0:
            return f"it crashed with {signal.Signals(-process.returncode).name}"
        if process.returncode:
            lines = told.strip().splitlines()
            return lines[-1][:200] if lines else f"it ended with code {process.returncode}"
        return None


def paint(mesh: Mesh, painting: Painting, view: View, longest: int = LONGEST_SIDE) -> bytes:
    """One picture by matplotlib: the visible faces from far to near, each in one colour, shaded by its slope."""
    from matplotlib.figure import Figure

    width, height = view.pixels(longest)
    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor="none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    if dimension(mesh) >= 2:
        _paint_faces(axes, mesh, painting, view)
    else:
        flat, height_to_eye = view.project(mesh.points)
        order = np.argsort(height_to_eye)
        values = painting.values if painting.on == "point" else _cells_to_points(mesh, painting.values)
        axes.scatter(
            flat[order, 0],
            flat[order, 1],
            c=values[order],
            s=(0.72 * point_pixels(view, mesh.n_points, longest)) ** 2,
            marker="s",
            cmap=painting.colours,
            vmin=painting.low,
            vmax=painting.high,
            lw=0,
        )
    axes.set(xlim=(-view.half_width, view.half_width), ylim=(-view.half_height, view.half_height), aspect="equal")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", transparent=True)
    return buffer.getvalue()


def point_pixels(view: View, count: int, longest: int = LONGEST_SIDE) -> float:
    """Side of a point's square in pixels, so that so many, spread evenly over the frame, leave no gaps."""
    width, height = view.pixels(longest)
    scale = min(width / view.half_width, height / view.half_height) / 2
    side = float(np.sqrt(4 * view.half_width * view.half_height / max(count, 1))) * scale
    return float(np.clip(OVERLAP * side, SMALLEST_POINT, LARGEST_POINT))


def _paint_faces(axes: Axes, mesh: Mesh, painting: Painting, view: View) -> None:
    from matplotlib import colormaps
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import Normalize

    faces = visible_faces(mesh)
    flat, height = view.project(mesh.points)
    order = np.argsort(height[faces.corners].mean(axis=1))
    corners, cell = faces.corners[order], faces.cell[order]
    values = painting.values[cell] if painting.on == "cell" else painting.values[corners].mean(axis=1)
    colours = colormaps[painting.colours](Normalize(painting.low, painting.high)(values))
    colours[~np.isfinite(values)] = (0.6, 0.6, 0.6, 1.0)
    edges = mesh.points[corners]
    normal = np.cross(edges[:, 1] - edges[:, 0], edges[:, 2] - edges[:, 0])
    slope = np.abs(normal @ view.towards_eye) / np.maximum(np.linalg.norm(normal, axis=1), 1e-300)
    colours[:, :3] *= (0.6 + 0.4 * slope)[:, None]
    axes.add_collection(PolyCollection(flat[corners], facecolors=colours, edgecolors=colours, linewidths=0.4))  # type: ignore[arg-type]


def _cells_to_points(mesh: Mesh, values: NDArray[Any]) -> NDArray[np.float64]:
    """The mean over the cells at each point; 0 where there is none."""
    cell = np.repeat(np.arange(mesh.n_cells), np.diff(mesh.offsets))
    total = np.bincount(mesh.connectivity, np.asarray(values, float)[cell], mesh.n_points)
    return np.asarray(total / np.maximum(np.bincount(mesh.connectivity, minlength=mesh.n_points), 1))


# --- the second process -----------------------------------------------------------------------------------------------


def draw_job(folder: Path) -> None:
    """Draw the pictures of a job folder with PyVista; runs in a process of its own."""
    import pyvista as pv

    with np.load(folder / "mesh.npz", allow_pickle=False) as arrays:
        mesh = Mesh(**arrays)
    jobs = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    grid = _grid(pv, mesh)
    for number, job in enumerate(jobs):
        data = grid.point_data if job["on"] == "point" else grid.cell_data
        data[f"values-{number}"] = np.load(folder / f"values-{number}.npy", allow_pickle=False)
    view, solid = best_view(mesh.points), dimension(mesh) >= 2
    surface = grid.extract_surface(algorithm="dataset_surface") if solid else grid
    outline = surface.extract_feature_edges(FEATURE_ANGLE, non_manifold_edges=False, manifold_edges=False) if solid else None
    plotter = pv.Plotter(off_screen=True, window_size=list(view.pixels(LONGEST_SIDE)))
    plotter.enable_anti_aliasing("ssaa")
    if outline is not None and outline.n_cells:
        plotter.add_mesh(outline, color=EDGE, line_width=2.0, lighting=False)
    _aim(plotter, view)
    look = dict(LOOKS[dimension(mesh)])
    if not dimension(mesh):
        look["point_size"] = SUPERSAMPLED * point_pixels(view, mesh.n_points)
    for number, job in enumerate(jobs):
        plotter.add_mesh(
            surface, scalars=f"values-{number}", preference=job["on"], cmap=job["colours"], clim=(job["low"], job["high"]),
            show_scalar_bar=False, nan_color="#999999", name="field", reset_camera=False, copy_mesh=True, **look,
        )  # fmt: skip
        plotter.screenshot(folder / f"picture-{number}.png", transparent_background=True)
    plotter.close()


def _grid(pv: Any, mesh: Mesh) -> Any:
    """The mesh as PyVista's: each cell preceded by its size; a cloud has one vertex per point."""
    if not mesh.n_cells:
        return pv.PolyData(mesh.points)
    cells = np.insert(mesh.connectivity, mesh.offsets[:-1], np.diff(mesh.offsets))
    return pv.UnstructuredGrid(cells, mesh.cell_types, mesh.points)


def _aim(plotter: Any, view: View) -> None:
    """Point the camera as `view` says, with the frame filled."""
    width, height = plotter.window_size
    distance = 10 * max(view.half_width, view.half_height)
    plotter.camera.position = tuple(view.centre + distance * view.towards_eye)
    plotter.camera.focal_point = tuple(view.centre)
    plotter.camera.up = tuple(view.up)
    plotter.camera.parallel_projection = True
    plotter.camera.parallel_scale = max(view.half_height, view.half_width * height / width)
    plotter.renderer.reset_camera_clipping_range()


if __name__ == "__main__":
    draw_job(Path(sys.argv[1]))
