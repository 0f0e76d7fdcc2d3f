"""What `run` prints while it trains: on terminals of any width, in a log, quiet and verbose."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from experiments.local import progress as module
from experiments.local.progress import QUIET, VERBOSE, Progress, layout
from experiments.rundir.status import State, Status
from tests.experiments import tiny

SPECS = [tiny.spec("kd").model_copy(update={"trial": trial}) for trial in range(3)]
LABELS = {spec.id: f"KD {{T = {spec.trial}}}" for spec in SPECS}
TODO = [Status(spec, State.TODO) for spec in SPECS]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def row(epoch: int, **more: Any) -> dict[str, Any]:
    return {"stage": "main", "epoch": epoch, "train_loss": 1.0, "test_top1": 71.2, **more}


def lines(captured: pytest.CaptureFixture[str]) -> list[str]:
    return captured.readouterr().out.splitlines()


# ---- on a terminal -------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
def test_the_line_fits_any_terminal(monkeypatch, width):
    """And never grows over its end, where a terminal would wrap it and keep the remains."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(module, "_width", lambda: width)
    progress = Progress(TODO, labels=LABELS)
    progress.bar.dynamic_ncols = lambda _: (width, 24)  # as tqdm asks a real terminal
    sys.stderr.seek(0)
    sys.stderr.truncate()
    progress.epoch(SPECS[0], row(1))
    progress.epoch(SPECS[1], row(1))
    drawn = sys.stderr.getvalue().split("\r")
    assert max(len(line.rstrip()) for line in drawn) <= width
    assert "0/3 runs" in drawn[-1]
    if width >= 60:
        assert "71.20 %" in drawn[-1] and " left" in drawn[-1]
    if width >= 80:
        assert "KD {T = 1}" in drawn[-1], drawn[-1]
    progress.close()


def test_what_does_not_fit_is_cut_visibly():
    assert layout("0/3 runs 33% ", " 01:05 left", "71.20 % KD, trial 0, epoch 1/2", 60) == (
        "0/3 runs 33% ",
        " 01:05 left  71.20 % KD, trial 0, …",
    )
    assert layout("0/3 runs 33% ", " 01:05 left", "71.20 % KD", 40)[1] == " 01:05 left"


def test_on_a_terminal_only_finished_runs_leave_a_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", Terminal())
    progress = Progress(TODO, labels=LABELS)
    progress.epoch(SPECS[0], row(1))
    progress.ended(SPECS[0], {"state": "done", "top1": 72.0})
    progress.close()
    (line,) = [line for line in lines(capsys) if line.strip()]
    assert line.strip() == f"[1/3] {SPECS[0].pair}, KD {{T = 0}}, trial 0: done: top-1 72.00 %"


# ---- in a log ------------------------------------------------------------------------------------


def test_a_log_has_a_line_per_run_and_few_about_epochs(monkeypatch, capsys):
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    progress = Progress(TODO, labels=LABELS)
    for epoch in range(1, 241):
        now[0] += 1.0
        for spec in SPECS:
            progress.epoch(spec, row(epoch))
    for spec in SPECS:
        progress.ended(spec, {"state": "done", "top1": 72.0})
    printed = lines(capsys)
    assert len(printed) == 240 / module.LOG_SECONDS + 3
    assert printed[0].startswith("0/3 runs ") and "71.20 % KD {T" in printed[0]
    assert [line[:6] for line in printed[-3:]] == ["[1/3] ", "[2/3] ", "[3/3] "]


def test_verbose_prints_every_epoch(capsys):
    progress = Progress(TODO, labels=LABELS, level=VERBOSE)
    progress.epoch(SPECS[1], row(1))
    progress.epoch(SPECS[1], row(2))
    assert [": epoch 1/" in line or ": epoch 2/" in line for line in lines(capsys)] == [True, True]


def test_quiet_prints_failures_only(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", Terminal())
    progress = Progress(TODO, labels=LABELS, level=QUIET)
    progress.epoch(SPECS[0], row(1))
    progress.ended(SPECS[0], {"state": "done", "top1": 72.0})
    progress.ended(SPECS[1], {"state": "failed", "error": "diverged"})
    assert sys.stderr.getvalue() == ""
    assert lines(capsys) == [f"[2/3] {SPECS[1].pair}, KD {{T = 1}}, trial 1: failed: diverged"]


def test_initial_stages_do_not_count_as_the_recipes_epochs():
    progress = Progress(TODO)
    progress.epoch(SPECS[0], {**row(1), "stage": "initial"})
    assert progress.eta.fraction() == 0.0
