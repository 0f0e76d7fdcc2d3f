"""What a page says in sentences, and how it prints values that stand in no table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from results import verdict_tables
from results.statistics import ABOVE, BELOW, UNDECIDED
from results.verdicts import Comparison, Verdicts


@dataclass(frozen=True)
class Finding:
    """The methods of one verdict: its heading, and label -> "+1.20 [+0.30, +2.10]"."""

    heading: str
    kind: str
    methods: Mapping[str, str]


def findings(verdicts: Verdicts) -> list[Finding]:
    """What the table allows to conclude: the methods above the baseline, below, not separated."""
    ordered = sorted(verdicts.comparisons.values(), key=lambda c: -c.mean)
    headings = (
        (ABOVE, f"Above {verdicts.baseline}"),
        (BELOW, f"Below {verdicts.baseline}"),
        (UNDECIDED, f"Not separated from {verdicts.baseline}"),
    )
    found = [
        Finding(heading, kind.replace(" ", "-"), dict(_differences(ordered, kind)))
        for kind, heading in headings
    ]
    return [one for one in found if one.methods]


def _differences(ordered: list[Comparison], kind: str) -> Iterator[tuple[str, str]]:
    for one in ordered:
        if one.headline and one.headline.verdict == kind:
            text = verdict_tables.interval(one.headline)
            yield one.method, text.removesuffix(f" {kind}")


def flat(content: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """A nested mapping as lines: ("recipe.lr", "0.05")."""
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{name}.")
        elif value not in (None, {}, [], ()):
            yield name, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(value)  # a report has millions of numbers
    return json.dumps(value, ensure_ascii=False)


def duration(seconds: float | None) -> str:
    """ "3 h 12 min"; empty where it is not known."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s"
