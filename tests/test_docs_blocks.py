"""Every code block of the README and of the documentation runs, or says why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs_blocks import blocks, nwidth_commands, run_page
from tests.repository import REPOSITORY

PAGES = sorted(path for path in (REPOSITORY / "README.md", *(REPOSITORY / "docs").rglob("*.md")) if path.is_file())
EXECUTED = {"python", "console", "bash", "toml"}


def pages() -> list[object]:
    """A parameter for every page that has a block to run; a page with ``<!-- slow: reason -->`` belongs to the slow suite."""
    texts = {path: path.read_text("utf-8") for path in PAGES}
    return [
        pytest.param(path, id=path.relative_to(REPOSITORY).as_posix(), marks=[pytest.mark.slow] if "<!-- slow: " in text else [])
        for path, text in texts.items()
        if any(block.language in EXECUTED for block in blocks(text))
    ]


@pytest.mark.parametrize("path", pages())
def test_every_block_of_the_page_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's Python, commands and studies work as they are written, from top to bottom, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    run_page(path, tmp_path)


def write(folder: Path, *lines: str) -> Path:
    """A page of these lines."""
    page = folder / "page.md"
    page.write_text("\n".join(lines), encoding="utf-8")
    return page


def test_blocks_share_a_namespace_and_a_failure_names_the_line(tmp_path: Path) -> None:
    """A later block sees the names of an earlier one, and its exception carries the page's own line number."""
    page = write(tmp_path, "```python", "x = 2", "```", "text", "```python", "assert x == 2", "raise ValueError(x)", "```")
    with pytest.raises(ValueError, match="2") as failure:
        run_page(page, tmp_path)
    assert failure.traceback[-1].lineno + 1 == 7


def test_only_an_exemption_with_a_reason_counts(tmp_path: Path) -> None:
    """A comment without a reason, or not right above the block, exempts nothing."""
    failing = ["```python", "1 / 0", "```"]
    assert run_page(write(tmp_path, "<!-- not executed: needs a cluster -->", *failing), tmp_path) == 0
    for comment in (["<!-- not executed -->"], ["<!-- not executed: needs a cluster -->", "", "text"]):
        with pytest.raises(ZeroDivisionError):
            run_page(write(tmp_path, *comment, *failing), tmp_path)


def test_commands_are_found_with_their_continuations_and_without_a_shell() -> None:
    """Prompts, continued lines and comments are understood; output lines and other programs are left; a pipe is refused."""
    code = "$ make demo\n$ nwidth ingest a.frd \\\n    --into s  # comment\n12 snapshots\n$ nwidth plan 'my study.toml'"
    assert nwidth_commands(code) == [["nwidth", "ingest", "a.frd", "--into", "s"], ["nwidth", "plan", "my study.toml"]]
    with pytest.raises(AssertionError, match="without a shell"):
        nwidth_commands("nwidth inspect s | head")


def test_a_titled_block_becomes_a_file(tmp_path: Path) -> None:
    """A TOML block with a title lies in the page's folder, so that the next command can read it."""
    assert run_page(write(tmp_path, '```toml title="other.toml"', "a = 1", "```"), tmp_path) == 1
    assert (tmp_path / "other.toml").read_text() == "a = 1\n"
