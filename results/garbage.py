"""No search for garbage while many records are read and tabulated."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

_MANY = 500_000  # new objects, that is some ten thousand records


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Records hold no cycles; searching thousands of them for some takes a tenth of the time.

    The search that was put off would come at once afterwards, and take seconds where there are
    many: then what is there now is left out of all searches to come.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            if gc.get_count()[0] > _MANY:
                gc.freeze()
            gc.enable()
