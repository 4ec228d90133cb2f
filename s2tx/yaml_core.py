"""YAML as DVC writes it: the core schema of version 1.2, with PyYAML, which knows 1.1.

Of ``1e-3`` PyYAML alone makes text, of ``0140`` and ``1:30`` numbers that nobody meant, and of a
key that is there twice the last one.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from s2tx.errors import InputError

_TAG = "tag:yaml.org,2002:"
_KINDS = {
    "null": r"null|Null|NULL|~|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    "merge": r"<<",
}
_SCALARS = {_TAG + kind for kind in (*_KINDS, "str")}


def read(path: Path) -> dict[Any, Any]:
    """The mapping in a file.

    Raises:
        InputError: the file is absent, no YAML or no mapping, a mapping in it has a key twice or
            one that is no text or number, or a part holds itself.
    """
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist", "Run from the project's root") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})", "Mend the path") from None
    except (yaml.YAMLError, ValueError, KeyError) as error:
        raise InputError(f"{path} is not valid YAML: {error}", "Mend the line it names") from None
    if not isinstance(tree, dict):
        raise InputError(f"{path} holds {type(tree).__name__}, not sections", "Restore it from git")
    return tree


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # C is 0.1 s sooner
    """The core schema, and merge keys."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        None: [(_TAG + kind, re.compile(rf"(?:{form})\Z")) for kind, form in _KINDS.items()]
    }

    def construct_document(self, node: yaml.Node) -> Any:
        _require_plain(node, [], set())
        return super().construct_document(node)


def _int(_: _Loader, node: yaml.ScalarNode) -> int:
    return int(node.value, 0 if node.value[:2] in ("0o", "0x") else 10)


_Loader.add_constructor(f"{_TAG}int", _int)


def _require_plain(node: yaml.Node, above: list[yaml.Node], known: set[yaml.Node]) -> None:
    """Look at each node once, before merge keys are resolved: what they bring is no repetition.

    Raises:
        yaml.YAMLError: a key is there twice or is no scalar, or a node holds itself.
    """
    if node in above:
        raise _error("a part that holds itself", node)
    if isinstance(node, yaml.ScalarNode) and node.tag not in _SCALARS:
        raise _error(f"the tag {node.tag}, which no setting has", node)
    if node in known or isinstance(node, yaml.ScalarNode):
        return
    parts, keys = node.value, set()
    if isinstance(node, yaml.MappingNode):
        parts = [value for _, value in node.value]
        for key, _ in node.value:
            if key.tag not in _SCALARS:
                raise _error("a key that is no text: put it in quotes", key)
            if key.value in keys:
                raise _error(f"the key {key.value} twice", key)
            keys.add(key.value)
    for part in parts:
        _require_plain(part, [*above, node], known)
    known.add(node)


def _error(what: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, f"found {what}", node.start_mark)
