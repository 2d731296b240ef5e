"""MkDocs hooks: one reference page per module, written from its docstrings, and a navigation that follows the folders.

The sources are parsed, not imported, so that building the site needs none of the libraries and cannot run anything.

    graphs/nwidth_graphs/tsqr.py  ->  reference/nwidth_graphs.tsqr.md
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = (REPOSITORY / "pipeline" / "nwidth", REPOSITORY / "graphs" / "nwidth_graphs")
PACKAGES_BY_NAME = {package.name: package for package in PACKAGES}
PYTHON_PAGE = "reference/python.md"
RETURNED = {
    "Model": "nwidth.models.model",
    "MechanicsModel": "nwidth.mechanics.model",
    "Ensemble": "nwidth.uncertainty.ensemble",
    "Plan": "nwidth.runs.plan",
    "RunResult": "nwidth.runs.run",
    "Study": "nwidth.config",
}
"""What the public functions give, and a reader wants to look up beside them."""
LINK = re.compile(r"\]\(([\w.-]+\.md)[)#]")
SECTIONS = ("tutorials", "how-to", "explanation", "reference", "decisions")
NUMPYDOC_HEADING = re.compile(r"^([A-Z][\w ]+)\n-{3,}$", re.MULTILINE)

LISTED = {"Parameters", "Returns", "Raises", "Yields", "Attributes"}

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def on_config(config: Any) -> Any:
    """Fill the navigation: the sections in the order of a reader, their pages in the order in which their index names them."""
    docs = Path(config["docs_dir"])
    config["nav"] = ["index.md", *({section.capitalize(): section_pages(docs, section)} for section in SECTIONS), "glossary.md"]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the generated reference pages."""
    for module, source in modules():
        files.append(File.generated(config, f"reference/{module}.md", content=module_page(module, source)))
    files.append(File.generated(config, PYTHON_PAGE, content=python_page()))
    return files


def section_pages(docs: Path, section: str) -> list[Any]:
    """The navigation of one section: its index, its pages, a folder below it as a section of its own, the modules by room."""
    folder = docs / section
    order = LINK.findall((folder / "index.md").read_text("utf-8"))
    there = sorted(path.name for path in folder.glob("*.md") if path.name != "index.md")
    pages: list[Any] = [f"{section}/{name}" for name in sorted(there, key=lambda name: _place(order, name))]
    pages += [{below.name.capitalize(): section_pages(docs, f"{section}/{below.name}")} for below in _folders(folder)]
    generated = [PYTHON_PAGE, *module_tree()] if section == "reference" else []
    return [f"{section}/index.md", *pages, *generated]


