"""What a table must confess about the records it is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass

Record = dict[str, Any]


# ---- one run ------------------------------------------------------------------------------------


def code_warnings(starts: Sequence[Record]) -> list[str]:
    """What a run's record says where its code was not the same from submission to end."""
    good = _fruitful(starts)
    return [*_submitted(good), *_changed(good)]


def is_other_code(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two codes ({"commit", "dirty", "changes"}) differ; not where one is unknown."""
    if not a.get("commit") or not b.get("commit"):
        return False
    if a["commit"] != b["commit"]:
        return True
    return any(
        None not in (a.get(key), b.get(key)) and a[key] != b[key] for key in ("dirty", "changes")
    )


def code_name(code: Mapping[str, Any]) -> str:
    """ "2515e9d6c6", or "2515e9d6c6 (uncommitted changes 1a2b3c4d)"."""
    changes = f" {code['changes'][:8]}" if code.get("changes") else ""
    dirty = f" (uncommitted changes{changes})" if code.get("dirty") else ""
    return f"{(code.get('commit') or 'unknown')[:10]}{dirty}"


def _submitted(starts: Sequence[Record]) -> list[str]:
    """Starts with another code than the submitted one, which none of the run's starts had."""
    found = []
    for start in starts:
        planned = start.get("submitted")
        if planned and all(is_other_code(planned, other) for other in starts):
            names = f"{code_name(planned)}, started with {code_name(start)}"
            found.append(f"submitted with code {names}")
    return list(dict.fromkeys(found))


def _changed(starts: Sequence[Record]) -> list[str]:
    codes: list[Record] = []
    for start in starts:
        if start.get("commit") and (not codes or is_other_code(codes[-1], start)):
            codes.append(start)
    names = ", then ".join(map(code_name, codes))
    return [f"code changed between its starts: {names}"] if len(codes) > 1 else []


def _fruitful(starts: Sequence[Record]) -> list[Record]:
    """The starts that trained something; one that crashed before left nothing in the numbers."""
    return [start for start in starts if start.get("progress", True)]


# ---- a table ------------------------------------------------------------------------------------
