"""Load YAML without its surprises, with errors in one line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from experiments.errors import InputError, beside
from results import files

# PyYAML reads 150 kB in a second, and a matrix of a thousand methods has 80.
LARGEST = 256 * 2**10  # bytes
MOST_VALUES, DEEPEST = 100_000, 50  # of a file, aliases written out
MOST_BITS = 63  # of an integer, as torch and JSON's other readers hold it
_NO_FILE = ' in "<unicode string>"'  # what PyYAML calls a text in its messages
# A tag gives a value a type of Python, by a function that may fail on it in any way.
_PLAIN = ("str", "int", "float", "bool", "null", "map", "seq", "merge", "timestamp")
_TAGS = {f"tag:yaml.org,2002:{name}" for name in _PLAIN}


class _Loader(yaml.SafeLoader):
    """A repeated key is an error, 1e-3 is a number, and 12:30:00 is a string.

    In YAML 1.1 a repeated key silently replaces the first, 1e-3 is a string because it lacks a dot,
    and 12:30:00 is the number 45000 (base 60). There are no types but those of JSON.
    """

    texts: Sequence[tuple[str, ...]] = ()  # paths of keys whose scalars stay as they are written

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None:
            _measure(node, {}, 0)
            for path in self.texts:
                node = _as_written(node, path)
        return node

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


def _refuse_date(_: _Loader, node: yaml.ScalarNode) -> Any:
    line = node.start_mark.line + 1
    raise yaml.YAMLError(f"line {line}: {node.value!r:.40} would be a date: put it in quotes")


def _scalar(loader: _Loader, node: yaml.ScalarNode) -> Any:
    """PyYAML's functions for "!!bool x" or a number of 5,000 digits name neither line nor type."""
    kind = node.tag.rpartition(":")[2]
    where = f"line {node.start_mark.line + 1}: {node.value!r:.40}"
    try:
        value = yaml.SafeLoader.yaml_constructors[node.tag](loader, node)
    except (ValueError, LookupError, ArithmeticError) as error:
        raise yaml.YAMLError(f"{where} is no !!{kind}") from error
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        raise yaml.YAMLError(f"{where}: expected an integer of at most {MOST_BITS} bits")
    return value


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _refuse_date)
for _kind in ("int", "float", "bool"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _scalar)


def _measure(node: yaml.Node, known: dict[int, int | None], depth: int) -> int:
    """How many values a node stands for, its aliases written out.

    A few hundred bytes of aliases of aliases can stand for more than memory holds. YAMLError for
    those, for what is nested too deeply or in itself, and for types beyond JSON's.
    """
    line = node.start_mark.line + 1
    if node.tag not in _TAGS:
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        raise yaml.YAMLError(f"line {line}: type {tag}: expected plain values, lists and mappings")
    if depth > DEEPEST:
        raise yaml.YAMLError(f"line {line}: nested more than {DEEPEST} deep")
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise yaml.YAMLError(f"line {line}: a value that contains itself")
        return size
    known[id(node)] = None
    size = 1 + sum(_measure(part, known, depth + 1) for part in _parts(node))
    if size > MOST_VALUES:
        raise yaml.YAMLError(f"line {line}: stands for more than {MOST_VALUES:,} values")
    known[id(node)] = size
    return size


def _as_written(node: yaml.Node, path: tuple[str, ...]) -> yaml.Node:
    """A copy in which the scalars below a path of keys are texts, as they stand in the file.

    It is a copy since an alias may have the node elsewhere, too. An empty value stays one.
    """
    if isinstance(node, yaml.MappingNode):
        pairs = [(key, _below(key, value, path)) for key, value in node.value]
        return yaml.MappingNode(node.tag, pairs, node.start_mark, node.end_mark)
    if isinstance(node, yaml.SequenceNode):
        parts = [_as_written(part, path) for part in node.value]
        return yaml.SequenceNode(node.tag, parts, node.start_mark, node.end_mark)
    if path or node.tag.endswith(":null"):
        return node
    return yaml.ScalarNode("tag:yaml.org,2002:str", node.value, node.start_mark, node.end_mark)


def _below(key: yaml.Node, value: yaml.Node, path: tuple[str, ...]) -> yaml.Node:
    """The value of a key, of which ``path`` may be about a part; "<<" adds keys to its mapping."""
    if not path or key.tag.endswith(":merge"):
        return _as_written(value, path)
    return _as_written(value, path[1:]) if key.value == path[0] else value


def _parts(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


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


def load(path: str | Path, expected: str, texts: Sequence[tuple[str, ...]] = ()) -> dict[str, Any]:
    """The mapping in a YAML file; ``expected`` says what should be in it.

    ``texts`` are paths of keys below which scalars are texts, whatever YAML would make of them.

    Raises InputError naming the file in one line.
    """
    file = Path(path)
    try:
        text = files.text(file, most=LARGEST)
    except (OSError, ValueError) as error:  # a ValueError: not UTF-8, or a path that is none
        raise InputError(f"{path}: cannot be read: {_reason(error, file)}") from error
    content = parse(text.removeprefix("\ufeff"), str(path), texts)
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path}: expected a mapping with {expected}")
    odd = next((key for key in content if not isinstance(key, str)), None)
    if odd is not None:
        raise InputError(f"{path}: key {odd!r:.40}: expected a text")
    return content


def parse(text: str, where: str, texts: Sequence[tuple[str, ...]] = ()) -> Any:
    """The plain data in a YAML text; ``texts`` as in `load`.

    Raises InputError, in one line that begins with ``where``.
    """
    try:
        return _construct(text, texts)
    except RecursionError as error:
        raise InputError(f"{where}: invalid YAML: nested too deeply") from error
    # Python's functions for numbers and the like, given "!!bool x" or a number of 5,000 digits.
    except (yaml.YAMLError, ValueError, LookupError, ArithmeticError, TypeError) as error:
        said = " ".join(str(error).split()).replace(_NO_FILE, "")
        raise InputError(f"{where}: invalid YAML: {said}{_hint(text, error)}") from error


def _hint(text: str, error: Exception) -> str:
    """What to do about a tab, or an ensemble or a pattern of teachers without quotes."""
    mark = getattr(error, "problem_mark", None)
    lines = text.splitlines()
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if mark and line[mark.column : mark.column + 1] == "\t":
        return "; write spaces instead of tabs"
    if not re.match(r"\s*- *[\[*].*(->|→)", line):
        return ""
    return f'; a pair that begins with [ or * needs quotes: - "{line.strip(" -")}"'


def _construct(text: str, texts: Sequence[tuple[str, ...]]) -> Any:
    loader = _Loader(text)  # a SafeLoader: plain data only
    loader.texts = texts
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _reason(error: OSError | ValueError, file: Path) -> str:
    if isinstance(error, FileNotFoundError):
        return f"no such file{beside(file, '*.y*ml')}"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "not a text file" if isinstance(error, UnicodeDecodeError) else str(error)
