"""Whether a finished run is of the protocol of a table's runs; if not, the first difference.

The protocol is everything but the method: data set, recipe with numerics, student, teacher, trial.
Pure: what the disk says about teachers is in the slots.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import distillers
from distillers import plugins
from experiments.matrix.recipe import Recipe
from experiments.matrix.run_spec import DataSpec, RunSpec, data_defaults
from experiments.matrix.sources import known_hashes, modules_of
from results.schema import Record


@dataclass(frozen=True)
class Slot:
    """One trial of one pair of a table: what another method's run there has to agree with.

    spec     one of the table's runs there
    teacher  name of the pair's teacher; None where no method of the table has one
    weights  sha256 of that teacher's weights; None if there are none yet
    """

    pair: str
    spec: RunSpec
    teacher: str | None = None
    weights: str | None = None


class Protocol:
    """The slots of a table, against which finished runs are held."""

    def __init__(self, slots: Iterable[Slot]) -> None:
        self._slots: dict[str, list[Slot]] = {}
        for slot in slots:
            self._slots.setdefault(slot.spec.student, []).append(slot)
        self._code_difference = functools.lru_cache(maxsize=None)(_code_difference)

    def fit(self, record: Record) -> tuple[list[Slot], str]:
        """The slots that a run fits, several for a student without a teacher; or why none.

        The reason is the first key that differs: "recipe.epochs 240, here 8".
        """
        stored = record.spec
        if stored.get("source"):
            return [], "probe of a student, here students"
        near = self._slots.get(str(stored.get("student")), [])
        reason = self._difference(stored, near)
        if reason:
            return [], reason
        there = [slot for slot in near if slot.spec.trial == stored.get("trial", 0)]
        if not there:
            known = sorted({slot.spec.trial for slot in near})
            return [], f"trial {stored.get('trial', 0)}, here {', '.join(map(str, known))}"
        if stored.get("teacher") is None:
            return there, ""
        return _with_its_teacher(record, there)

    def _difference(self, stored: Mapping[str, Any], near: Sequence[Slot]) -> str | None:
        """In data set, student, recipe or code; these are equal in all slots of a student."""
        some: Sequence[Slot] = near or next(iter(self._slots.values()), ())
        if not some:
            return "no row here has the table's own recipe and data"
        here = some[0].spec
        return (
            data_difference(_mapping(stored.get("dataset")), here.dataset)
            or (None if near else f"student {stored.get('student')}, in no pair here")
            or recipe_difference(_mapping(stored.get("recipe")), here.recipe)
            or _version_difference(stored, here)
            or self._code_difference(
                str(stored.get("method")),
                here.student,
                (stored.get("teacher") or {}).get("name"),
                tuple(stored.get("plugins", ())),
            )
        )


def _with_its_teacher(record: Record, there: Sequence[Slot]) -> tuple[list[Slot], str]:
    """The slots, of one student and trial, whose teacher has the weights of the run's teacher."""
    stored = record.spec["teacher"]
    name = stored.get("name")
    used = stored.get("sha256") or (record.teacher.sha256 if record.teacher else None)
    same = [slot for slot in there if used and slot.weights == used]
    if same:
        return same, ""
    named = [slot for slot in there if slot.teacher == name]
    if not named:
        return [], f"teacher {name}, of no run of {there[0].spec.student} here"
    here = named[0].weights
    now = here[:8] if here else "unknown: not trained yet"
    return [], f"weights of teacher {name} {used[:8] if used else 'unknown'}, here {now}"


def data_difference(stored: Mapping[str, Any], today: DataSpec) -> str | None:
    """The first key in which a stored data set is another one than today's."""
    defaults = {
        **DataSpec(name="").model_dump(mode="json"),
        "options": data_defaults(today.name),
    }
    # The name first: another set has other options.
    if stored.get("name") != today.name:
        return _texts("dataset", stored.get("name"), today.name)
    return first_difference(stored, today.model_dump(mode="json"), defaults, "dataset.")


def recipe_difference(stored: Mapping[str, Any], today: Recipe) -> str | None:
    """The first key in which a stored recipe is another one than today's."""
    return first_difference(stored, today.model_dump(mode="json"), standard_recipe(), "recipe.")


@functools.lru_cache(maxsize=1)
def standard_recipe() -> dict[str, Any]:
    """Every field of a recipe at its default: what a stored recipe lacks."""
    return Recipe().model_dump(mode="json")


def first_difference(
    stored: Mapping[str, Any], today: Mapping[str, Any], default: Mapping[str, Any], prefix: str
) -> str | None:
    """ "recipe.epochs 240, here 8". What is not stored was at its default, as in `matches`."""
    if stored == today:
        return None  # almost always
    for key in dict.fromkeys([*today, *stored]):
        if key not in today:
            return _texts(prefix + key, stored[key], "not known")
        then, now = stored.get(key, default.get(key)), today[key]
        if isinstance(then, Mapping) and isinstance(now, Mapping):
            found = first_difference(then, now, default.get(key) or {}, f"{prefix}{key}.")
            if found:
                return found
        elif then != now:
            return _texts(prefix + key, then, now)
    return None


def _mapping(part: Any) -> Mapping[str, Any]:
    """A part of a stored spec; of a data set, old records may have only the name."""
    return part if isinstance(part, Mapping) else {"name": part}


def _texts(key: str, then: Any, now: Any) -> str:
    return f"{key} {_text(then)}, here {_text(now)}"


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _version_difference(stored: Mapping[str, Any], here: RunSpec) -> str | None:
    """In the version of the recipe, or of the method where it is known here."""
    method = str(stored.get("method"))
    versions = {"recipe_version": here.recipe_version}
    if is_known(method):
        versions["method_version"] = distillers.find(method).version
    for key, now in versions.items():
        then = stored.get(key, 1)
        if then != now:
            of = f" of {method}" if key == "method_version" else ""
            return _texts(key + of, then, now)
    return None


def _code_difference(
    method: str, student: str, teacher: str | None, stored: tuple[str, ...]
) -> str | None:
    """In the users' code of the networks, and of the method where it is known here."""
    known = method if is_known(method) else "vanilla"
    code = plugins.of_modules(modules_of(known, student, teacher))
    same = all(plugin.hashes.intersection(stored) for plugin in code)
    if is_known(method):
        same = same and set(stored) <= known_hashes(known, student, teacher)
    if same:
        return None
    now = ", ".join(plugin.digest[: plugins.DIGITS] for plugin in code)
    return _texts("plugins", ", ".join(stored) or None, now or None)


def is_known(method: str) -> bool:
    """Whether a method is registered here; that of another person's plugin need not be."""
    try:
        distillers.find(method)
    except distillers.MethodError:
        return False
    return True