def _folders(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/index.md"))


def _place(order: list[str], name: str) -> int:
    return order.index(name) if name in order else len(order)


def module_tree() -> list[Any]:
    """The modules as a tree of packages: a room is a section, so that nobody scrolls through all of them."""
    rooms: dict[str, list[Any]] = {}
    for module, _ in modules():
        package, _, below = module.partition(".")
        room = below.partition(".")[0]
        rooms.setdefault(f"{package}.{room}" if (PACKAGES_BY_NAME[package] / room).is_dir() and room else package, []).append(
            {module.rpartition(".")[2]: f"reference/{module}.md"}
        )
    tree: list[Any] = []
    for package in PACKAGES_BY_NAME:
        inner = [{room.removeprefix(f"{package}."): pages} for room, pages in rooms.items() if room.startswith(f"{package}.")]
        tree.append({f"Modules of {package}": [*rooms.get(package, []), *inner]})
    return tree


def modules() -> Iterator[tuple[str, str]]:
    """(dotted name, source) of every public module that says anything."""
    for package in PACKAGES:
        for path in sorted(package.rglob("*.py")):
            parts = (package.name, *path.relative_to(package).with_suffix("").parts)
            if parts[-1] == "__init__":
                parts = parts[:-1]
            source = path.read_text("utf-8")
            if not any(part.startswith("_") for part in parts) and ast.get_docstring(ast.parse(source)):
                yield ".".join(parts), source


def module_page(module: str, source: str) -> str:
    """The Markdown page of one module: its docstring, then its public functions and classes in the order of the file."""
    tree = ast.parse(source)
    entries = [entry(node, level=2) for node in tree.body if isinstance(node, Definition) and not node.name.startswith("_")]
    return "\n\n".join([f"# {module}", docstring(tree), *entries]) + "\n"


def python_page() -> str:
    """The page of the public surface: every name of `nwidth`, where it is defined, and what the functions give."""
    homes = public_names()
    parts = [
        "# The Python interface",
        "Every public name, from its docstring: `import nwidth as nw`. What the functions give stands at the end.",
    ]
    for name, home in sorted(homes.items(), key=lambda item: item[0].lower()):
        parts.append(_public_entry(name, home))
    parts.append("## What they give")
    parts += [_public_entry(name, home, level=3) for name, home in RETURNED.items()]
    return "\n\n".join(parts) + "\n"


def public_names() -> dict[str, str]:
    """Public name -> home, as `nwidth/__init__.py` has it."""
    tree = ast.parse((PACKAGES[0] / "__init__.py").read_text("utf-8"))
    homes = next(node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_HOMES")
    found: dict[str, str] = ast.literal_eval(homes)
    return found


def _public_entry(name: str, home: str, level: int = 2) -> str:
    module, node = definition(name, home)
    title, link = f"nw.{name}" if level == 2 else name, f"[{module}]({module}.md)"
    if node is None:
        functions = [child for child in _tree(home).body if isinstance(child, ast.FunctionDef) and child.name[0] != "_"]
        lines = [f"- `nw.{name}.{child.name}`: {(ast.get_docstring(child) or '').splitlines()[0]}" for child in functions]
        return "\n\n".join([f"## {title}", f"A module: {link}.", docstring(_tree(home)), "\n".join(lines)])
    return entry(node, level, title=title, note=f"Defined in {link}.")


def definition(name: str, home: str) -> tuple[str, Definition | None]:
    """(module, node) where `name` is defined, followed through imports; no node where `home` itself is what is meant."""
    tree = _tree(home)
    for node in tree.body:
        if isinstance(node, Definition) and node.name == name:
            return home, node
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and any((item.asname or item.name) == name for item in node.names):
            return definition(name, node.module)
    if home.rpartition(".")[2] == name:
        return home, None
    raise LookupError(f"{home} defines no {name}, which nwidth/__init__.py names")


def _tree(module: str) -> ast.Module:
    package, *parts = module.split(".")
    path = PACKAGES_BY_NAME[package].joinpath(*parts)
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text("utf-8"))


def entry(node: Definition, level: int, title: str = "", note: str = "") -> str:
    """Heading, signature and docstring of one definition; for a class its public methods below."""
    parts = [
        f"{'#' * level} {title or node.name}",
        f"```python\n{signature(node)}\n```",
        *([note] if note else []),
        docstring(node),
    ]
    if isinstance(node, ast.ClassDef):
        methods = [child for child in node.body if isinstance(child, ast.FunctionDef) and not child.name.startswith("_")]
        parts += [entry(method, level + 1) for method in methods if ast.get_docstring(method)]
    return "\n\n".join(parts)


def signature(node: Definition) -> str:
    """The definition without its body: decorators are left out, the annotated attributes of a class are kept."""
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        fields = [f"    {ast.unparse(child)}" for child in node.body if isinstance(child, ast.AnnAssign)]
        return "\n".join([f"class {node.name}({bases}):" if bases else f"class {node.name}:", *fields])
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    arguments = ast.unparse(node.args)
    one_line = f"def {node.name}({arguments}){returns}"
    return one_line if len(one_line) <= 100 else f"def {node.name}(\n{_one_per_line(arguments)}\n){returns}"


def _one_per_line(arguments: str) -> str:
    """The arguments, one on each line: split at the commas that stand in no bracket."""
    pieces, depth, piece = [], 0, ""
    for character in arguments:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            pieces.append(piece.strip())
            piece = ""
        else:
            piece += character
    return "\n".join(f"    {text}," for text in [*pieces, piece.strip()])


def docstring(node: Definition | ast.Module) -> str:
    """The docstring as Markdown: sections of NumPy's style become bold headings and lists, examples and drawings code blocks."""
    text = NUMPYDOC_HEADING.sub(r"\n**\1**\n\n", ast.get_docstring(node) or "")
    listed, parts = False, []
    for paragraph in re.split(r"\n{2,}", text.strip()):
        heading = re.fullmatch(r"\*\*([A-Z][\w ]+)\*\*", paragraph)
        if heading:
            listed = heading[1] in LISTED
        parts.append(_listed(paragraph) if listed and not heading else _fenced(paragraph))
    return "\n\n".join(parts)


def _listed(paragraph: str) -> str:
    """``name : kind`` with the indented text below it, an item of a list each; a paragraph of another kind as it is."""
    if paragraph.startswith((" ", ">>>")):
        return _fenced(paragraph)
    heads = re.split(r"\n(?=\S)", paragraph)
    return "\n".join(f"- {_item(*head.partition('\n')[::2])}" for head in heads)


def _item(head: str, below: str) -> str:
    name, _, kind = head.partition(" : ")
    names = ", ".join(part if part.strip().startswith("`") else f"`{part.strip()}`" for part in name.split(", "))
    text = " ".join(below.split())
    # A description that only wraps goes on in the middle of a sentence; below a type a new one begins.
    return f"{names}: {kind} {text}".rstrip() if not kind or not text or text[0].islower() else f"{names} ({kind}): {text}"


def _fenced(paragraph: str) -> str:
    plain = textwrap.dedent(paragraph)
    if plain.startswith(">>>"):
        return f"```pycon\n{plain}\n```"
    return f"```text\n{plain}\n```" if paragraph.startswith("    ") else paragraph
