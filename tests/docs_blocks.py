"""Reading and running the code blocks of a Markdown page.

    ```python                 run in order, all blocks of a page in one namespace
    ```console, ```bash       lines of `$ nwidth ...` (or `nwidth ...`) go through the real command line
    ```toml                   with a [study] table: must be a valid study; with title="study.toml": written under that name first

A page works in a folder of its own. ``<!-- not executed: reason -->`` right above a block exempts it.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w+)?(?P<rest>.*)$")
EXEMPTION = re.compile(r"<!-- not executed: (?P<reason>\S.*?) -->")
TITLE = re.compile(r'title="(?P<name>[\w.-]+)"')
SHELL_WORDS = {"|", ">", ">>", "<", "&&", "||", ";", "&"}


@dataclass(frozen=True)
class Block:
    """One fenced block; `line` is the page's line of its first line of code."""

    language: str
    code: str
    line: int
    title: str = ""
    exempt: str = ""


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found, lines, number = [], page.splitlines(), 0
    while number < len(lines):
        fence = FENCE.match(lines[number])
        number += 1
        if fence is None:
            continue
        start, closing = number, fence["indent"] + "```"
        while number < len(lines) and lines[number].rstrip() != closing:
            number += 1
        code = "\n".join(line.removeprefix(fence["indent"]) for line in lines[start:number])
        title, exemption = TITLE.search(fence["rest"]), EXEMPTION.search(_line_above(lines, start - 1))
        named, excused = title["name"] if title else "", exemption["reason"] if exemption else ""
        found.append(Block(fence["language"] or "", code, start + 1, named, excused))
        number += 1
    return found


def _line_above(lines: list[str], fence: int) -> str:
    return lines[fence - 1] if fence else ""


def run_page(path: Path, folder: Path) -> int:
    """Run every block of the page `path` in `folder`, the current directory; return how many were run."""
    namespace: dict[str, Any] = {"__name__": "page"}
    ran = 0
    for block in blocks(path.read_text("utf-8")):
        if not block.exempt:
            ran += run_block(block, namespace, folder, path)
    return ran


def run_block(block: Block, namespace: dict[str, Any], folder: Path, path: Path) -> int:
    """Run one block by its language; return 1 where something was run."""
    if block.language == "python":
        # Blank lines in front make a traceback name the line of the page.
        exec(compile("\n" * (block.line - 1) + block.code, str(path), "exec"), namespace)  # noqa: S102 - running our own pages is the purpose
        return 1
    if block.language in {"console", "bash"}:
        commands = nwidth_commands(block.code)
        for command in commands:
            run_command(command, folder)
        return int(bool(commands))
    if block.language == "toml":
        return check_study(block, folder)
    return 0


def nwidth_commands(code: str) -> list[list[str]]:
    """The words of every line that calls `nwidth`, with or without a prompt; a backslash joins lines."""
    joined = re.sub(r"\\\n\s*", " ", code)
    lines = [line.strip().removeprefix("$ ") for line in joined.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("nwidth ")]
    for words in commands:
        assert not SHELL_WORDS & set(words), f"commands of the docs run without a shell: {shlex.join(words)}"
    return commands


def run_command(words: list[str], folder: Path) -> None:
    """Run one `nwidth` command with the program of this environment."""
    program = str(Path(sys.executable).with_name("nwidth"))
    done = subprocess.run([program, *words[1:]], cwd=folder, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, f"$ {shlex.join(words)}\n{done.stdout}{done.stderr}"


def check_study(block: Block, folder: Path) -> int:
    """Write a titled TOML block, and read one that is a study with the real configuration model."""
    if block.title:
        (folder / block.title).write_text(block.code + "\n", encoding="utf-8")
    if "study" not in tomllib.loads(block.code):
        return int(bool(block.title))
    from nwidth.config import load_study

    study = folder / (block.title or "study-of-the-page.toml")
    study.write_text(block.code + "\n", encoding="utf-8")
    load_study(study)
    return 1
