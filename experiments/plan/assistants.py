"""Students that teach in turn: which of them cannot, and which nobody needs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

import distillers
from experiments.matrix.checks import no_assistant
from experiments.memo import Memo, versions
from experiments.plan.kinds import Code
from experiments.rundir.status import Status

Heads = Callable[[Collection[str]], Collection[str]]  # of methods, those with a head of their own


def reasons(
    statuses: Mapping[str, Status],
    impossible: Mapping[str, str],
    shown: Collection[str],
    heads: Heads,
) -> dict[str, str]:
    """Run id -> why it cannot be, or need not: of students of assistants, and of assistants.

    impossible  what is known: run id -> why its method cannot serve its pair
    shown       the runs that tables show; an assistant that is none is trained for its students

    An assistant whose method predicts with a head of its own teaches nobody: students see the
    network alone. Whose teacher is n/a is n/a, too, which `rundir.teachers` says.
    """
    students = _students(statuses)
    if not students:
        return {}
    headed = heads({statuses[run].spec.method for run in students})
    found = {
        student: no_assistant(statuses[run].spec.method)
        for run, those in students.items()
        if statuses[run].spec.method in headed
        for student in those
    }
    for run in reversed(students):  # who learns comes after whom it learns from
        known = {**impossible, **found}
        if run not in shown and run not in known and known.keys() >= set(students[run]):
            found[run] = f"only runs that are n/a need it: {known[students[run][0]]}"
    return found


def _students(statuses: Mapping[str, Status]) -> dict[str, list[str]]:
    """Assistant's run -> those that learn from it."""
    found: dict[str, list[str]] = {}
    for run, status in statuses.items():
        for needed in status.spec.needs:
            if needed in statuses and statuses[needed].spec.teacher:
                found.setdefault(needed, []).append(run)
    return found


def with_heads(methods: Iterable[str]) -> set[str]:
    """Those of the methods that predict with modules of their own; unknown ones are none."""
    return {name for name in methods if _has_head(name)}


def _has_head(method: str) -> bool:
    try:
        return distillers.find(method).predict is not distillers.Distiller.predict
    except distillers.MethodError:
        return False


def remembered(
    methods: Collection[str], memo: Memo, code: Code, load_code: Callable[[], object]
) -> Collection[str]:
    """`with_heads`, from memory where it has them all: to look at results imports no PyTorch.

    ``load_code`` imports the plugins that ``code`` names.
    """
    key = {"code": code.digest, "plugins": sorted(code.plugins), "packages": versions()}
    known: dict[str, bool] = memo.known("heads", key) or {}
    if not known.keys() >= set(methods):
        load_code()
        found = with_heads(methods)
        known |= {name: name in found for name in methods}
        memo.store("heads", key, known)
    return {name for name in methods if known[name]}
