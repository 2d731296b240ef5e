"""CalculiX as a full-order solver: a deck with places for parameters, and the words of ``ccx`` taken seriously.

    blade.inp + mesh.inp  ->  ccx -i blade  ->  blade.frd (nodes), blade.dat (integration points), blade.sta (increments)

``ccx`` ends with status 0 on many an error. An attempt is good only where it printed "Job finished" and no ``*ERROR``, where the
last increment of the status file converged, and where the reader finds the ``.frd`` whole.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from nwidth.errors import ConfigError
from nwidth.fullorder.protocol import STDOUT, Parameters, Verdict
from nwidth.fullorder.templates import fill, placeholders

LARGEST_DECK_BYTES = 256 << 20
_INCLUDE = re.compile(r"^\*INCLUDE\s*,\s*INPUT\s*=\s*(\"[^\"\n]*\"|[^,\s]*)", re.IGNORECASE | re.MULTILINE)
_WORDS_BYTES = 4 << 20


@dataclass(frozen=True)
class CalculixSolver:
    """Runs a deck with ``ccx``."""

    template: Path
    files: tuple[Path, ...] = ()
    """Copied beside the deck, under their own names: what it includes."""
    executable: str = "ccx"
    text: str = field(default="", repr=False)
    """Of the template; read when the solver is made."""

    name = "calculix"
    reader = "calculix"
    package = "CalculiX CrunchiX (the Debian package calculix-ccx, or conda-forge's calculix)"

    def __post_init__(self) -> None:
        object.__setattr__(self, "executable", self.executable or "ccx")
        if not self.text:
            object.__setattr__(self, "text", read_text(self.template))
        self._check_includes()

    @property
    def job(self) -> str:
        """Stem of all files of a run."""
        return self.template.stem

    @property
    def parameters(self) -> frozenset[str]:
        """Names of the places in the deck."""
        return placeholders(self.text, str(self.template))

    def key(self) -> str:
        """Over the deck and the files beside it; not over the executable, which a machine may hold elsewhere."""
        return content_key(self.name, self.text, self.files)

    def command(self) -> tuple[str, ...]:
        """``ccx -i <job>``."""
        return (self.executable, "-i", self.job)

    def prepare(self, parameters: Parameters, folder: Path) -> None:
        """Write the deck with its values, and copy what it includes."""
        (folder / f"{self.job}.inp").write_text(fill(self.text, parameters, str(self.template)), encoding="utf-8")
        copy_files(self.files, folder)

    def check(self, folder: Path) -> Verdict:
        """Errors that were printed, an end that was not, increments that did not converge."""
        printed = _read_ends(folder / STDOUT)
        errors = _errors(printed)
        if errors:
            # A card that cannot be read stays so; a solution that was cut off does, too: the solver is deterministic.
            return Verdict(False, f"CalculiX says: {errors}", again=_may_pass(errors))
        if "Job finished" not in printed:
            return Verdict(False, "CalculiX did not print 'Job finished': it was cut off, or is another program")
        last = _last_increment(folder / f"{self.job}.sta")
        if last is not None and last[2].endswith("U"):
            return Verdict(False, f"increment {last[1]} of step {last[0]} did not converge", again=False)
        return Verdict(True)

    def outputs(self, folder: Path) -> tuple[Path, ...]:
        """The ``.frd``; its reader finds the ``.dat`` beside it."""
        return (folder / f"{self.job}.frd",)

    def _check_includes(self) -> None:
        beside = {file.name for file in self.files}
        for match in _INCLUDE.finditer(self.text):
            name = match[1].strip('"')
            if name not in beside:
                raise ConfigError(
                    f"{self.template} includes {name!r}, which is not among full_order.files "
                    f"({', '.join(sorted(beside)) or 'none'}); name it there: a run sees nothing outside its folder"
                )


def read_text(template: Path) -> str:
    """Read a template.

    Raises
    ------
    nwidth.errors.ConfigError
        It is absent, not text, or too large to be one.
    """
    try:
        if template.stat().st_size > LARGEST_DECK_BYTES:
            raise ConfigError(f"{template} has {template.stat().st_size >> 20} MiB; keep the mesh in a file of full_order.files")
        return template.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the template {template} cannot be read ({error}); give a text file in full_order.deck") from None


def copy_files(files: tuple[Path, ...], folder: Path) -> None:
    """Copy files into the folder of an attempt, under their own names."""
    for file in files:
        shutil.copyfile(file, folder / file.name)


def content_key(name: str, text: str, files: tuple[Path, ...]) -> str:
    """blake2b over a solver's name, a template and the files beside it.

    Raises
    ------
    nwidth.errors.ConfigError
        A file cannot be read, or two have one name.
    """
    digest = hashlib.blake2b(f"{name}\0{len(text)}\0{text}".encode(), digest_size=16)
    if len({file.name for file in files}) < len(files):
        raise ConfigError(f"two of the files {', '.join(map(str, files))} have the same name; they go into one folder")
    for file in files:
        try:
            with file.open("rb") as stream:
                content = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).digest()
        except OSError as error:
            raise ConfigError(f"{file} cannot be read ({error.strerror}); mend full_order.files") from None
        digest.update(file.name.encode() + b"\0" + content)
    return digest.hexdigest()


def _read_ends(file: Path) -> str:
    """What was printed, less the middle of what is too long to be held."""
    try:
        with file.open("rb") as stream:
            size = file.stat().st_size
            head = stream.read(_WORDS_BYTES)
            stream.seek(max(len(head), size - _WORDS_BYTES))
            return (head + stream.read(_WORDS_BYTES)).decode(errors="replace")
    except OSError:
        return ""


def _errors(printed: str) -> str:
    """The first two messages that begin with ``*ERROR``, each with the lines that continue it."""
    lines = printed.splitlines()
    found = []
    for k, line in enumerate(lines):
        if "*ERROR" in line:
            rest = [lines[j].strip() for j in range(k + 1, min(k + 4, len(lines)))]
            until = next((j for j, text in enumerate(rest) if not text or text.startswith("*")), len(rest))
            found.append(" ".join([line.strip(), *rest[:until]]))
    return " | ".join(" ".join(words.split()) for words in found[:2])


def _may_pass(errors: str) -> bool:
    return "cannot open file" in errors.lower() or "alloc" in errors.lower()


def _last_increment(sta: Path) -> tuple[str, str, str] | None:
    """(step, increment, attempt) of the last line of the status file; an attempt that did not converge ends in ``U``."""
    try:
        lines = sta.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    words = lines[-1].split() if lines else []
    return (words[0], words[1], words[2]) if len(words) == 7 and words[0].isdigit() else None
