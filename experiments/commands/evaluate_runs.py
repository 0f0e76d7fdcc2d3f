"""`evaluate` of finished runs: the measures of their predictions, which are made if lacking."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.activity import activity
from experiments.wording import plural

if TYPE_CHECKING:
    import torch

    from experiments.plan.plan import Plan
    from experiments.train.finished import Evaluator, Filled, Finished
    from results.schema import Measures

FEW = 5  # of the classes that gain and lose


def evaluate_runs(args: argparse.Namespace, device: torch.device) -> int:
    """Show the measures of runs; without a name, fill in what all runs of `--matrix` lack."""
    from experiments.rundir.layout import find
    from experiments.train.finished import Finished

    plans = list(_plans(args))
    names = [*args.run, args.against] if args.against else args.run
    named = [Finished.read(find("evaluate", args.runs, name)) for name in names]
    evaluator = _evaluator(args, plans, named, device)
    if args.against:
        return _compare(evaluator, *named)
    if len(named) == 1:
        return _show(evaluator, named[0])
    return _fill(args, evaluator, [run.directory for run in named] or _finished(plans))


def _plans(args: argparse.Namespace) -> Iterator[Plan]:
    """Those of the matrix and of its probes."""
    from experiments.plan.plan import prepare
    from experiments.plan.workspace import Workspace

    if args.matrix is None:
        return
    source = str(args.matrix)
    workspace = Workspace(args.runs, args.data, args.device, tuple(args.plugin))
    plan = prepare(source, workspace, strict=False)
    yield plan
    for entry in plan.matrix.transfer.datasets if plan.matrix.transfer else ():
        yield prepare(source, workspace, strict=False, transfer_to=entry.name)


def _finished(plans: Sequence[Plan]) -> list[Path]:
    """The directories of all finished runs, teachers first."""
    from results.records import RESULT

    directories = (s.directory(p.workspace.runs) for p in plans for s in p.expansion.runs)
    return [directory for directory in directories if (directory / RESULT).exists()]


def _evaluator(
    args: argparse.Namespace, plans: Sequence[Plan], named: Sequence[Finished], device: torch.device
) -> Evaluator:
    from experiments.train.evaluation import options
    from experiments.train.finished import Evaluator

    given = options(args.option)
    places: dict[str, dict[str, Any]] = {run.spec.dataset.name: given for run in named}
    places |= {plan.matrix.dataset.name: {**_paths(plan), **given} for plan in plans}
    if not plans:
        return Evaluator(args.data, device, places)
    first = plans[0]
    return Evaluator(
        first.workspace.data, device, places, first.teacher_files, first.matrix.predictions
    )


def _paths(plan: Plan) -> dict[str, Any]:
    """The options of a matrix's data set that are in no run's spec."""
    from datasets import is_placement

    entry = plan.matrix.dataset
    return {key: value for key, value in entry.options.items() if is_placement(entry.name, key)}


# ---- one run -------------------------------------------------------------------------------------


def _show(evaluator: Evaluator, run: Finished) -> int:
    filled = _filled(evaluator, run)
    print("\n".join(lines(filled)))
    for path in filled.wrote:
        print(f"wrote {path}")
    _print_notes(evaluator)
    return 0


def _filled(evaluator: Evaluator, run: Finished) -> Filled:
    with activity(f"evaluating {run.spec} on {evaluator.device}"):
        return evaluator.fill(run)


def lines(filled: Filled) -> Iterator[str]:
    """All measures of a run, as they are printed."""
    run, measures = filled.run, filled.measures
    yield f"run      {run.record.run}: {run.spec}"
    yield f"data     {run.spec.dataset.name}, test part, n = {measures.samples:,}"
    yield f"top-1    {measures.top1:.2f} %"
    teacher = measures.teacher.name if measures.teacher else "a teacher"
    texts = (
        ("top-5", measures.top5, "{:.2f} %"),
        ("NLL", measures.nll, "{:.4f} nats"),
        ("ECE", measures.ece, "{:.2f} % (15 bins of equal width)"),
        ("ECE", measures.ece_adaptive, "{:.2f} % (15 bins of equal mass)"),
        ("Brier", measures.brier, "{:.4f} (sum over classes)"),
        ("agrees", measures.agreement, f"{{:.2f}} % of images like {teacher}"),
        ("KL", measures.kl, f"{{:.4f}} nats, KL({teacher} || student)"),
    )
    for name, value, text in texts:
        if value is not None:
            yield f"{name:8} {text.format(value)}"


def _print_notes(evaluator: Evaluator) -> None:
    for note in evaluator.notes:
        print(f"note: {note}", file=sys.stderr)


# ---- two runs ------------------------------------------------------------------------------------


def _compare(evaluator: Evaluator, first: Finished, second: Finished) -> int:
    """McNemar's test of two runs, and the classes that the first gains and loses."""
    from experiments.errors import InputError
    from results.measures import class_changes, mcnemar
    from results.predictions import FILE, read

    (one, other) = (_filled(evaluator, run).measures for run in (first, second))
    found = [read(run.directory / FILE) for run in (first, second)]
    if found[0] is None or found[1] is None:
        raise InputError("--against: needs the predictions of both runs (predictions: none)")
    mine, theirs = (each.images for each in found if each)
    same = first.spec.dataset.name == second.spec.dataset.name
    if not same or mine.labels.tolist() != theirs.labels.tolist():
        raise InputError(f"--against {second.record.run}: was tested on other images")
    test = mcnemar(mine.correct, theirs.correct)
    print(f"run      {first.record.run}: {first.spec}: {one.top1:.2f} %")
    print(f"against  {second.record.run}: {second.spec}: {other.top1:.2f} %")
    print(f"images   n = {len(mine):,}: {test.only_first:,} right in the first run only, ", end="")
    print(f"{test.only_second:,} in the second only")
    print(f"McNemar  exact two-sided p = {test.p:.3g}")
    changes = class_changes(list(other.per_class), list(one.per_class))
    for line in _changes(changes, _class_names(evaluator, first, len(one.per_class))):
        print(line)
    return 0


