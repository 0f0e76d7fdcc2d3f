"""What is to be said of a method without building it: for lists, plans, the page of all methods."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .base import Distiller
from .needs import FIELDS
from .registry import find

PAPER = re.compile(r"(?P<authors>.+), (?:(?P<venue>.+?) )?(?P<year>\d{4})")


def venue_and_year(name: str) -> tuple[str, str]:
    """("ICCV", "2019"); of a line in another form all of it stands for the venue."""
    cls = find(name)
    match = PAPER.fullmatch(cls.paper)
    if not match:
        return cls.paper, ""
    return match["venue"] or ("arXiv" if cls.arxiv else ""), match["year"]


def reads(name: str, options: Mapping[str, Any]) -> list[str]:
    """What a method takes from the teacher: logits, and the fields of `Outputs` that it needs."""
    needs = find(name).needs_of(options)
    if not needs.teacher:
        return []
    return [field for field in FIELDS if getattr(needs, field)] or ["logits"]


def extra_compute(name: str, options: Mapping[str, Any]) -> list[str]:
    """Why a method computes more than the recipe says: more views, or a stage before."""
    cls = find(name)
    views = len(cls.needs_of(options).views)
    reasons = [f"{1 + views} views of every image"] if views else []
    if cls.init_stage is not Distiller.init_stage:
        reasons.append("an initial stage")
    return reasons


def bibtex(cls: type[Distiller]) -> str:
    """The method's paper as far as its registration tells; empty where it has no title."""
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
