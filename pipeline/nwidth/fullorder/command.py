"""Any executable as a full-order solver, by settings alone: a template, a command, the files that it leaves.

[full_order.options]
command = "python heat.py input.json"      # words, not a shell line; run in the point's folder
output = "result.npz"                      # what a reader opens; one file, or a pattern that fits one
reader = "numpy"
finished = "done"                          # optional: what a run that went well prints
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from nwidth.errors import ConfigError
from nwidth.fullorder.attempts import last_words, tail
from nwidth.fullorder.calculix import content_key, copy_files, read_text
from nwidth.fullorder.protocol import STDOUT, Parameters, Verdict
from nwidth.fullorder.templates import fill, placeholders


@dataclass(frozen=True)
class CommandSolver:
    """Runs a command on a filled template."""

    template: Path
    files: tuple[Path, ...] = ()
    executable: str = ""
    """In place of the first word of `line`."""
    command_line: str = ""
    output: str = ""
    reader: str = ""
    finished: str = ""
    text: str = field(default="", repr=False)

    name = "command"

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", self.text or read_text(self.template))
        for setting, value in (("command", self.command_line), ("output", self.output), ("reader", self.reader)):
            if not value:
                raise ConfigError(f"the solver 'command' needs {setting} in [full_order.options]")
        if Path(self.output).is_absolute() or ".." in Path(self.output).parts:
            raise ConfigError(f"full_order.options.output = {self.output!r} is outside of the folder of a run; name a file in it")
        if not shlex.split(self.command_line):
            raise ConfigError("full_order.options.command holds no word; name the executable")

    @property
    def package(self) -> str:
        """Nothing is known of it."""
        return "it"

    @property
    def parameters(self) -> frozenset[str]:
        """Names of the places in the template."""
        return placeholders(self.text, str(self.template))

    def key(self) -> str:
        """Over template, files, and what is asked of the command."""
        return content_key(f"{self.name}\0{self.command_line}\0{self.output}", self.text, self.files)

    def command(self) -> tuple[str, ...]:
        """The words of the command, its executable replaced where the study names another."""
        words = shlex.split(self.command_line)
        return (self.executable or words[0], *words[1:])

    def prepare(self, parameters: Parameters, folder: Path) -> None:
        """Write the template with its values, and copy the files."""
        (folder / self.template.name).write_text(fill(self.text, parameters, str(self.template)), encoding="utf-8")
        copy_files(self.files, folder)

    def check(self, folder: Path) -> Verdict:
        """Whether the words of success were printed, where there are such words."""
        if self.finished and self.finished not in tail(folder / STDOUT, 1 << 20):
            return Verdict(False, f"{self.command()[0]} did not print {self.finished!r}{last_words(folder)}")
        return Verdict(True)

    def outputs(self, folder: Path) -> tuple[Path, ...]:
        """What fits `output`, by name."""
        return tuple(sorted(folder.glob(self.output)))


def command_solver(
    template: Path,
    files: tuple[Path, ...] = (),
    *,
    executable: str = "",
    command: str = "",
    output: str = "",
    reader: str = "",
    finished: str = "",
) -> CommandSolver:
    """The solver of a study; its arguments are the options that a study may set."""
    return CommandSolver(template, files, executable, command, output, reader, finished)
