"""A law as plain names and numbers, for JSON beside a model, and back: no pickle, and nothing but laws can come out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from nwidth_graphs.kernels.materials.conduction import HeatConduction
from nwidth_graphs.kernels.materials.elastic import LinearElastic
from nwidth_graphs.kernels.materials.j2 import J2Plasticity
from nwidth_graphs.kernels.materials.norton import NortonKinematic
from nwidth_graphs.kernels.materials.properties import Curve
from nwidth_graphs.kernels.materials.protocol import Law
from nwidth_graphs.kernels.materials.return_mapping import IsotropicHardening, KinematicHardening

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (LinearElastic, J2Plasticity, NortonKinematic, HeatConduction, IsotropicHardening, KinematicHardening, Curve)
}


def law_record(law: Law) -> dict[str, Any]:
    """``{"kind": name, parameter: number, list or record, ...}``.

    Raises
    ------
    ValueError
        The law is not one of this package: keep its parameters yourself.
    """
    if type(law) not in _KINDS.values():
        raise ValueError(
            f"a law of type {type(law).__name__} has no record; expected one of {', '.join(_KINDS)}: keep it as code"
        )
    record: dict[str, Any] = _record(law)
    return record


def _record(part: Any) -> Any:
    if is_dataclass(part):
        return {"kind": type(part).__name__} | {field.name: _record(getattr(part, field.name)) for field in fields(part)}
    return list(part) if isinstance(part, tuple) else part


def law_from_record(record: Mapping[str, Any]) -> Law:
    """The law that `law_record` wrote down.

    Raises
    ------
    ValueError
        The record names an unknown kind, or parameters that the kind does not have or refuses.
    """
    law = _part(record)
    if not isinstance(law, Law):
        raise ValueError(f"a record of kind {record.get('kind')!r} is a part of a law; expected a law: mend the file")
    return law


def _part(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return tuple(value) if isinstance(value, list) else value
    kind = value.get("kind")
    if kind not in _KINDS:
        raise ValueError(f"a law of kind {kind!r} was found; expected one of {', '.join(_KINDS)}: mend the file")
    known = {field.name for field in fields(_KINDS[kind])}
    if unknown := sorted(set(value) - known - {"kind"}):
        raise ValueError(f"the record of a {kind} has {', '.join(unknown)}; expected {', '.join(sorted(known))}: mend the file")
    return _KINDS[kind](**{name: _part(part) for name, part in value.items() if name != "kind"})
