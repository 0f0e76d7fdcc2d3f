"""Values that nobody expects, and where they are put into plain data."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

TEXTS = (
    "",
    " ",
    "x",
    "-",
    "--",
    "*",
    "[",
    "a/b",
    "../..",
    "a\0b",
    "a\nb",
    "\x1b[31m",
    "é→𝔸",
    "\ud800",
    "x" * 5000,
    "1e400",
    "2001-99-99",
    "NaN",
)
NUMBERS = (0, 1, -1, 2**63, 10**30, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"))
ODD: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([None, True, False, [], {}, [None], [[]], {"": None}, {"x": {"y": []}}]),
    st.sampled_from(NUMBERS),
    st.sampled_from(TEXTS),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(), max_size=3),
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside plain data, that of the whole included."""
    yield path
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, item in items:
        yield from paths(item, (*path, key))


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy of plain data with another value in one place."""
    if not path:
        return new
    changed = copy.deepcopy(value)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = new
    return changed


def without(value: Any, path: tuple[Any, ...]) -> Any:
    """A copy of plain data without one key or item; without anything it is None."""
    if not path:
        return None
    changed = copy.deepcopy(value)
    place = changed
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return changed


@st.composite
def mutated(draw: st.DrawFn, value: Any) -> Any:
    """Plain data of which one to three places hold something else, or nothing."""
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(paths(value))))
        if draw(st.integers(0, 4)) == 0:
            value = without(value, path)
        else:
            value = put(value, path, draw(ODD))
        if not isinstance(value, (dict, list)):
            break
    return value
