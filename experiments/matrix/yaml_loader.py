"""Load YAML without its surprises, with errors in one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from experiments.errors import InputError, beside


class _Loader(yaml.SafeLoader):
    """A repeated key is an error, 1e-3 is a number, and 12:30:00 is a string.

    In YAML 1.1 a repeated key silently replaces the first, 1e-3 is a string because it lacks a dot,
    and 12:30:00 is the number 45000 (base 60).
    """

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        assert node is not None
        lines: dict[str, int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            line = key.start_mark.line + 1
            if key.value in lines:
                both = f"in lines {lines[key.value]} and {line}"
                raise yaml.YAMLError(f"key {key.value!r} is given twice, {both}")
            lines[key.value] = line
        return node


_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _NUMBERS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    _NUMBERS[0],
    re.compile(r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]+|0|[1-9][0-9_]*)$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    _NUMBERS[1],
    re.compile(
        r"([-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?"
        r"|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


def load(path: str | Path, expected: str) -> dict[str, Any]:
    """The mapping in a YAML file; ``expected`` says what should be in it.

    Raises InputError naming the file in one line.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {_reason(error, file)}") from error
    try:
        content = yaml.load(text, _Loader)  # a SafeLoader: plain data only
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # "2001-99-99" is a ValueError
        raise InputError(f"{path}: invalid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path}: expected a mapping with {expected}")
    return content


def _reason(error: OSError | UnicodeDecodeError, file: Path) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "not a text file"
    if isinstance(error, FileNotFoundError):
        return f"no such file{beside(file, '*.y*ml')}"
    return error.strerror or str(error)
