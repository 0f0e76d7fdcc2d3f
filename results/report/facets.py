"""By what the methods of a board can be filtered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from results.report.content import MethodFacts


@dataclass(frozen=True)
class Facet:
    """One property, and the values that the methods of a board have; a method may have several."""

    name: str
    label: str
    values: tuple[str, ...]


_LABELS = {
    "family": "Family",
    "reads": "Reads of the teacher",
    "needs": "Needs",
    "compute": "Compute",
    "year": "Year",
}
_NOTHING, _MATCHED = "nothing else", "as the recipe implies"


def facets(methods: Iterable[MethodFacts]) -> list[Facet]:
    """The properties in which the methods differ."""
    known = [of_method(facts) for facts in methods]
    found = []
    for name, label in _LABELS.items():
        values = tuple(sorted({value for one in known for value in one[name]}))
        if len(values) > 1:
            found.append(Facet(name, label, values))
    return found


def of_methods(methods: Mapping[str, MethodFacts]) -> dict[str, dict[str, tuple[str, ...]]]:
    """Label -> property -> its values."""
    return {label: of_method(facts) for label, facts in methods.items()}


def of_method(facts: MethodFacts) -> dict[str, tuple[str, ...]]:
    """The properties of one method; empty ones where it is not known."""
    known = bool(facts.family)
    needs = tuple(heading for heading, _ in facts.demands if heading != "also")
    return {
        "family": (facts.family,) if known else (),
        "reads": tuple(facts.reads),
        "needs": needs or ((_NOTHING,) if known else ()),
        "compute": tuple(facts.beyond) or ((_MATCHED,) if known else ()),
        "year": (facts.year,) if facts.year else (),
    }
