"""What a matrix's tuning tried and chose, gathered from its plan for the tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from experiments.commands.teacher_scores import arrow
from experiments.matrix.expansion import Choice, Expansion
from experiments.matrix.schema import DatasetEntry, Matrix
from experiments.matrix.tuning import possible, tuned_label
from experiments.plan import choosing
from experiments.plan.plan import Plan
from experiments.plan.stages import stages
from experiments.rundir.status import State, Status
from experiments.wording import plural
from results.schema import Record
from results.tuning import DIVERGED, Search, Stage, Tuning

Statuses = Mapping[str, Status]


def tuning_of(plan: Plan, statuses: Statuses) -> Tuning | None:
    """The choices of a plan, as far as their runs are done; None of a matrix that tunes nothing.

    The plan has been settled by these ``statuses``.
    """
    tune, expansion = plan.matrix.tune, plan.expansion
    if tune is None or not expansion.choices:
        return None
    searches = [_search(choice, statuses) for choice in expansion.choices]
    epochs = {candidate.spec.recipe.epochs for candidate in expansion.candidates}
    return Tuning(
        searches=tuple(search for search in searches if search.pairs),
        tuned={choice.label: tuned_label(choice.label) for choice in expansion.choices},
        stages=tuple(
            _stage(name, [statuses[spec.id] for spec in specs])
            for name, specs in stages(expansion).items()
        ),
        configs=tune.configs,
        seed=tune.seed,
        trials=tune.trials,
        epochs=min(epochs) if len(epochs) == 1 else 0,
        held_out=_held_out(expansion, statuses),
        given=_given(expansion),
    )


def of_rows(matrix: Matrix) -> DatasetEntry:
    """The data set of a table's rows: what is held out for a search is not held out of theirs."""
    data = matrix.dataset
    return data.model_copy(update={"validation": None}) if matrix.tune else data


def without_searches(records: Mapping[str, Record]) -> dict[str, Record]:
    """The records that have a test accuracy: not those of searches and of their teachers."""
    return {run: one for run, one in records.items() if not is_of_a_search(one.spec)}


def is_of_a_search(spec: Mapping[str, object]) -> bool:
    """Whether a stored run was scored on a held-out part, and has read no test image."""
    data = spec.get("dataset")
    return isinstance(data, Mapping) and data.get("scored_on") == "validation"


# ---- the searches --------------------------------------------------------------------------------


def _search(choice: Choice, statuses: Statuses) -> Search:
    """The search of a choice, without the pairs that no configuration can serve."""
    impossible = choosing.impossible(choice, statuses)
    fair = possible(choice, impossible)
    return Search(
        label=choice.label,
        pairs=_pairs(choice, impossible),
        options=choice.options,
        scores=tuple(_scores(runs, statuses) for runs in fair.runs),
        chosen=choosing.chosen_number(choice, statuses),
        seconds=_seconds(statuses[run] for runs in fair.runs for run in runs),
    )


def _pairs(choice: Choice, impossible: set[str]) -> tuple[str, ...]:
    """The pairs that a configuration can serve; each has as many runs as there are trials."""
    trials = len(choice.runs[0]) // len(choice.pairs)
    served = {
        place // trials
        for runs in choice.runs
        for place, run in enumerate(runs)
        if run not in impossible
    }
    return tuple(arrow(pair) for i, pair in enumerate(choice.pairs) if i in served)


def _scores(runs: Iterable[str], statuses: Statuses) -> tuple[float | None, ...]:
    """Of one configuration; one that cannot serve a pair has lost, as if it had diverged."""
    return tuple(choosing.score(statuses[run]) for run in runs) or (DIVERGED,)


# ---- the stages ----------------------------------------------------------------------------------


def _stage(name: str, statuses: list[Status]) -> Stage:
    return Stage(name, len(statuses), len(_finished(statuses)), _seconds(statuses))


def _finished(statuses: Iterable[Status]) -> list[Record]:
    """The records of those that are done; the table leaves stale ones out, too."""
    is_done = [s for s in statuses if s.state == State.DONE or s.damage]
    return [status.record for status in is_done if status.record]


def _seconds(statuses: Iterable[Status]) -> float | None:
    """Of the runs that are done; None where none is, or one of them has no time on record."""
    times = [record.seconds for record in _finished(statuses)]
    known = [time for time in times if time is not None]
    return float(sum(known)) if known and len(known) == len(times) else None


# ---- what must be said ---------------------------------------------------------------------------


def _held_out(expansion: Expansion, statuses: Statuses) -> str:
    """ "10 % of the training set (500 images)", the images where a run of the search is done."""
    specs = [candidate.spec for candidate in expansion.candidates]
    part = next((s.dataset.validation for s in specs if s.dataset.validation), None)
    records = (statuses[spec.id].record for spec in specs)
    images = next((r.accuracy.samples for r in records if r and r.accuracy.samples), None)
    if isinstance(part, int):
        return f"{plural(part, 'image')} of the training set"
    shown = f" ({plural(images, 'image')})" if images else ""
    return f"{100 * part:g} % of the training set{shown}" if part else ""


def _given(expansion: Expansion) -> tuple[str, ...]:
    """The teachers of the search that are files."""
    teachers = [candidate.spec.teacher for candidate in expansion.candidates]
    parts = (part for teacher in teachers if teacher for part in teacher.parts)
    return tuple(dict.fromkeys(part.name for part in parts if part.sha256))
