"""Plain data -> the typed sections of ``s2tx.params``, as strictly as pydantic, without it.

The grid reads ``params.yaml`` with it on a machine that has no pydantic, and everywhere the
overrides of its recipes.
"""

from __future__ import annotations

import dataclasses
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from s2tx.errors import InputError
from s2tx.params import Params, load_params


def read_params(path: Path) -> Params:
    """``params.yaml``, with pydantic or without.

    Raises:
        InputError: see ``s2tx.params.load_params``; without pydantic, the first fault is named.
    """
    try:
        import pydantic  # noqa: F401
    except ImportError:
        import yaml

        if not path.exists():
            raise InputError(f"{path} does not exist", "Run from the project's root") from None
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        try:
            params: Params = typed(Params, tree, "")
        except ValueError as error:
            raise InputError(f"{path}: {error}", "Mend the file and run again") from None
        return params
    return load_params(path)


def typed(kind: Any, value: Any, key: str) -> Any:
    """``value``, checked to be of ``kind``: a dataclass, a container or a scalar.

    Args:
        kind: a type, as ``get_type_hints`` gives it.
        value: of plain dicts, lists and scalars.
        key: dotted, where the value stands.

    Raises:
        ValueError: names the key that is missing, unknown, of the wrong type or out of range.
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
        pairs = enumerate(zip(kinds, value, strict=True))
        return tuple(typed(each, part, f"{key}.{at}") for at, (each, part) in pairs)
    if origin is dict:
        _fitting(isinstance(value, dict), value, key, "a mapping")
        return {name: typed(arguments[1], part, f"{key}.{name}") for name, part in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    return _fitting(type(value) is kind, value, key, kind.__name__)


def _section(kind: Any, value: Any, key: str) -> Any:
    _fitting(isinstance(value, dict), value, key, "a section")
    hints = get_type_hints(kind)
    dot = f"{key}." if key else ""
    for name in value:
        if name not in hints:
            raise ValueError(f"{dot}{name} is not a setting (its value is {value[name]!r})")
    for name in hints:
        if name not in value:
            raise ValueError(f"{dot}{name} is missing")
    parts = {name: typed(hint, value[name], f"{dot}{name}") for name, hint in hints.items()}
    try:
        return kind(**parts)
    except ValueError as error:
        raise ValueError(f"{dot}{error}") from None


def _member(kinds: tuple[Any, ...], value: Any, key: str) -> Any:
    """The member of a union that ``value`` is: sections are told apart by their ``name``."""
    sections = [kind for kind in kinds if dataclasses.is_dataclass(kind)]
    if isinstance(value, dict) and len(sections) == 1:
        return _section(sections[0], value, key)
    if isinstance(value, dict):
        named = {get_args(get_type_hints(kind)["name"])[0]: kind for kind in kinds}
        if value.get("name") not in named:
            known = ", ".join(map(repr, named))
            raise ValueError(f"{key}.name is {value.get('name')!r}: give one of {known}")
        return typed(named[value["name"]], value, key)
    if type(value) in kinds or (value is None and type(None) in kinds):
        return value
    for kind in kinds:
        try:
            return typed(kind, value, key)
        except ValueError:
            continue
    wanted = " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds)
    return _fitting(False, value, key, wanted)


def _fitting(fits: bool, value: Any, key: str, wanted: str) -> Any:
    if not fits:
        raise ValueError(f"{key} is {value!r}: give {wanted}")
    return value