def _class_names(evaluator: Evaluator, run: Finished, classes: int) -> Sequence[str]:
    """Numbers where the data are not here: nothing else of a comparison needs them."""
    from datasets import DataError

    try:
        return evaluator.data(run.spec).info.class_names
    except DataError:
        return [f"class {k}" for k in range(classes)]


def _changes(changes: Sequence[tuple[int, float]], names: Sequence[str]) -> Iterator[str]:
    gained = [change for change in changes if change[1] > 0][:FEW]
    lost = [change for change in reversed(changes) if change[1] < 0][:FEW]
    for what, some in (("gained", gained), ("lost", lost)):
        listed = ", ".join(f"{names[k]} {points:+.1f}" for k, points in some)
        yield f"{what:8} {listed or 'no class'}".replace("-", "−")


# ---- many runs -----------------------------------------------------------------------------------


def _fill(args: argparse.Namespace, evaluator: Evaluator, directories: Sequence[Path]) -> int:
    """Fill in what runs lack; one that cannot be filled in does not stop the others."""
    import datasets
    import distillers
    import models
    from experiments.commands import entry
    from experiments.errors import InputError
    from experiments.train.finished import Finished
    from results.records import RecordError

    families = (
        InputError, RecordError, models.ModelError, datasets.DataError, distillers.MethodError,
    )  # fmt: skip
    changed, failed = set[Path](), 0
    for directory in directories:
        try:
            filled = evaluator.fill(Finished.read(directory))
        except families as error:
            if args.debug:
                raise
            entry.report(error)
            failed += 1
            continue
        changed |= {path.parent for path in filled.wrote}
        if not args.quiet and (filled.wrote or args.run):
            print(f"{filled.run.spec}: {_in_short(filled.measures)}", flush=True)
    _print_notes(evaluator)
    filled_in = len(changed & set(directories))
    print(f"{plural(len(directories), 'finished run')}: {filled_in} filled in, ", end="")
    print(f"{len(directories) - filled_in - failed} had everything, {failed} failed")
    return 1 if failed else 0


def _in_short(measures: Measures) -> str:
    known = (("NLL", measures.nll, ".4f"), ("ECE", measures.ece, ".2f"))
    more = [f"{name} {value:{form}}" for name, value, form in known if value is not None]
    return ", ".join([f"top-1 {measures.top1:.2f} %", *more])
