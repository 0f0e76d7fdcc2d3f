#!/usr/bin/env python3
"""Write distillers/METHODS.md, the page of all methods, from what is registered.

    tools/reports/methods_page.py

A test compares the page with what this would write now.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tabulate import tabulate

import distillers
from distillers import catalogue, search
from experiments.commands.entry import entry_point
from experiments.environment import CHECKOUT
from results import records
from tools.reports import shared

PAGE = CHECKOUT / "distillers" / "METHODS.md"
HEAD = """\
# All methods

Made by `tools/reports/methods_page.py` from the classes themselves: formula, source, deviations,
options with their defaults, presets. Beside its own options every method has `ce`, `kd`,
`kd_temperature` and `weight`; they are listed where a method's default is another. With Hinton's
term on, tuning also searches `kd` and `kd_temperature`.
"""


WRAPPERS = """\
# Wrappers

They stand before a "+" and change the method behind it: `lskd+dkd`, `ctkd+kd`, and several of them
one before the other. Their options stand beside those of the method.
"""


def page() -> str:
    """The whole page, markdown."""
    names = distillers.names()
    rows = [_row(name) for name in names]
    table = tabulate(rows, ["method", "paper", "reads of the teacher", ""], tablefmt="pipe")
    changing = [_section(distillers.find_wrapper(name)) for name in distillers.wrappers()]
    return "\n".join([HEAD, table, "", *map(section, names), WRAPPERS, *changing])


def _row(name: str) -> list[str]:
    cls, options = distillers.find(name), distillers.defaults(name)
    more = ", ".join(catalogue.extra_compute(name, options))
    anchor = f"{cls.title} ({name})".lower()
    anchor = "".join(c for c in anchor if c.isalnum() or c in " -_").replace(" ", "-")
    read = ", ".join(catalogue.reads(name, options)) or "no teacher"
    return [f"[{cls.title}](#{anchor})", cls.paper, read, more]


def section(name: str) -> str:
    """One method."""
    return _section(distillers.find(name))


def _section(cls: type[distillers.Distiller]) -> str:
    plus = "+" if issubclass(cls, distillers.Wrapper) else ""
    parts = [f"## {cls.title} (`{cls.name}{plus}`)", "", *_source(cls)]
    parts += [_text(inspect.getdoc(cls) or ""), *_options(cls), *_search(cls), *_presets(cls)]
    cite = catalogue.bibtex(cls)
    parts += ["", "```bibtex", cite, "```"] if cite else []
    return "\n".join(parts) + "\n"


def _source(cls: type[distillers.Distiller]) -> list[str]:
    line = f"*{cls.reference}*. {cls.paper}" if cls.reference else cls.paper
    if cls.arxiv:
        line += f", [arXiv {cls.arxiv}](https://arxiv.org/abs/{cls.arxiv})"
    return [line, ""] if line else []


def _text(docstring: str) -> str:
    """As it stands in the code: its line breaks are the formulas'."""
    return f"```text\n{docstring}\n```"


def _options(cls: type[distillers.Distiller]) -> list[str]:
    usual = distillers.Distiller.base_defaults
    rows = [
        [f"`{key}`", f"`{value}`", ", ".join(f"`{c}`" for c in cls.choices.get(key, ()))]
        for key, value in {**usual, **cls.defaults}.items()
        if key not in usual or usual[key] != value
    ]
    if not rows:
        return []
    return ["", tabulate(rows, ["option", "default", "one of"], tablefmt="pipe")]


def _search(cls: type[distillers.Distiller]) -> list[str]:
    space = search.own_space(cls)
    listed = "; ".join(f"`{key}` {space[key]}" for key in sorted(space))
    return ["", f"Tuning searches {listed}."] if listed else []


def _presets(cls: type[distillers.Distiller]) -> list[str]:
    presets = cls.presets
    lines = [f"* `preset: {preset}`: {_listed(values)}" for preset, values in presets.items()]
    return ["", *lines] if lines else []


def _listed(values: object) -> str:
    assert isinstance(values, dict)
    return ", ".join(f"{key} {value}" for key, value in values.items()) or "the defaults"


@entry_point
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page."""
    shared.make_parser(__doc__).parse_args(arguments)
    records.write_atomic(PAGE, page())
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
