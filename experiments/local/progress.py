"""Progress of a matrix: a line that fits the terminal, or sparse lines in a log."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

from tqdm import tqdm

from experiments.local.eta import Eta, Work
from experiments.matrix.run_spec import RunSpec
from experiments.plan.summary import run_name
from experiments.rundir import epochs
from experiments.rundir.outcome import Outcome
from experiments.rundir.status import ACTIVE, Status
from experiments.wording import plural
from experiments.worker.job import describe, epoch_of

LOG_SECONDS = 30.0  # between two lines about epochs in a log: an hour is 120 lines, not thousands
BAR = 10  # characters of the bar that are kept for it on a narrow terminal
QUIET, NORMAL, VERBOSE = -1, 0, 1


class Progress:
    """Counts runs, and their epochs by cost. The bar goes to standard error, lines to output.

    todo     statuses of the runs that are to be trained
    labels   how the matrix calls its methods, by run id
    seconds  predicted seconds of each run on one worker, by run id
    level    QUIET: only failures; VERBOSE: every epoch
    pairs    how the matrix calls their pairs, by run id
    """

    def __init__(
        self,
        todo: Iterable[Status],
        workers: int = 1,
        labels: Mapping[str, str] | None = None,
        seconds: Mapping[str, float | None] | None = None,
        level: int = NORMAL,
        pairs: Mapping[str, str] | None = None,
    ) -> None:
        todo, self.labels, self.level = list(todo), dict(labels or {}), level
        self.pairs = dict(pairs or {})
        self.on_terminal = sys.stderr.isatty() and level > QUIET
        self.runs, self.done, self.last = len(todo), 0, ""
        self.eta = Eta(_works(todo, seconds or {}), workers, time.monotonic())
        self.spent: dict[str, float] = {}  # seconds that a run reported last, by run id
        self.logged = time.monotonic()
        self.bar = tqdm(
            total=1.0,
            disable=not self.on_terminal,
            dynamic_ncols=True,
            leave=False,
            bar_format="|{bar}|",
        )
        self.tick()

    # ---- events --------------------------------------------------------------------------------

    def epoch(self, spec: RunSpec, row: dict[str, Any]) -> None:
        """Report that a run finished an epoch."""
        seconds = self._took(spec, row)
        if row.get("stage") != "initial" or epochs.planned_initially(spec):  # else not in the sum
            self.eta.epochs(spec.id, 1, time.monotonic(), seconds)
        self.last = self._short(spec, epoch_of(spec, row), row)
        if self.level == VERBOSE:
            self.note(describe(spec, row, self.name(spec)))
        elif not self.on_terminal and self.level == NORMAL and self._is_due():
            self.note(f"{' '.join(self.counts().split())}, {self._left()}; {self.last}")
        self.tick()

    def ended(self, spec: RunSpec, event: Mapping[str, Any]) -> None:
        """Report that a run ended, with its ``state`` and its ``top1`` or ``error``."""
        self.done += 1
        self.eta.ended(spec.id, time.monotonic())
        self.last = self._short(spec, event["state"], {"test_top1": event.get("top1")})
        if self.level > QUIET or event["state"] != Outcome.DONE:
            line = describe(spec, dict(event), self.name(spec))
            self.note(f"[{self.done}/{self.runs}] {line}")
        self.tick()

    def moved(self, before: Mapping[str, Status], now: Mapping[str, Status]) -> None:
        """Report what changed between two readings of the statuses."""
        for run, status in now.items():
            if run not in before:  # its options have been chosen since: no placeholder any more
                continue
            done = before[run].epochs.left - status.epochs.left
            self.eta.epochs(run, max(0, done), time.monotonic())
            if status.state != before[run].state and status.state not in ACTIVE:
                top1 = status.record.top1 if status.record else None
                end = {"error": status.detail} if top1 is None else {"top1": top1}
                self.ended(status.spec, {"state": status.state, **end})
        self.tick()

    def note(self, line: str) -> None:
        """Print a line that stays above the bar; a terminal or pipe that is gone ends no run."""
        with contextlib.suppress(OSError, ValueError):
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()
        self.logged = time.monotonic()

    def tick(self) -> None:
        """Draw the line again: the time left has changed."""
        if not self.on_terminal:
            return
        left, right = layout(f"{self.counts()} ", f" {self._left()}", self.last, _width())
        self.bar.n = self.eta.fraction()
        self.bar.bar_format = f"{_literal(left)}|{{bar}}|{_literal(right)}"
        with contextlib.suppress(OSError, ValueError):
            self.bar.refresh()

    def close(self) -> None:
        self.bar.close()

    # ---- words ---------------------------------------------------------------------------------

    def name(self, spec: RunSpec) -> str:
        """A run in the words of its matrix: "resnet20 -> resnet8, KD (T=2), trial 0"."""
        return run_name(spec, self.labels.get(spec.id), self.pairs.get(spec.id))

    def counts(self) -> str:
        """ "3/27 runs  34%"."""
        return f"{self.done}/{plural(self.runs, 'run')} {int(100 * self.eta.fraction()):3d}%"

    def _left(self) -> str:
        seconds = self.eta.seconds_left(time.monotonic())
        return "time left unknown" if seconds is None else f"{tqdm.format_interval(seconds)} left"

    def _short(self, spec: RunSpec, what: str, row: Mapping[str, Any]) -> str:
        """What happened last, the accuracy first: a narrow line loses its end."""
        top1 = row.get("test_top1", row.get("validation_top1"))
        accuracy = "" if top1 is None else f"{top1:.2f} % "
        label = self.labels.get(spec.id, spec.method)
        return (
            f"{accuracy}{label}, trial {spec.trial}, {what}, {self.pairs.get(spec.id, spec.pair)}"
        )

    def _is_due(self) -> bool:
        return time.monotonic() - self.logged >= LOG_SECONDS

    def _took(self, spec: RunSpec, row: Mapping[str, Any]) -> float | None:
        """One worker's seconds for this epoch, None where the run does not say."""
        spent = row.get("seconds")
        before = self.spent.get(spec.id, 0.0 if row.get("epoch") == 1 else None)
        if spent is None:
            return None
        self.spent[spec.id] = spent
        return None if before is None else max(0.0, spent - before)


def layout(left: str, time_left: str, last: str, width: int) -> tuple[str, str]:
    """What stands before and after the bar, so that all fits ``width`` characters.

    What happened last is cut first, then left out.
    """
    room = width - len(left) - len(time_left) - BAR - len("||") - len("  ")
    if room < len("99.99 %") or not last:
        return left, time_left
    return left, f"{time_left}  {last if len(last) <= room else last[: room - 1] + '…'}"


def _literal(text: str) -> str:
    """For a format: a label may contain braces."""
    return text.replace("{", "{{").replace("}", "}}")


def _width() -> int:
    """Of the terminal that the bar is drawn on; 80 where it does not say."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def _works(todo: Iterable[Status], seconds: Mapping[str, float | None]) -> dict[str, Work]:
    todo = list(todo)
    awaited = {run for s in todo for run in s.spec.needs}
    works = {}
    for s in todo:
        left = s.epochs.left
        predicted = seconds.get(s.spec.id)
        data, batch_size = s.spec.dataset.key, s.spec.recipe.batch_size
        kind = (s.spec.pair, s.spec.method, repr(s.spec.options), data, batch_size)
        per_epoch = predicted / left if predicted and left > 0 else None
        works[s.spec.id] = Work(left, kind, per_epoch, s.spec.id in awaited)
    return works
