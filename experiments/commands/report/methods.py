"""`report`: what is known of the method of a row, from its registration."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import distillers
from distillers import Distiller, MethodError, catalogue
from experiments.matrix.protocol import is_known
from experiments.wording import as_yaml
from results.report.content import MethodFacts, Option


@dataclass(frozen=True)
class Row:
    """A row of a board: its label, its method, the options of the row and those of single pairs.

    ``pairs``: pair as tables print it -> all options there, of pairs where some are others.
    """

    label: str
    method: str
    options: Mapping[str, Any]
    pairs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def facts(row: Row) -> MethodFacts:
    """All that is known; of a method that is not registered here only its names and options."""
    exceptions = {pair: _changed(options, row.options) for pair, options in row.pairs.items()}
    if not is_known(row.method):
        return MethodFacts(
            row.label,
            row.method,
            options=_unknown_options(row),
            exceptions=exceptions,
            lines=lines(row),
        )
    parts = distillers.parts(row.method)
    venue, year = catalogue.venue_and_year(row.method)
    return MethodFacts(
        label=row.label,
        name=row.method,
        title=distillers.title(row.method),
        paper="; ".join(_each(parts, "paper")),
        reference="; ".join(_each(parts, "reference")),
        arxiv=next(_each(parts, "arxiv"), ""),
        venue=venue,
        year=year,
        formula=_formula(row.method, parts),
        bibtex="\n\n".join(filter(None, dict.fromkeys(map(catalogue.bibtex, parts)))),
        options=tuple(_options(row)),
        exceptions=exceptions,
        lines=lines(row),
        **_needs(row),
    )


def _each(parts: Sequence[type[Distiller]], name: str) -> Iterator[str]:
    """What the parts of a method say in one field, each text once."""
    yield from filter(None, dict.fromkeys(getattr(part, name) for part in parts))


def _formula(method: str, parts: Sequence[type[Distiller]]) -> str:
    """The docstring of the class, which has those of its wrappers; and that of a term "+kd"."""
    cls = distillers.find(method)
    text = inspect.getdoc(cls) or ""
    if distillers.title(method) != cls.title:  # "crd+kd"; of "lskd+kd" KD is the method itself
        text += f"\n\nWith the term of {parts[-1].title}: {inspect.getdoc(parts[-1])}"
    return text


def _needs(row: Row) -> dict[str, Any]:
    """What the method reads and needs under the options of the row.

    Empty where another version of the method wrote options that are not understood here.
    """
    options = {**distillers.defaults(row.method), **row.options}
    try:
        reads = tuple(catalogue.reads(row.method, options))
        coupled = distillers.find(row.method).needs_of(options).batch == "global"
        return {
            "reads": reads,
            "family": family(reads, coupled),
            "beyond": tuple(catalogue.extra_compute(row.method, options)),
            "demands": tuple(catalogue.demands(row.method, options)),
        }
    except (MethodError, LookupError, TypeError, ValueError):
        return {}


def family(reads: Sequence[str], coupled: bool) -> str:
    """The family of a method that reads this of the teacher; ``coupled``: it relates images."""
    if not reads:
        return "no teacher"
    if coupled:
        return "relations between images"
    return "logits" if list(reads) == ["logits"] else "features"


def lines(row: Row) -> str:
    """The row as the entry of a matrix, in YAML: a name, and what is not at its default."""
    import yaml

    known = is_known(row.method)
    defaults = distillers.defaults(row.method) if known else {}
    title = distillers.title(row.method) if known else row.method
    pairs = {
        pair.replace("→", "->"): _other(options, row.options) for pair, options in row.pairs.items()
    }
    parts = {"options": _other(row.options, defaults), "pairs": pairs}
    label = {} if row.label == title else {"label": row.label}
    entry = {"name": row.method, **label, **{key: value for key, value in parts.items() if value}}
    content = {"methods": [entry if len(entry) > 1 else row.method]}
    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)
    return text.rstrip()


def _other(options: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """The options with another value than usual, as YAML can hold them."""
    other = {k: v for k, v in options.items() if k not in usual or as_yaml(v) != as_yaml(usual[k])}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in other.items()}


def _options(row: Row) -> Iterator[Option]:
    """All options, in the order of the method's defaults; then those of another version of it."""
    defaults = distillers.defaults(row.method)
    for name, default in defaults.items():
        value = as_yaml(row.options.get(name, default))
        yield Option(name, value, as_yaml(default), catalogue.expected(row.method, name))
    for name, value in row.options.items():
        if name not in defaults:
            yield Option(name, as_yaml(value), "")


def _unknown_options(row: Row) -> tuple[Option, ...]:
    return tuple(Option(name, as_yaml(value), "") for name, value in row.options.items())


def _changed(options: Mapping[str, Any], usual: Mapping[str, Any]) -> str:
    """ "beta 2.0": the options that are not those of the row."""
    return ", ".join(f"{key} {as_yaml(value)}" for key, value in _other(options, usual).items())
