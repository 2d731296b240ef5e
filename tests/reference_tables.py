"""The tables of the reference that follow from the code:  python -m tests.reference_tables  prints them for the pages.

config.Study      ->  docs/reference/study.md     one row per key
cli.app.app       ->  docs/reference/cli.md       one row per argument and option
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo

from nwidth.config import Study, parse_bytes, parse_limit, parse_memory, parse_seconds, section_of


def study_tables() -> Iterator[tuple[str, list[str]]]:
    """(heading, rows) for every table of a study file."""
    for name, info in Study.model_fields.items():
        if not info.exclude:
            yield from _tables(name, section_of(info.annotation))


def _tables(path: str, model: Any) -> Iterator[tuple[str, list[str]]]:
    plain = {key: info for key, info in model.model_fields.items() if not _is_table(info)}
    yield f"[{path}]", [_key_row(key, info) for key, info in plain.items()]
    for key, info in model.model_fields.items():
        if _is_table(info):
            yield from _tables(f"{path}.{key}", section_of(info.annotation))


def _is_table(info: FieldInfo) -> bool:
    return section_of(info.annotation) is not None


def _key_row(key: str, info: FieldInfo) -> str:
    if any(getattr(entry, "func", None) in (parse_bytes, parse_limit, parse_memory) for entry in info.metadata):
        default = f'`"{info.default // 2**30} GiB"`' if info.default else ""
        return f"| `{key}` | amount of memory | {default} | {info.description} |"
    if any(getattr(entry, "func", None) is parse_seconds for entry in info.metadata):
        return f'| `{key}` | time | `"{_time_words(info.default)}"` | {info.description} |'
    return f"| `{key}` | {type_words(info.annotation)} | {default_words(info)} | {info.description or ''} |"


def _time_words(seconds: float) -> str:
    unit, length = next((unit, length) for unit, length in (("h", 3600), ("min", 60), ("s", 1)) if seconds % length == 0)
    return f"{seconds / length:g} {unit}"


def type_words(annotation: Any) -> str:
    """A type as a person writes its values in TOML."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_words(arguments[0])
    if origin in (types.UnionType, typing.Union):
        return " or ".join(type_words(argument) for argument in arguments if argument is not type(None))
    if origin is typing.Literal:
        return " or ".join(f'`"{value}"`' for value in arguments)
    if origin is tuple:
        return f"list of {type_words(arguments[0])}"
    if origin is dict:
        return f"table of {type_words(arguments[1])}"
    if annotation is Any:
        return "values"
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}[annotation.__name__]


def default_words(info: FieldInfo) -> str:
    """A default as it would stand in TOML."""
    value = info.get_default()
    if info.is_required():
        return "required"
    if value is None or value in ((), {}, ""):
        return ""
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def command_tables() -> Iterator[tuple[str, list[str]]]:
    """(heading, rows) for every command."""
    import typer.main

    from nwidth.cli.app import app

    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        yield f"nwidth {name}", [_parameter_row(parameter) for parameter in command.params if parameter.name != "help"]


def _parameter_row(parameter: Any) -> str:
    option = parameter.param_type_name == "option"
    words = f"`{parameter.opts[0]}`" if option else f"`{parameter.metavar or parameter.name.upper()}`"
    shown = "" if parameter.default in (None, False) else f"`{parameter.default}`"
    return f"| {words} | {'required' if parameter.required else shown} | {parameter.help or ''} |"


if __name__ == "__main__":
    for heading, rows in (*study_tables(), *command_tables()):
        print(f"\n{heading}\n", *rows, sep="\n")
