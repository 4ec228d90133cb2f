"""Plain data -> typed frozen dataclasses, strictly: the sections of ``params.yaml``.

The model and the studies run on machines with little more than torch, so this needs nothing.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def typed(kind: Any, value: Any, key: str) -> Any:
    """``value``, checked to be of ``kind``: a dataclass, a container or a scalar.

    Args:
        kind: a type, as ``get_type_hints`` gives it.
        value: of plain dicts, lists and scalars.
        key: dotted, where the value stands.

    Raises:
        ValueError: names each key that is missing, unknown, of the wrong type or out of range.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _section(kind, value, key)
    if origin in (Union, types.UnionType):
        return _member(arguments, value, key)
    if origin is Literal:
        fits = any(type(value) is type(each) and value == each for each in arguments)
        return _fitting(fits, value, key, f"one of {', '.join(map(repr, arguments))}")
    if origin is tuple:
        many = len(arguments) == 2 and arguments[1] is ...
        fits = isinstance(value, list | tuple) and (many or len(value) == len(arguments))
        _fitting(fits, value, key, "a list" if many else f"a list of {len(arguments)}")
        kinds = [arguments[0]] * len(value) if many else arguments
        pairs = zip(kinds, value, strict=True)
        return tuple(_each({str(at): pair for at, pair in enumerate(pairs)}, f"{key}.").values())
    if origin is dict:
        _fitting(isinstance(value, dict), value, key, "a mapping")
        for name in value:
            if not isinstance(name, str | int | float):
                raise ValueError(f"{key} has the key {name}, which is no text: put it in quotes")
        return _each({str(name): (arguments[1], part) for name, part in value.items()}, f"{key}.")
    if kind is float and type(value) is int and abs(value) < 2**1023:
        return float(value)
    return _fitting(type(value) is kind, value, key, _called(kind))


def _section(kind: Any, value: Any, key: str) -> Any:
    _fitting(isinstance(value, dict), value, key, "a section")
    hints = get_type_hints(kind)
    dot = f"{key}." if key else ""
    faults = [
        f"{dot}{name} is not a setting (its value is {part!r})"
        for name, part in value.items()
        if name not in hints
    ]
    faults += [f"{dot}{name} is missing" for name in hints if name not in value]
    found = {name: (hint, value[name]) for name, hint in hints.items() if name in value}
    parts = _each(found, dot, faults)
    try:
        return kind(**parts)
    except ValueError as error:
        raise ValueError(f"{dot}{error}") from None


def _each(
    parts: dict[str, tuple[Any, Any]], dot: str, faults: Sequence[str] = ()
) -> dict[str, Any]:
    """Every part by its name, of its kind; all faults together, behind those found before."""
    whole, told = {}, list(faults)
    for name, (kind, value) in parts.items():
        try:
            whole[name] = typed(kind, value, f"{dot}{name}")
        except ValueError as error:
            told.append(str(error))
    if told:
        raise ValueError("; ".join(told))
    return whole


def _member(kinds: tuple[Any, ...], value: Any, key: str) -> Any:
    """The member of a union that ``value`` is: sections are told apart by their ``name``."""
    sections = [kind for kind in kinds if dataclasses.is_dataclass(kind)]
    if isinstance(value, dict) and len(sections) == 1:
        return _section(sections[0], value, key)
    if isinstance(value, dict) and sections:
        named = {get_args(get_type_hints(kind)["name"])[0]: kind for kind in sections}
        if "name" not in value:
            raise ValueError(f"{key}.name is missing")
        known = ", ".join(map(repr, named))
        _fitting(value["name"] in list(named), value["name"], f"{key}.name", f"one of {known}")
        return typed(named[value["name"]], value, key)
    if type(value) in kinds or (value is None and type(None) in kinds):
        return value
    for kind in kinds:
        try:
            return typed(kind, value, key)
        except ValueError:
            continue
    return _fitting(False, value, key, " or ".join(dict.fromkeys(map(_called, kinds))))


def _called(kind: Any) -> str:
    """A type in the words of whoever writes the file."""
    if dataclasses.is_dataclass(kind):
        return "a section"
    words = {str: "text", float: "a number", int: "a whole number", bool: "true or false"}
    return words.get(kind, "null" if kind is type(None) else "a list")


def _fitting(fits: bool, value: Any, key: str, wanted: str) -> Any:
    if not fits:
        raise ValueError(f"{key} is {value!r}: give {wanted}")
    return value
