"""Frozen records as JSON and arrays, and back: how what was learnt is kept without a pickle.

    Logistic(coefficients, intercepts)  ->  {"record": "Logistic", "coefficients": {"array": "0"}, ...}  and arrays {"0": ...}

Only the classes that a reader names are made, and of them only their fields: a file cannot ask for anything else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import LayoutError

Arrays = dict[str, NDArray[Any]]


def flatten(value: Any, arrays: Arrays) -> Any:
    """The JSON of a record, a tuple, a number, a text or None; arrays go into `arrays`, under the names that the JSON has."""
    if is_dataclass(value):
        parts = {field.name: flatten(getattr(value, field.name), arrays) for field in fields(value)}
        return {"record": type(value).__name__, **parts}
    if isinstance(value, np.ndarray):
        name = str(len(arrays))
        arrays[name] = value
        return {"array": name}
    if isinstance(value, tuple):
        return [flatten(part, arrays) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"number": str(value)}
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"a record holds a {type(value).__name__}, which has no form in JSON")


def restore(tree: Any, arrays: Mapping[str, NDArray[Any]], kinds: Sequence[type]) -> Any:
    """What `flatten` was given.

    Raises
    ------
    LayoutError
        The JSON names a class that is not among `kinds`, a field that the class does not have, or an array that is not there.
    """
    if isinstance(tree, list):
        return tuple(restore(part, arrays, kinds) for part in tree)
    if not isinstance(tree, dict):
        return tree
    if "number" in tree:
        return float(tree["number"])
    if "array" in tree:
        if tree["array"] not in arrays:
            raise LayoutError(f"what was learnt lacks its array {tree['array']!r}; train the model again")
        return arrays[tree["array"]]
    kind = next((kind for kind in kinds if kind.__name__ == tree.get("record")), None)
    if kind is None:
        raise LayoutError(f"what was learnt names a record {tree.get('record')!r} that this nwidth does not know; train again")
    parts = {name: restore(part, arrays, kinds) for name, part in tree.items() if name != "record"}
    try:
        return kind(**parts)
    except TypeError as error:
        raise LayoutError(f"what was learnt does not fit this nwidth ({error}); train the model again") from None
