"""Index files (``.pvd``, ``.vtm``, ``.pvtu``, ``.xdmf``, ``.case``): the files that they name, held inside their own folder.

An index from a stranger could name any file of this machine, so that every path is resolved and must stay below the folder of
the index. XML is read by expat with document type declarations refused: no entity is ever expanded.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.parsers import expat

from nwidth.errors import FormatError

XML_INDEXES = (".pvd", ".vtm", ".vtmb", ".pvtu", ".pvtp", ".pvts", ".pvti", ".pvtr", ".xdmf", ".xmf")
FILE_ATTRIBUTES = ("file", "Source", "href")


def elements(path: Path) -> list[tuple[str, dict[str, str], str]]:
    """All XML elements of `path`: (name, attributes, text), in the order in which they end.

    Raises
    ------
    nwidth.errors.FormatError
        The file is no well-formed XML, or declares a document type.
    """
    found: list[tuple[str, dict[str, str], str]] = []
    open_elements: list[tuple[str, dict[str, str], list[str]]] = []

    def begin(name: str, attributes: dict[str, str]) -> None:
        open_elements.append((name, attributes, []))

    def text(data: str) -> None:
        if open_elements:
            open_elements[-1][2].append(data)

    def end(_: str) -> None:
        name, attributes, pieces = open_elements.pop()
        found.append((name, attributes, "".join(pieces)))

    def doctype(name: str, system: str | None, public: str | None, internal: bool) -> None:
        # XDMF writers declare an empty type `<!DOCTYPE Xdmf SYSTEM "Xdmf.dtd" []>`; expat never fetches it.
        if public is not None or (internal and system is None):
            raise FormatError(f"{path} declares the document type {name}; remove the DOCTYPE line")

    def entity(name: str, *_: object) -> None:
        raise FormatError(f"{path} declares the entity {name}; entities are not expanded: remove the DOCTYPE")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.CharacterDataHandler, parser.EndElementHandler = begin, text, end
    parser.StartDoctypeDeclHandler, parser.EntityDeclHandler = doctype, entity
    try:
        parser.Parse(path.read_bytes(), True)
    except expat.ExpatError as error:
        raise FormatError(f"{path} is no well-formed XML ({error}); it is truncated or damaged") from None
    return found


def check_index(path: Path) -> None:
    """Refuse an index that names a file outside its own folder; other files pass.

    Raises
    ------
    nwidth.errors.FormatError
        A named file is outside the folder, or does not exist.
    """
    named_files(path)


def named_files(path: Path) -> tuple[Path, ...]:
    """The files that an index names, all of them inside its folder; none where `path` is no index.

    Raises
    ------
    nwidth.errors.FormatError
        As `check_index`.
    """
    suffix = path.suffix.lower()
    if suffix in XML_INDEXES:
        return tuple(file_beside(path, named) for named in _named_in_xml(path))
    if suffix == ".case":
        # EnSight writes the number of a step as stars: p.****
        patterns = [re.sub(r"\*+", "*", named) for named in _named_in_case(path)]
        for pattern in patterns:
            file_beside(path, pattern, must_exist=False)
        return tuple(dict.fromkeys(file for pattern in patterns for file in sorted(path.parent.glob(pattern)) if file.is_file()))
    return ()


def file_beside(index: Path, named: str, *, must_exist: bool = True) -> Path:
    """The path of the file `named` in `index`, checked to lie below the folder of the index."""
    folder = index.parent.resolve()
    file = (folder / named).resolve()
    if not file.is_relative_to(folder):
        raise FormatError(f"{index} names {named!r}, outside its own folder; an index may only name files beside it")
    if must_exist and not file.exists():
        raise FormatError(f"{index} names {named!r}, which is not there; copy the whole series")
    return file


def _named_in_xml(path: Path) -> list[str]:
    xdmf = path.suffix.lower() in (".xdmf", ".xmf")
    names = []
    for name, attributes, text in elements(path):
        names += [attributes[key] for key in FILE_ATTRIBUTES if key in attributes and (key != "href" or name.endswith("include"))]
        if xdmf and name == "DataItem" and attributes.get("Format", "").upper() in ("HDF", "HDF5", "BINARY"):
            # "file.h5:/group/dataset", or the bare name of a binary file.
            names.append(re.sub(r":(/.*)?$", "", text.strip()))
    return list(dict.fromkeys(name for name in names if name))


def _named_in_case(path: Path) -> list[str]:
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="latin-1").splitlines())
    return [
        line.split()[-1]
        for line in lines
        if re.match(r"(model|measured|match|boundary|(scalar|vector|tensor)[ \w]* per)\b.*:", line)
    ]
