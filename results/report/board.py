"""One board of a report: the addresses of its pages, and what stands on them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from results import verdict_tables
from results.cells import DONE, TODO
from results.layout import Table
from results.report import charts, facets, run_facts, views, words
from results.report.addresses import slugs
from results.report.chart import Chart
from results.report.content import TEACHER, Content, Run

Scoped = tuple[str, Chart]  # the key of its specification, and a chart


@dataclass(frozen=True)
class Problem:
    """Runs that are stuck for one reason."""

    state: str
    reason: str
    runs: Sequence[Run]


class Board:
    """A `Content` as pages: of the board, of each method and run, and of its matrix."""

    def __init__(self, content: Content, prefix: str = "", most_runs: int | None = None) -> None:
        """``prefix`` begins the keys of its pages; with ``most_runs`` later runs have no page."""
        self.content, self.board = content, content.board
        self.prefix = f"{prefix}/" if prefix else ""
        self.views = views.views(self.board)
        with_page = [run for run in content.runs if run.state != TODO or run.epoch]
        self.runs = with_page[:most_runs]
        self.left_out = len(with_page) - len(self.runs)
        self._methods = slugs(content.methods)
        self._kept: dict[str, Mapping[str, str]] = {}
        self._runs = slugs(run.id for run in self.runs)
        self.specifications: dict[str, Mapping[str, Any]] = {}
        self._of_runs = self._charts("run", charts.run_charts())

    # ---- addresses -------------------------------------------------------------------------------

    @property
    def home(self) -> str:
        """The key of the board's own page."""
        return f"{self.prefix}index"

    @property
    def progress_page(self) -> str:
        """The key of the page about the matrix."""
        return f"{self.prefix}matrix"

    def method_page(self, label: str) -> str | None:
        """The key of a method's page; None for other rows, such as the teacher's."""
        name = self._methods.get(label)
        return name and f"{self.prefix}method/{name}"

    def run_page(self, run: str | None) -> str | None:
        """The key of a run's page; None for one that has no page."""
        name = self._runs.get(run or "")
        return name and f"{self.prefix}run/{name}"

    # ---- the board's page ------------------------------------------------------------------------

    @property
    def done(self) -> int:
        """How many runs are done."""
        return sum(run.state == DONE for run in self.content.runs)

    @property
    def best(self) -> list[str]:
        """The methods that cannot be told apart from the best; empty where that is true of all."""
        column = self.board.pairs[0] if len(self.board.pairs) == 1 else ""
        best = self.board.verdicts.best.get(column, ())
        return [method for method in self.board.methods if method in best]

    def overview(self) -> dict[str, Any]:
        """What the board's page shows."""
        made = charts.board_charts(self.content)
        verdicts = self.board.verdicts
        return {
            "findings": words.findings(verdicts),
            "answer": words.answer(verdicts, self.best),
            "conclusions": verdict_tables.notes(verdicts),
            "facets": facets.facets(self.content.methods.values()),
            "of_methods": facets.of_methods(self.content.methods),
            "tuning": views.tuning(self.board),
            "published": views.published(self.board),
            "charts": self._charts("board", made),
            "missing": charts.missing(self.content, made),
            "teachers": [run for run in self.content.runs if run.label == TEACHER],
            "done": self.done,
        }

    def _charts(self, scope: str, found: Iterable[Chart]) -> list[Scoped]:
        """Charts with the keys of their specifications, which are remembered."""
        scoped = [(f"{self.prefix}{scope}/{chart.name}", chart) for chart in found]
        self.specifications |= {key: chart.spec for key, chart in scoped}
        return scoped

    # ---- its methods -----------------------------------------------------------------------------

    def method(self, label: str) -> dict[str, Any]:
        """What a method's page shows."""
        costs = [view.table for view in self.views if view.name == "cost"]
        placed = self._placed.get(label, {})
        return {
            "facts": self.content.methods[label],
            "results": views.of_method(self.board, self.views, label),
            "findings": [f for f in words.findings(self.board.verdicts) if label in f.methods],
            "comparison": self.board.verdicts.comparisons.get(label),
            "costs": [pair for table in costs for pair in _row(table, label)],
            "runs": list(
                {id_: run for runs in placed.values() for id_, run in runs.items()}.values()
            ),
            "by_pair": {pair: list(runs.values()) for pair, runs in placed.items()},
            "command": words.command(self.content.again, methods=label),
            "charts": self._charts("method", charts.method_charts(self.content, label)),
        }

    @functools.cached_property
    def _placed(self) -> dict[str, dict[str, dict[str, Run]]]:
        """Label -> pair -> run id -> run; the cells know, as one run may stand in several."""
        known = {run.id: run for run in self.content.runs}
        found: dict[str, dict[str, dict[str, Run]]] = {}
        for cell in self.board.cells:
            run = known.get(cell.record.run if cell.record else cell.run)
            if run:
                found.setdefault(cell.method, {}).setdefault(cell.pair, {})[run.id] = run
        return found

    # ---- its runs --------------------------------------------------------------------------------

    def run(self, run: Run) -> dict[str, Any]:
        """What a run's page shows."""
        spec = dict(words.flat(run.spec))
        return {
            "facts": [*run_facts.facts(run), *run_facts.measures(run)],
            "files": run_facts.files(run),
            "command": self._repeat(run),
            "beside": self._beside(run, spec),
            "teacher": run_facts.teacher(run),
            # One text: thousands of pages have forty lines each.
            "specification": "\n".join(f"{name}: {text}" for name, text in spec.items()),
            "starts": run_facts.starts(run),
            "warnings": run.record.warnings if run.record else (),
            "history": self.content.history(run.id),
            "trials": self._trials.get((run.label, run.pair), []),
            "charts": self._of_runs,
        }

    def others(self, run: Run) -> tuple[str, ...]:
        """The runs that the page of a finished run shows, too: it changes only with them."""
        baseline = self._baseline.get((run.pair, run.trial))
        trials = [trial.id for trial in self._trials.get((run.label, run.pair), [])]
        return (*trials, baseline.id if baseline else "")

    def _repeat(self, run: Run) -> str:
        """The command that trains this run alone: once more where it is done."""
        if run.label == TEACHER:  # is trained before its students, never by itself
            return ""
        line = self.content.again if run.record else self.content.train
        return words.command(line, pairs=run.pair, methods=run.label, trials=run.trial)

    def _beside(self, run: Run, spec: Mapping[str, str]) -> dict[str, Any] | None:
        """The baseline's run of the same pair and trial, and what differs but the method."""
        other = self._baseline.get((run.pair, run.trial))
        if run.label == TEACHER or other is None or other.id == run.id or not run.record:
            return None
        known = run_facts.conditions(run, spec), self._conditions(other)
        return {"run": other, "differences": run_facts.differences(*known)}

    @functools.cached_property
    def _baseline(self) -> dict[tuple[str, int], Run]:
        placed = self._placed.get(self.board.verdicts.baseline or "", {})
        return {
            (pair, run.trial): run
            for pair, runs in placed.items()
            for run in runs.values()
            if run.record
        }

    def _conditions(self, run: Run) -> Mapping[str, str]:
        """Kept: all methods are compared with one run."""
        if run.id not in self._kept:
            self._kept[run.id] = run_facts.conditions(run, dict(words.flat(run.spec)))
        return self._kept[run.id]

    @functools.cached_property
    def _trials(self) -> dict[tuple[str, str], list[Run]]:
        found: dict[tuple[str, str], list[Run]] = {}
        for run in self.runs:
            found.setdefault((run.label, run.pair), []).append(run)
        return found

    # ---- its matrix ------------------------------------------------------------------------------

    def problems(self) -> list[Problem]:
        """The runs that do not come by themselves, by state and reason."""
        found: dict[tuple[str, str], list[Run]] = {}
        for run in self.content.runs:
            if run.state != DONE and run.reason:
                found.setdefault((run.state, run.reason), []).append(run)
        return [Problem(*key, runs) for key, runs in found.items()]

    def progress(self) -> dict[str, Any]:
        """What the page about the matrix shows."""
        states = {run.state for run in self.content.runs}
        return {
            "problems": self.problems(),
            "meanings": [(state, text) for state, text in words.STATES.items() if state in states],
            "left": words.left(self.content.runs),
        }


def _row(table: Table, label: str) -> list[tuple[str, str]]:
    """The row of a method as (heading, text)."""
    found = [row for row in table.rows if row[0] == label]
    return list(zip(table.header[1:], found[0][1:], strict=True)) if found else []
