"""Progress of a matrix: a bar on a terminal, one line per epoch in a log."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

from experiments.matrix.run_spec import RunSpec
from experiments.rundir.status import ACTIVE, Status
from experiments.wording import plural
from experiments.worker.job import describe


class Progress:
    """Counts epochs over all runs. The bar goes to standard error, the lines to standard output."""

    def __init__(self, epochs: int, runs: int) -> None:
        self.on_terminal = sys.stderr.isatty()
        self.runs, self.done = runs, 0
        self.bar = tqdm(
            total=epochs, unit="epoch", disable=not self.on_terminal, dynamic_ncols=True
        )
        self._title()

    def epoch(self, spec: RunSpec, row: dict[str, Any]) -> None:
        """Report that a run finished an epoch."""
        self.bar.update(1)
        if self.on_terminal:
            self.bar.set_postfix_str(f"{spec} {row['epoch']}/{spec.recipe.epochs}", refresh=False)
        else:
            self.note(describe(spec, row))

    def ended(self, spec: RunSpec, state: str, line: str) -> None:
        """Report that a run ended, in whatever state."""
        self.done += 1
        self._title()
        self.note(f"[{self.done}/{self.runs}] {line}")

    def moved(self, before: Mapping[str, Status], now: Mapping[str, Status]) -> None:
        """Report what changed between two readings of the statuses."""
        for run, status in now.items():
            self.bar.update(max(0, status.epoch - before[run].epoch))
            if status.state != before[run].state and status.state not in ACTIVE:
                accuracy = status.record.top1 if status.record else None
                end = status.detail if accuracy is None else f"top-1 {accuracy:.2f} %"
                self.ended(status.spec, status.state, f"{status.spec}: {status.state}: {end}")

    def note(self, line: str) -> None:
        """Print a line that stays above the bar."""
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()

    def close(self) -> None:
        self.bar.close()

    def _title(self) -> None:
        self.bar.set_description_str(f"{self.done}/{plural(self.runs, 'run')}", refresh=False)
