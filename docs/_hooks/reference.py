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
SECTIONS = ("tutorials", "how-to", "explanation", "reference", "decisions")
NUMPYDOC_HEADING = re.compile(r"^([A-Z][\w ]+)\n-{3,}$", re.MULTILINE)

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def on_config(config: Any) -> Any:
    """Fill the navigation: the sections in the order of a reader, their pages in the order of their names."""
    docs = Path(config["docs_dir"])
    config["nav"] = ["index.md", *({_title(section): _section_pages(docs, section)} for section in SECTIONS)]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the generated reference pages."""
    for module, source in modules():
        files.append(File.generated(config, f"reference/{module}.md", content=module_page(module, source)))
    return files


def _title(section: str) -> str:
    return section.capitalize()


def _section_pages(docs: Path, section: str) -> list[str]:
    pages = sorted(path.relative_to(docs).as_posix() for path in (docs / section).glob("*.md") if path.name != "index.md")
    generated = [f"reference/{module}.md" for module, _ in modules()] if section == "reference" else []
    return [f"{section}/index.md", *pages, *generated]


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


def entry(node: Definition, level: int) -> str:
    """Heading, signature and docstring of one definition; for a class its public methods below."""
    parts = [f"{'#' * level} {node.name}", f"```python\n{signature(node)}\n```", docstring(node)]
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
    """The docstring as Markdown: NumPy-style section headings become bold, examples become code blocks."""
    text = NUMPYDOC_HEADING.sub(r"**\1**\n", ast.get_docstring(node) or "")
    return "\n\n".join(_fenced(paragraph) for paragraph in re.split(r"\n{2,}", text))


def _fenced(paragraph: str) -> str:
    plain = textwrap.dedent(paragraph)
    return f"```pycon\n{plain}\n```" if plain.startswith(">>>") else paragraph
