"""The rows of a matrix's tables: every entry of ``methods:``, its sweep or ablation written out."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

import distillers
from experiments.matrix.expansion import Entry
from experiments.matrix.method_entry import DATASET, RECIPE, MethodEntry, part_of
from experiments.matrix.recipe import Recipe, moved
from experiments.matrix.run_spec import data_defaults
from experiments.matrix.schema import Matrix

Values = tuple[tuple[str, Any], ...]  # (("kd_temperature", 2.0), ("recipe.epochs", 60))
Setting = tuple[tuple[str, int], ...]  # keys, each with the place of its value in the entry's list
_PARTS = {"": "options", RECIPE: "recipe", DATASET: "dataset"}
# "{{" and "}}" are braces; anything else between braces is a key.
_TEMPLATE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")


@dataclass(frozen=True)
class Variant:
    """A row of the tables: an entry without a sweep, as one would write it by hand.

    family  label of the entry of the matrix that it is made of; "" where that is the row itself
    values  what a sweep or an ablation sets in this row
    place   where it is in the matrix: "methods.2.sweep.kd_temperature.1"
    """

    entry: MethodEntry
    label: str
    family: str = ""
    values: Values = ()
    place: str = ""


def label(method: MethodEntry) -> str:
    """An entry's name: its own label, or its title with the preset.

    Of a label that is a template, the keys stand where its rows have values.
    """
    if method.label and method.is_varied:
        return _TEMPLATE.sub(_key_or_brace, method.label)
    if method.label:
        return method.label
    preset = f" ({method.preset})" if method.preset else ""
    return distillers.title(method.name) + preset


def rows(matrix: Matrix) -> list[Variant]:
    """Every row of a matrix, in order. Its names and values are known to be right."""
    return [row for i, method in enumerate(matrix.methods) for row in variants(matrix, method, i)]


def variants(matrix: Matrix, method: MethodEntry, number: int) -> Iterator[Variant]:
    """The rows of an entry, the ``number``-th of the matrix. In an ablation its own comes first."""
    place = f"methods.{number}"
    if not method.is_varied:
        yield Variant(method, label(method), place=place)
        return
    own = Own(matrix, method)
    for setting in settings(method):
        given = {key: method.varied[key][j] for key, j in setting}
        if method.ablate and any(own.has(key, value) for key, value in given.items()):
            continue  # the entry's own run
        made = with_values(matrix, method, given)
        now = Own(matrix, made)
        values = tuple((key, now.get(key)) for key in given)  # with their types
        shown = _shown(method, values, now)
        made = made.model_copy(update={"label": shown})
        yield Variant(made, shown, label(method), values, place_of(place, method, setting))


def settings(method: MethodEntry) -> Iterator[Setting]:
    """What each row sets: of a sweep the product, of an ablation nothing, then one key each."""
    keys = {key: range(len(values)) for key, values in method.varied.items()}
    if method.ablate:
        yield ()
        yield from (((key, j),) for key, places in keys.items() for j in places)
        return
    for places in itertools.product(*keys.values()):
        yield tuple(zip(keys, places, strict=True))


def place_of(entry: str, method: MethodEntry, setting: Setting) -> str:
    """Where a row's values are in the matrix; of several, where the sweep is."""
    kind = "ablate" if method.ablate else "sweep"
    if len(setting) == 1:
        key, j = setting[0]
        return f"{entry}.{kind}.{key}.{j}"
    return f"{entry}.{kind}" if setting else entry


def with_values(matrix: Matrix, method: MethodEntry, values: Mapping[str, Any]) -> MethodEntry:
    """The entry that has these values on all pairs, and no sweep."""
    split = {"": dict(method.options), RECIPE: dict(method.recipe), DATASET: dict(method.dataset)}
    for key, value in values.items():
        part, name = part_of(key)
        split[part][name] = value
    if RECIPE + "epochs" in values and RECIPE + "milestones" not in values:
        split[RECIPE] |= _moved_milestones(matrix, method, split[RECIPE])
    pairs = {
        pair: {name: value for name, value in options.items() if name not in values}
        for pair, options in method.pairs.items()
    }
    return method.model_copy(
        update={
            "sweep": {},
            "ablate": {},
            "options": split[""],
            "recipe": split[RECIPE],
            "dataset": split[DATASET],
            "pairs": {pair: options for pair, options in pairs.items() if options},
        }
    )


