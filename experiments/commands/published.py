"""Published results in `table` and `list`: their names joined with ours, and what there is."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from experiments.wording import plural
from results import published_rows
from results.published_rows import TEACHER, Row, Source

if TYPE_CHECKING:
    from experiments.errors import InputError
    from experiments.matrix.schema import DatasetEntry
    from experiments.plan.plan import Plan
    from results.leaderboard import Leaderboard

_DATA_SETS = {"tiny-imagenet": "tinyimagenet"}  # ours -> as published, where they differ
_FEW = 3  # names that stand in the list before "…"


# ---- in a table ----------------------------------------------------------------------------------


def beside(board: Leaderboard, plan: Plan, asked: Sequence[str]) -> Leaderboard:
    """The board with the sources of ``asked``, else of the matrix, beside it.

    InputError where a source that was asked for is unknown or has nothing on the board's data set.
    """
    from experiments.commands.tuned import of_rows

    published_rows.check(asked, "--published")
    trained = plan.origin.matrix.dataset if plan.origin else None
    dataset = dataset_name(plan.matrix.dataset.name, trained.name if trained else None)
    for source in asked:
        known = {row.dataset for row in published_rows.rows(source)}
        if dataset not in known:
            raise nothing_on(source, [dataset], known)
    chosen = list(dict.fromkeys(asked or plan.matrix.published))
    return compared(board, chosen, dataset, other_data(of_rows(plan.matrix), trained))


def nothing_on(source: str, data_sets: Sequence[str], known: Iterable[str]) -> InputError:
    """The error for a source that was asked for and has other data sets only."""
    from experiments.errors import InputError

    listed = ", ".join(sorted(known))
    shown = " or ".join(data_sets)
    return InputError(f"--published {source}: nothing on {shown}: it has {listed}")


def compared(
    board: Leaderboard, sources: Sequence[str], dataset: str, data: Sequence[str]
) -> Leaderboard:
    """The board with those of the sources beside it that have something on its data set.

    ``dataset`` from `dataset_name`, ``data`` from `other_data`.
    """
    from results.published_comparison import compare

    found = [
        compare(source, dataset, board.frame, board.cells, model_name, data)
        for source in sources
        if published_rows.rows(source, dataset)  # of a matrix: a table of probes is on other data
    ]
    return replace(board, published=tuple(found))


def dataset_name(name: str, trained: str | None = None) -> str:
    """A data set as sources name it; probes of students of ``trained``: "cifar100_to_stl10"."""
    name = _DATA_SETS.get(name, name)
    return name if trained is None else f"{trained}_to_{name}"


def other_data(dataset: DatasetEntry, trained: DatasetEntry | None = None) -> list[str]:
    """How the data are not what every source has: the whole training part, as it is.

    ``trained``: of probes, the data set of their students.
    """
    probe = ["the probe's recipe (theirs is not stated)"] if trained else []
    return [*other_parts(trained or dataset), *probe]


def other_parts(dataset: DatasetEntry) -> Iterator[str]:
    """How data are not the whole data set as it usually is, one text for each way."""
    import datasets
    from experiments.matrix.run_spec import data_defaults

    if dataset.subset:
        yield f"subset of the training data (ours {plural(dataset.subset, 'image')})"
    if dataset.validation:
        yield f"subset of the training data (ours without {dataset.validation:g} held out)"
    known = dataset.name in datasets.names()  # else of a board file, by other code
    defaults = data_defaults(dataset.name) if known else {}
    for key, value in dataset.options.items():
        if key in defaults and value != defaults[key]:
            yield f"other data ({key} {value}, usually {defaults[key]})"


@functools.cache
def model_name(published: str, dataset: str) -> str | None:
    """Our name of a network on a published data set; None where the zoo has no such network."""
    import models

    try:
        return models.canonical(published, dataset.partition("_")[0])
    except models.ModelError:
        return None


# ---- in a list -----------------------------------------------------------------------------------


def sources_table() -> list[str]:
    """The lines of `list published`."""
    from tabulate import tabulate

    rows = [_listed(source) for source in published_rows.sources().values()]
    header = ["source", "rows", "own", "epoch", "trials", "data sets", "title"]
    return tabulate(rows, header, disable_numparse=True).splitlines()


def _listed(source: Source) -> list[str]:
    found = [row for row in published_rows.all_rows() if row.source == source.key]
    own = sum(not row.reprint_of for row in found)
    trials = sorted({row.n for row in found if row.n})
    data_sets = _some(dict.fromkeys(row.dataset for row in found))
    runs = "/".join(map(str, trials)) or "?"
    title = f"{source.title} ({source.where})" if source.where else source.title
    return [source.key, str(len(found)), str(own), source.epoch, runs, data_sets, title]


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join([*listed[:_FEW], *(["…"] if len(listed) > _FEW else [])])


def describe(key: str) -> Iterator[str]:
    """The lines of `list published KEY`: recipe, oddities, pairs and methods by data set."""
    published_rows.check([key], "list published")
    source = published_rows.sources()[key]
    found = [row for row in published_rows.all_rows() if row.source == key]
    yield f"{key}: {source.title}"
    yield ""
    facts = {
        "where": source.where,
        "code": source.code,
        "trials": source.trials,
        "epoch": source.epoch,
        "teachers": f"the weights of {source.teachers}" if source.teachers else "",
        "rows": f"{len(found)}, of which {sum(bool(r.reprint_of) for r in found)} reprints",
    }
    yield from (f"{name:<10} {text}" for name, text in facts.items() if text)
    yield from (f"oddity     {text}" for text in source.oddities)
    for dataset in dict.fromkeys(row.dataset for row in found):
        yield ""
        yield from _on(dataset, [row for row in found if row.dataset == dataset])


def _on(dataset: str, found: Sequence[Row]) -> Iterator[str]:
    """What there is on one data set: recipes, pairs by method, and our names for both."""
    yield f"{dataset}:"
    for key in dict.fromkeys(row.recipe for row in found):
        text = published_rows.recipes()[key].summary() if key else ""
        yield from [f"  recipe   {key}: {text}"] if text else []
    for teacher, student in dict.fromkeys((row.teacher, row.student) for row in found):
        yield f"  pair     {teacher} > {student}{_as_ours(teacher, student, dataset)}"
    own = [row for row in found if row.method != TEACHER]
    for method in dict.fromkeys(row.method for row in own):
        rows = [row for row in own if row.method == method]
        reprints = sum(bool(row.reprint_of) for row in rows)
        tail = f", {reprints} reprinted" if reprints else ""
        name = method + _method_as_ours(rows[0])
        yield f"  method   {name}: {len(rows)} cell{'s' * (len(rows) > 1)}{tail}"


def _as_ours(teacher: str, student: str, dataset: str) -> str:
    names = [model_name(name, dataset) or "no network of ours" for name in (teacher, student)]
    if teacher == "none":
        names[0] = "none"
    return f" ({names[0]} -> {names[1]})"


def _method_as_ours(row: Row) -> str:
    alias = published_rows.method_alias(row.source, row.method)
    if alias.ours is None:
        return f" (no method of ours: {alias.reason})"
    parts = [*([f"here {alias.ours}"] if alias.ours != row.method else []), alias.protocol]
    text = ", ".join(part for part in parts if part)
    return f" ({text})" if text else ""
