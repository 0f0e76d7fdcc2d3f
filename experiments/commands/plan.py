"""`plan`: what would run, and what it costs."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from experiments.activity import activity
from experiments.commands.common import (
    Verbs,
    add_matrix_verb,
    command,
    note_unreadable,
    planned,
    print_note,
    warn_of_damage,
)
from experiments.wording import plural

if TYPE_CHECKING:
    from experiments.matrix.expansion import Expansion
    from experiments.plan.cost import Cost
    from experiments.plan.plan import Plan
    from experiments.rundir.status import Status


def plan(args: argparse.Namespace) -> int:
    """Show what would be trained and what it costs, without starting anything."""
    from experiments.cluster import queue_status
    from experiments.commands.departures import departing_note, departures_of
    from experiments.plan.summary import format_counts
    from experiments.rundir.status import State

    prepared = planned(args)
    print_note(_about_runs(prepared))
    statuses = queue_status.statuses(prepared)
    note_unreadable(statuses.values())
    warn_of_damage(args, statuses)
    print(format_counts(prepared, statuses))
    print_methods_not_compute_matched(prepared.expansion)
    for text in departing_note(departures_of(prepared)):
        print(f"note: {text[0].lower()}{text[1:]}")
    for text in _warnings(prepared, statuses.values()):
        print(f"warning: {text}")
    print_teacher_notes(prepared, statuses)
    unsupported = (s for s in statuses.values() if s.state == State.UNSUPPORTED)
    # Trials of one method share their reason.
    for line in dict.fromkeys(
        f"n/a: {s.spec.pair} {s.spec.method}: {s.detail}" for s in unsupported
    ):
        print(line)
    cost = _predicted(prepared, statuses.values(), timed=not args.no_timing)
    if args.each:
        print(_table_of_costs(prepared, cost))
    if prepared.expansion.choices:
        print(_stages(prepared, cost))
    print(_cost_line(prepared, cost))
    if args.calibrate:
        print("\n".join(_calibrated(prepared, statuses.values(), command(args, "plan"))))
    if args.detect:
        print("\n".join(_detectable(prepared, statuses, cost, args.detect)))
    return 0


def _calibrated(prepared: Plan, statuses: Iterable[Status], again: str) -> Iterator[str]:
    """What 1, 2, 4 and 8 workers reach on one device together, and how many to use."""
    from experiments.local import calibration, devices
    from experiments.rundir.status import NOT_STARTED

    devices.check_sharing(2, prepared.processes)
    todo = (s.spec for s in statuses if s.state in NOT_STARTED)
    spec, device = calibration.most_common(todo), prepared.workspace.device
    subject = calibration.Subject(spec, prepared.data_sets.info(spec), prepared.plugins)
    with activity("training with 1, 2, 4 and 8 workers at once"):
        notes: list[str] = []
        found = calibration.ladder(subject, device, notes.append)
    yield from ("", f"{calibration.title(device)}: {subject}", calibration.table(found), *notes)
    flag = "--workers-per-gpu" if device == "cuda" else "--workers"
    yield f"recommended: {flag} {calibration.recommended(found)}"
    yield (
        "a cohort of several runs needs more memory than the one run here, and reading images may "
        "be slower than they are trained on"
    )
    if device != "cuda":
        yield (
            "this is the answer for a CPU; for a GPU give the command on a node that has one, "
            f"e.g. srun --gpus 1 {again} --calibrate"
        )


def _warnings(prepared: Plan, statuses: Iterable[Status]) -> list[str]:
    """What the results of runs that are not done will say: of the data, of batches left out."""
    from experiments.plan.capability import kind
    from experiments.rundir.status import State
    from experiments.train import one_sample

    found = prepared.data_sets.warnings()
    if prepared.processes == 1:
        open_runs = (s.spec for s in statuses if s.state not in (State.DONE, State.UNSUPPORTED))
        kinds = {kind(spec): spec for spec in open_runs}
        infos = ((spec, prepared.data_sets.info(spec)) for spec in kinds.values())
        found += [one_sample.left_out(*both).note for both in infos]
    return [text for text in dict.fromkeys(found) if text]


def _about_runs(prepared: Plan) -> str:
    """What `run` and `submit` will say of the runs directory; here it is no error."""
    from experiments.errors import InputError
    from experiments.plan.preflight import check_writable

    try:
        return check_writable(prepared.workspace.runs)
    except InputError as error:
        return f"note: {error}"


def _detectable(
    prepared: Plan, statuses: Mapping[str, Status], cost: Cost, effect: float
) -> Iterator[str]:
    from experiments.commands.board import board_of
    from experiments.commands.detect import Question, seconds_per_run

    board, seconds = board_of(prepared), seconds_per_run(statuses, cost)
    return Question(board, prepared.matrix.trials, effect, seconds).answer()


def print_methods_not_compute_matched(expansion: Expansion) -> None:
    """One line about the methods of a matrix that compute more than its recipe says."""
    from distillers import catalogue

    extras = {
        entry.label: catalogue.extra_compute(entry.spec.method, entry.spec.options)
        for entry in expansion.entries
    }
    listed = "; ".join(f"{label} ({', '.join(more)})" for label, more in extras.items() if more)
    if listed:
        print(f"not compute-matched: {listed}")


def print_teacher_notes(
    prepared: Plan, statuses: Mapping[str, Status], measure: bool = True
) -> None:
    """What is known, or can be measured quickly, of the teachers of what is to do."""
    from experiments.plan import teacher_notes

    for line in dict.fromkeys(teacher_notes.of(prepared, statuses, measure)):
        print(line, flush=True)


def _predicted(prepared: Plan, statuses: Iterable[Status], timed: bool) -> Cost:
    """The cost on this machine, in the cohorts that `run` would form."""
    from experiments.local import devices
    from experiments.plan.cost import predict_cost

    statuses, kind, processes = list(statuses), prepared.workspace.device, prepared.processes
    size = devices.default_size(statuses, len(_slots(prepared)))
    return predict_cost(statuses, prepared.data_sets, kind, timed, processes, size)


def _slots(prepared: Plan) -> list[str]:
    from experiments.local import devices

    threads = prepared.threads
    return devices.slots(prepared.workspace.device, None, threads, prepared.processes)


def _table_of_costs(prepared: Plan, cost: Cost) -> str:
    """Per pair and method: how many runs are to do, what one takes, and all."""
    from tabulate import tabulate

    from experiments.matrix.tuning import search_label
    from experiments.plan.summary import duration, teacher_label

    named = [(s.pair, teacher_label(s), s.id) for s in prepared.expansion.teachers]
    named += [(c.pair, search_label(c.label), c.spec.id) for c in prepared.expansion.candidates]
    named += [(e.pair, e.label, e.spec.id) for e in prepared.expansion.entries]
    groups: dict[tuple[str, str], list[float | None]] = {}
    for pair, label, run in named:
        if run in cost.of:
            groups.setdefault((pair, label), []).append(cost.of[run])
    rows = []
    for (pair, label), seconds in groups.items():
        known = [value for value in seconds if value is not None]
        whole = sum(known) if len(known) == len(seconds) else None
        one = "?" if whole is None else duration(whole / len(seconds))
        rows.append((pair, label, len(seconds), one, "?" if whole is None else duration(whole)))
    header = ["pair", "method", "runs", "each", "all"]
    return tabulate(rows, header, disable_numparse=True)


def _stages(prepared: Plan, cost: Cost) -> str:
    """What is tried, and a table of the stages: their runs, time on one worker, share of all."""
    from tabulate import tabulate

    from experiments.plan import stages
    from experiments.plan.summary import duration

    tune, expansion = prepared.matrix.tune, prepared.expansion
    assert tune is not None  # it has choices
    methods = len({choice.label for choice in expansion.choices})
    chosen = "pair" if tune.per == "pair" else "method, for all pairs together"
    found = stages.budgets(expansion, cost.of)
    rows = [
        (
            stage.stage,
            stage.runs,
            stage.todo,
            "?" if stage.seconds is None else duration(stage.seconds),
            "?" if share is None else f"{100 * share:.0f} %",
        )
        for stage, share in zip(found, stages.shares(found), strict=True)
    ]
    first = (
        f"tuning: {plural(tune.configs, 'configuration')} of each of "
        f"{plural(methods, 'method')}, {plural(tune.trials, 'trial')} each; "
        f"one choice per {chosen}"
    )
    header = ["stage", "runs", "to do", "time", "share"]
    return f"{first}\n{tabulate(rows, header, disable_numparse=True)}"


def _cost_line(prepared: Plan, cost: Cost) -> str:
    """Steps, disk space and, where steps could be timed, hours of what is to do."""
    from experiments.plan.cost import predictions_bytes
    from experiments.plan.summary import duration

    assert prepared.data is not None  # a strict plan has its data
    stored = predictions_bytes(cost, prepared.data, prepared.matrix.predictions)
    kind = prepared.workspace.device
    line = f"to do: {plural(cost.steps, 'step')}, {cost.disk_bytes / 1e6:,.0f} MB of weights"
    line += f", {stored / 1e6:,.0f} MB of predictions" if stored else ""
    if not cost.seconds:
        return line
    line += f"; about {duration(cost.seconds)} of one worker on this machine's {kind}"
    workers = len(_slots(prepared))
    return line + (
        f", {duration(cost.seconds / workers)} on {workers} workers" if workers > 1 else ""
    )


def _points(text: str) -> float:
    """Parse a difference of accuracies."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r}: expected points of accuracy above 0")
    return value


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    verb = add_matrix_verb(verbs, "plan", plan)
    verb.add_argument("--each", action="store_true", help="print the cost per pair and method")
    verb.add_argument("--no-timing", action="store_true", help="do not time training steps")
    verb.add_argument(
        "--calibrate",
        action="store_true",
        help="train a minute with 1, 2, 4, 8 workers on a device: how many should share it",
    )
    verb.add_argument(
        "--detect",
        type=_points,
        metavar="POINTS",
        help="say how many trials and pairs show a difference of so many points",
    )