def _moved_milestones(
    matrix: Matrix, method: MethodEntry, recipe: Mapping[str, Any]
) -> dict[str, list[int]]:
    """Where swept epochs put the milestones of the entry's own recipe.

    Those that the entry gives without epochs are meant as they are, and so are those that do not
    fit the own epochs, as a cosine schedule may have them. Of wrong values nothing is made: who
    checks the matrix reports them.
    """
    try:
        own = Recipe.model_validate(recipe_fields(matrix, method))
    except ValidationError:
        return {}
    epochs = recipe["epochs"]
    is_step = recipe.get("schedule", own.schedule) == "step"
    fits = all(milestone < own.epochs for milestone in own.milestones)
    given_alone = "milestones" in method.recipe and "epochs" not in method.recipe
    if given_alone or not is_step or not fits or type(epochs) is not int or epochs == own.epochs:
        return {}
    return {"milestones": moved(own.milestones, own.epochs, epochs)}


# ---- an entry's own values -----------------------------------------------------------------------


@dataclass(frozen=True)
class Own:
    """The values that an entry has without its sweep or ablation, by key."""

    matrix: Matrix
    method: MethodEntry

    @functools.cached_property
    def options(self) -> dict[str, Any]:
        """All options of the method, those for single pairs left out."""
        return distillers.resolve(self.method.name, self.method.options, self.method.preset)

    @functools.cached_property
    def recipe(self) -> dict[str, Any]:
        """Every field of the recipe of its students, exceptions for single networks left out.

        As given where a value is wrong, which is reported by who checks the matrix.
        """
        fields = recipe_fields(self.matrix, self.method)
        try:
            return Recipe.model_validate(fields).model_dump()
        except ValidationError:
            return fields

    @functools.cached_property
    def dataset(self) -> dict[str, Any]:
        """Every option of the data set, and ``subset``."""
        given = self.matrix.dataset
        shared = {"subset": given.subset, **given.options}
        return {**data_defaults(given.name), **shared, **self.method.dataset}

    def get(self, key: str) -> Any:
        """The value of a key. Raises KeyError for one that is not known."""
        part, name = part_of(key)
        return getattr(self, _PARTS[part])[name]

    def keys(self) -> list[str]:
        """All keys that it has."""
        return [part + name for part, of in _PARTS.items() for name in getattr(self, of)]

    def has(self, key: str, value: Any) -> bool:
        """Whether a value is its own for every pair and student."""
        part, name = part_of(key)
        if part == "" and any(name in options for options in self.method.pairs.values()):
            return False
        if key == RECIPE + "lr" and self.matrix.recipe.lr_exceptions:
            return False
        return _alike(self.get(key)) == _alike(value)


def _alike(value: Any) -> tuple[bool, Any]:
    """For comparisons: YAML has lists where options are tuples, and True is no 1."""
    return isinstance(value, bool), tuple(value) if isinstance(value, list) else value


def recipe_fields(matrix: Matrix, method: MethodEntry) -> dict[str, Any]:
    """The recipe of an entry's students as given."""
    fields = matrix.recipe.model_dump()
    del fields["lr_exceptions"]
    return {**fields, **method.recipe}


def departures(matrix: Matrix) -> dict[str, tuple[str, ...]]:
    """Label -> in what a row's recipe and data are not the matrix's: ("recipe.epochs 120",)."""
    plain = Own(matrix, MethodEntry(name="vanilla"))
    found = {}
    for row in rows(matrix):
        keys = [RECIPE + name for name in row.entry.recipe]
        keys += [DATASET + name for name in row.entry.dataset]
        own = Own(matrix, row.entry)
        values = ((key, own.get(key)) for key in keys)
        found[row.label] = tuple(f"{k} {text(v)}" for k, v in values if not plain.has(k, v))
    return found


def departures_of(matrix: Matrix, entries: Iterable[Entry]) -> dict[str, tuple[str, ...]]:
    """`departures` of the rows of these entries; a tuned row has those of the entry's own."""
    known = departures(matrix)
    return {e.label: known.get(e.label if e.label in known else e.family, ()) for e in entries}


# ---- labels --------------------------------------------------------------------------------------


def _shown(method: MethodEntry, values: Values, own: Own) -> str:
    """The label of a row: the template's, or the entry's with what the row sets."""
    if is_template(method.label):
        assert method.label is not None  # it is a template
        return _TEMPLATE.sub(
            lambda found: text(own.get(found[1])) if found[1] else found[0][0], method.label
        )
    listed = ", ".join(f"{key} {text(value)}" for key, value in values)
    return f"{label(method)} ({listed})" if values else label(method)


def is_template(given: str | None) -> bool:
    """Whether a label has a key in braces."""
    return bool(template_keys(given))


def template_keys(given: str | None) -> list[str]:
    """The keys in a label's braces; an empty one is none."""
    return [key for key in _TEMPLATE.findall(given or "") if key]


def _key_or_brace(found: re.Match[str]) -> str:
    return found[1] or found[0][0]


def text(value: Any) -> str:
    """A value in a label: 2.0 is "2", a list "30/60"."""
    if isinstance(value, (list, tuple)):
        return "/".join(map(text, value)) or "none"
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    if value is None or isinstance(value, bool):
        return "none" if value is None else str(value).lower()
    return str(value)
