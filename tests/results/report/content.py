"""A made-up content of a report with everything that one can have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from results import measure_tables
from results.cells import FAILED, Cell, TeacherScores
from results.leaderboard import Leaderboard, leaderboard
from results.report.content import Content, MethodFacts, Option, Progress, Run, Step
from results.schema import Record
from tests.results.example import document

EVIL = '</script><img src=x onerror="window.attacked = 1">\'"`&amp;{{ 7 * 7 }}${8}'
PAIRS = ("resnet56 → resnet20", "vgg13 → MobileNetV2", "wrn_40_2 → wrn_16_2")
LABELS = ("Student alone", "KD", "AT", "DKD", "CRD", EVIL)
ERROR = f"Diverged: {EVIL}\n\nTraceback (most recent call last):\n" + "x" * 10_000
HISTORY = (
    "stage,epoch,lr,train_top1,train_loss,ce,kd,test_top1,test_top5,test_loss\n"
    "main,1,0.05,20.0,4.1,2.0,2.1,{0},80.0,2.5\n"
    "main,2,0.03,40.0,3.1,1.5,1.6,{1},85.0,2.0\n"
    "main,3,0.01,50.0,2.1,1.0,1.1,{2},90.0,1.5\n"
)
CLASSES = 4


def content(
    trials: int = 3, done: int = 1_000_000, name: str = "example", without: str = ""
) -> Content:
    """``done`` runs are done, the others to do; one of CRD has failed unless all are to do.

    without  the id of a run that is to do, too
    """
    cells = _cells(trials, done, without)
    board = _board(cells)
    runs = [_run(cell) for cell in board.cells]
    known = {run.id: run for run in [*runs, *(_teachers() if done else [])]}
    progress = Progress(
        source="example.yaml",
        counts={"done": sum(r.state == "done" for r in runs), "failed": 1},
        groups=[(pair, label, "3/3 done") for pair in PAIRS for label in LABELS],
        steps=[Step(f"1 run failed: {EVIL}", "python benchmark.py retry 'a b.yaml'")],
    )
    methods = {label: _facts(label) for label in LABELS}
    return Content(name, board, methods, list(known.values()), history, progress, list("abcd"))


def history(run: str) -> str:
    """Of every run but the teachers': a later trial is a little better."""
    if "/" not in run:
        return ""
    base = 40 + 5 * (sum(map(ord, run)) % 7)
    return HISTORY.format(base, base + 4.5, base + 9.25)


def _cells(trials: int, done: int, without: str) -> list[Cell]:
    made = []
    for row, label in enumerate(LABELS):
        for column, pair in enumerate(PAIRS):
            for trial in range(trials):
                failed = (label, column, trial) == ("CRD", 1, 0) and done > 0
                top1 = 60 + 4 * column + row + 0.3 * trial + 0.2 * ((row * column) % 3)
                is_asked = f"{column}/{row}/{trial}" != without
                is_done = len(made) < done and is_asked and not failed
                made.append(_cell(pair, label, trial, top1 if is_done else None, failed))
    return made


def _cell(pair: str, label: str, trial: int, top1: float | None, failed: bool) -> Cell:
    run = f"{PAIRS.index(pair)}/{LABELS.index(label)}/{trial}"
    spec = {"method": "kd", "trial": trial, "options": {"note": EVIL}}
    if failed:
        return Cell(pair, label, trial, reason=ERROR[:400], state=FAILED, run=run, spec=spec)
    if top1 is None:
        return Cell(pair, label, trial, run=run, spec=spec)
    student = label == "Student alone"
    teacher = {"name": pair.split(" ")[0], "accuracy": 75.0, "sha256": "a1", "run": "teacher0"}
    made = document(top1, run=run, teacher=None if student else teacher, spec=spec)
    made["warnings"] = [f"odd: {EVIL}"] if label == EVIL else []
    made["measures"] = _measures(run, top1, student)
    return Cell(pair, label, trial, Record.model_validate(made))


def _measures(run: str, top1: float, student: bool) -> dict[str, Any]:
    return {
        "format": 1,
        "run": run,
        "samples": 10_000,
        "top1": top1,
        "top5": 92.0,
        "nll": 3 - top1 / 40,
        "ece": top1 / 10,
        "ece_adaptive": top1 / 11,
        "brier": 1 - top1 / 100,
        "agreement": None if student else top1 - 5,
        "kl": None if student else 1 - top1 / 100,
        "per_class": [top1 + step for step in range(CLASSES)],
    }


def _board(cells: Sequence[Cell]) -> Leaderboard:
    board = leaderboard(
        cells,
        {pair: TeacherScores(pair.split(" ")[0], (75.0,)) for pair in PAIRS},
        dataset="CIFAR-100",
        recipe="3 epochs",
        notes=[EVIL],
        baseline="Student alone",
    )
    measured = measure_tables.measured(board, ["nll", "ece", "agreement"])
    return measured if any(cell.record for cell in cells) else board


def _run(cell: Cell) -> Run:
    record = cell.record
    spec: Mapping[str, Any] = (record.spec if record else cell.spec) or {}
    return Run(
        id=record.run if record else cell.run,
        pair=cell.pair,
        label=cell.method,
        trial=cell.trial,
        state=cell.state,
        reason=cell.reason or "",
        epoch=3 if record else 0,
        epochs=3,
        spec=spec,
        record=record,
        starts=record.starts if record else (),
        error=ERROR if cell.state == FAILED else "",
    )


def _teachers() -> list[Run]:
    record = Record.model_validate(document(75.0, run="teacher0"))
    return [Run("teacher0", "resnet56", "Teacher", 0, "done", epoch=3, epochs=3, record=record)]


def _facts(label: str) -> MethodFacts:
    if label == "CRD":
        return MethodFacts(label)  # of somebody's code that is not here
    family = {"Student alone": "no teacher", "AT": "features"}.get(label, "logits")
    return MethodFacts(
        label=label,
        name=label.lower(),
        title=label,
        family=family,
        reads=() if family == "no teacher" else (family,),
        beyond=("2 views of every image",) if label == "DKD" else (),
        demands=[("sampler", "balanced")] if label == "AT" else [],
        paper="Somebody, ICLR 2017",
        venue="ICLR",
        year={"KD": "2014", "AT": "2017"}.get(label, "2022"),
        formula=f"KL(p ‖ q) · T²  {EVIL}",
        bibtex="@misc{x,\n  title = {{X}},\n}",
        options=[Option("alpha", "2.0", "1.0", "number from 0"), Option("name", EVIL, EVIL)],
        exceptions={PAIRS[0]: f"alpha {EVIL}"},
    )


def one_run() -> Content:
    """A board of one pair, one method and one trial."""
    whole = content(trials=1)
    cells = [cell for cell in whole.board.cells if cell.record and cell.method == "KD"][:1]
    board = leaderboard(cells, {}, dataset="CIFAR-100")
    methods = {"KD": whole.methods["KD"]}
    runs = [run for run in whole.runs if run.id == cells[0].record.run]  # type: ignore[union-attr]
    return replace(whole, board=board, methods=methods, runs=runs, progress=None)
