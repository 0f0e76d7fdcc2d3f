"""What code made one run, and whether it was the same from submission to end."""

from __future__ import annotations

from collections.abc import Sequence

from results.schema import Code, Start


def code_warnings(starts: Sequence[Start]) -> list[str]:
    """What a run's record says where its code was not the same from submission to end."""
    good = productive(starts)
    codes: list[Start] = []
    for start in good:
        if start.commit and (not codes or is_other_code(codes[-1], start)):
            codes.append(start)
    names = ", then ".join(map(code_name, codes))
    changed = [f"code changed between its starts: {names}"] if len(codes) > 1 else []
    return [*submission_warnings(good), *changed]


def submission_warnings(starts: Sequence[Start]) -> list[str]:
    """Starts whose code is not the submitted one, which none of the run's starts had."""
    texts = [
        f"submitted with code {code_name(start.submitted)}, started with {code_name(start)}"
        for start in starts
        if start.submitted and all(is_other_code(start.submitted, other) for other in starts)
    ]
    return list(dict.fromkeys(texts))


def productive(starts: Sequence[Start]) -> list[Start]:
    """The starts that trained something; one that crashed before left nothing in the numbers."""
    return [start for start in starts if start.progress]


def is_other_code(a: Code | Start, b: Code | Start) -> bool:
    """Whether two codes differ; not where one is unknown."""
    if not a.commit or not b.commit:
        return False
    if a.commit != b.commit:
        return True
    # Records from before there were hashes of changes say only whether there were any.
    pairs = ((a.dirty, b.dirty), (a.changes, b.changes))
    return any(None not in pair and pair[0] != pair[1] for pair in pairs)


def code_name(code: Code | Start) -> str:
    """ "2515e9d6c6", or "2515e9d6c6 (uncommitted changes 1a2b3c4d)"."""
    changes = f" {code.changes[:8]}" if code.changes else ""
    dirty = f" (uncommitted changes{changes})" if code.dirty else ""
    return f"{(code.commit or 'unknown')[:10]}{dirty}"
