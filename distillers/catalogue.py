"""Facts about a method that need no instance: for lists, plans and the page of all methods."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .base import Distiller
from .needs import FIELDS
from .registry import defaults, find
from .values import expectation

# The form of `register`'s ``paper``: "Tung & Mori, ICCV 2019"; the venue may be absent.
PAPER = re.compile(r"(?P<authors>.+), (?:(?P<venue>.+?) )?(?P<year>\d{4})")


def venue_and_year(name: str) -> tuple[str, str]:
    """E.g. ("ICCV", "2019"); a ``paper`` in another form is returned whole as the venue."""
    cls = find(name)
    match = PAPER.fullmatch(cls.paper)
    if not match:
        return cls.paper, ""
    return match["venue"] or ("arXiv" if cls.arxiv else ""), match["year"]


def reads(name: str, options: Mapping[str, Any]) -> list[str]:
    """What a method reads of the teacher: logits, fields of `Outputs`, the classifier."""
    needs = find(name).needs_of(options)
    if not needs.teacher:
        return []
    return [field for field in FIELDS if getattr(needs, field)] or ["logits"]


def extra_compute(name: str, options: Mapping[str, Any]) -> list[str]:
    """Why a method computes more than the recipe implies: extra views or an initial stage."""
    cls = find(name)
    views = len(cls.needs_of(options).views)
    reasons = [f"{1 + views} views of every image"] if views else []
    if cls.init_stage is not Distiller.init_stage:
        reasons.append("an initial stage")
    return reasons


def demands(name: str, options: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a method needs beside what it reads, as headings and texts."""
    needs = find(name).needs_of(options)
    found = [
        ("sampler", needs.sampler or ""),
        ("views", ", ".join(needs.views)),
        ("min batch", str(needs.min_batch) if needs.min_batch > 1 else ""),
        ("min classes", str(needs.min_classes) if needs.min_classes > 1 else ""),
        ("batches", "its term is zero on a last, partial batch" if needs.full_batches else ""),
        ("processes", "gather their batches" if needs.batch == "global" else ""),
        ("also", ", ".join(extra_compute(name, options))),
    ]
    return [(heading, text) for heading, text in found if text]


def expected(name: str, option: str) -> str:
    """The values that an option takes, in words."""
    return expectation(find(name), option, defaults(name)[option])


def bibtex(cls: type[Distiller]) -> str:
    """A BibTeX entry made from the method's registration; empty where that has no title."""
    match = PAPER.fullmatch(cls.paper)
    if not cls.reference or not match:
        return ""
    authors = re.sub(r" et al\.$", " and others", match["authors"])
    venue = match["venue"] if match["venue"] != "arXiv" else None
    fields = {
        "title": f"{{{cls.reference}}}",
        "author": re.sub(r"\s*(?:,|&)\s*", " and ", authors),
        **({"booktitle": venue} if venue else {}),
        "year": match["year"],
        **({"eprint": cls.arxiv, "archiveprefix": "arXiv"} if cls.arxiv else {}),
    }
    lines = [f"  {key} = {{{value}}}," for key, value in fields.items()]
    kind = "inproceedings" if venue else "misc"
    return "\n".join((f"@{kind}{{{cls.name}{match['year']},", *lines, "}"))
