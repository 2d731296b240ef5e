"""The house rules that a machine can check: short files, short functions, and no word of anybody's machine."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.repository import REPOSITORY, tracked_files

LONGEST_FILE = 600
LONGEST_FUNCTION = 60
LONGER_BY_INTENTION: dict[str, str] = {}
"""Path, or path::function -> why it is better whole."""


def function_lengths(source: str) -> Iterator[tuple[str, int]]:
    """(name, lines) of every function, its docstring not counted: formulas and shapes are meant to be written out."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            first = body[0].lineno if body else node.lineno
            yield node.name, (node.end_lineno or first) - first + 1


def too_long(path: str, source: str) -> list[str]:
    """One sentence for the file and for each of its functions that is longer than the house style likes."""
    lines = source.count("\n")
    found = [f"{path} has {lines} lines; at most {LONGEST_FILE}: split it"] if lines > LONGEST_FILE else []
    found += [
        f"{path}::{name} has {length} lines; at most {LONGEST_FUNCTION}: name its steps"
        for name, length in function_lengths(source)
        if length > LONGEST_FUNCTION and f"{path}::{name}" not in LONGER_BY_INTENTION
    ]
    return [] if path in LONGER_BY_INTENTION else found


def test_files_and_functions_are_short() -> None:
    """No file of the packages or tests is longer than 600 lines, and no function than 60, unless listed with its reason."""
    files = [path for path in tracked_files() if path.suffix == ".py"]
    assert len(files) > 10
    found = [
        sentence for path in files for sentence in too_long(path.relative_to(REPOSITORY).as_posix(), path.read_text("utf-8"))
    ]
    assert not found, "\n".join(found)


def test_a_long_function_is_caught() -> None:
    """A function of 61 lines is refused by name, and its docstring does not count."""
    body = "    x = 1\n" * (LONGEST_FUNCTION + 1)
    assert too_long("a.py", "def f():\n" + body) == ["a.py::f has 61 lines; at most 60: name its steps"]
    docstring = '    """\n' + "    formula\n" * 80 + '    """\n'
    assert too_long("a.py", "def f():\n" + docstring + "    return 1\n") == []
    assert too_long("a.py", "\n" * 601) == ["a.py has 601 lines; at most 600: split it"]


MACHINE_PATH = re.compile(r"(?<![\w.:/$}~-])/(?:work|opt|root|home|Users|mnt)/[\w.]")
REGISTRY = re.compile(
    r"https?://[\w.-]*(?:pypi|pythonhosted|anaconda|artifactory|jfrog|nexus)|--(?:extra-)?index-url|--[f]ind-links|@ [f]ile:"
)
BINARY = {".png", ".gz", ".npz", ".npy", ".zip", ".vtu", ".vtk", ".nc", ".h5", ".ico", ".exo", ".frd"}


def foreign_words(text: str) -> list[str]:
    """Every path of somebody's machine and every package index that `text` names."""
    return [match.group() for pattern in (MACHINE_PATH, REGISTRY) for match in pattern.finditer(text)]


def test_no_file_names_a_machine_or_an_index() -> None:
    """What is committed works on any machine: no absolute path of one, and no package index but the installer's own."""
    texts = [path for path in tracked_files() if path.suffix not in BINARY]
    found = [
        f"{path.relative_to(REPOSITORY)}: {word}"
        for path in texts
        for word in foreign_words(path.read_text("utf-8", errors="ignore"))
    ]
    assert not found, "\n".join(found)


def test_a_planted_path_or_index_is_caught() -> None:
    """The patterns see a home folder, an index and a local wheel, and let web addresses and container roots be."""
    for planted in (
        'open("/ro' + 'ot/data.npz")',
        "PYTHON=/ho" + "me/me/python",
        "http" + "s://py" + "pi.org/simple",
        "--find" + "-links wheels",
    ):
        assert foreign_words(planted), planted
    work = "wo" + "rk"
    for harmless in (f"https://example.org/{work}/paper.pdf", "/data/store", f"graphs/{work}/x", "$HOME/.pyenv/versions"):
        assert foreign_words(harmless) == [], harmless
