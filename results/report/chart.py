"""A chart: a Vega-Lite specification whose data have names, the data, and what it shows in words.

The specification holds no data, so that the pages of one board share it: charts of equal name have
equal specifications there. Every specification has the parameters ``methods`` and ``pairs``: lists
of what is shown, null for all. A page sets them as its filters are used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Control:
    """A choice beside a chart: the value of the parameter ``signal`` is one of ``choices``."""

    signal: str
    label: str
    choices: Sequence[str]


@dataclass(frozen=True)
class Chart:
    """``name`` is of files and addresses; ``description`` is the caption, and what is read out."""

    name: str
    title: str
    description: str
    spec: Mapping[str, Any]
    data: Mapping[str, Rows] = field(default_factory=dict)
    controls: Sequence[Control] = ()

    def whole(self) -> dict[str, Any]:
        """The specification with its data."""
        return {**self.spec, "datasets": dict(self.data)}
