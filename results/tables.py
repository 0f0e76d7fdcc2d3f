"""A leaderboard's numbers as tables of text: what is printed, bold, a dash or a footnote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from results import published_table, verdict_tables
from results.cells import is_missing, of_one_protocol
from results.footnotes import Footnotes
from results.layout import Table, part
from results.leaderboard import Leaderboard
from results.printed import MISSING, number, plus_minus, signed
from results.schema import Record
from results.verdicts import Value, Verdicts, verdicts


def all_of(board: Leaderboard, best: bool = False, cost: bool = True) -> list[Table]:
    """The main table and its verdicts; validation, where held out; best epochs; published results;
    the cost last.
    """
    last = _Accuracy(board, "mean", "std", board.verdicts)
    tables = [headline(board, f"{board.dataset}: test top-1 accuracy (%)")]
    tables += verdict_tables.table(last.verdicts)
    validation = bool(board.frame["validation_mean"].notna().any())
    if validation:
        held_out = _Accuracy(
            board, "validation_mean", "validation_std", _verdicts(board, _held_out)
        )
        note = "Accuracy on the held-out part at the last epoch: choose options by this table."
        notes = [note, *board.validation_notes, *last.footnotes.notes()]
        tables.append(held_out.table("Validation top-1 accuracy (%)", notes))
    if best:
        best_epoch = _verdicts(board, lambda record: record.accuracy.best.top1)
        flattering = _Accuracy(board, "best_mean", "best_std", best_epoch)
        split = "validation part" if validation else "test set"
        title = f"Best epoch, picked on the {split}"
        tables.append(flattering.table(title, _best_notes(last, validation)))
    tables += published_table.tables(board.published)
    return tables + (_cost(board) if cost else [])


def headline(board: Leaderboard, title: str) -> Table:
    """The accuracies of the last epoch, with averages, differences, verdicts and all notes."""
    last = _Accuracy(board, "mean", "std", board.verdicts)
    return last.table(title, _last_notes(last))


def of_pairs(board: Leaderboard, title: str) -> Table:
    """The accuracies of the last epoch on each pair alone; below it only how to read the cells."""
    last = _Accuracy(board, "mean", "std", board.verdicts)
    columns = range(1 + len(board.pairs))
    notes = [f"Test accuracy at the last epoch, {_trials(last.trials)}.", *_cells(last)]
    notes += last.footnotes.notes()
    return replace(part(last.table(title, ()), columns), bold=frozenset(), notes=notes)


def _cells(table: _Accuracy) -> list[str]:
    stuck = [f"{text}." for text in table.footnotes.legend()]
    missing = f"{MISSING}: not there yet; (n=k): fewer trials than planned."
    return [" ".join([missing] * table.incomplete + stuck)] if table.incomplete or stuck else []


def _held_out(record: Record) -> float | None:
    return record.accuracy.validation.top1 if record.accuracy.validation else None


def _verdicts(board: Leaderboard, value: Value) -> Verdicts:
    return verdicts(of_one_protocol(board.cells), board.baseline, value, board.level)


class _Accuracy:
    """Methods × pairs, of the last epoch (``mean``, ``std``) or the best (``best_mean``, …).

    Only those of the last epoch have a column of verdicts; ``verdicts`` say what is bold in all.
    """

    def __init__(self, board: Leaderboard, mean: str, std: str, verdicts: Verdicts) -> None:
        self.board, self.mean, self.std, self.verdicts = board, mean, std, verdicts
        self.judged = mean == "mean" and verdicts.basis is not None
        cells: list[dict[Any, Any]] = board.frame.to_dict("records")
        self.cells = {(cell["method"], cell["pair"]): cell for cell in cells}
        self.footnotes = Footnotes(board.cells)
        self.trials = sorted({cell["expected"] for cell in cells if cell["expected"]})
        self.incomplete = any(cell["missing"] for cell in cells)
        self.averaged = len(board.pairs) > 1

    def table(self, title: str, notes: Sequence[str]) -> Table:
        teacher = [self._teacher()] if self.mean == "mean" and self.board.teachers else []
        rows = [self._row(method) for method in self.board.methods]
        bold = self._bold(len(teacher))
        return Table(title, self._header(), teacher + rows, bold, notes, has_pairs=True)

    def _header(self) -> list[str]:
        average = [_average_of(self.board)] * self.averaged
        delta = ["Δ"] * (self.board.baseline is not None)
        verdict = ["Verdict"] * self.judged
        coverage = ["Coverage"] * self.incomplete
        return ["Method", *self.board.pairs, *average, *delta, *verdict, *coverage]

    def _row(self, method: str) -> list[str]:
        board = self.board
        row = [method, *(self._text(method, pair) for pair in board.pairs)]
        if self.averaged:
            row.append(number(board.average(method, self.mean)))
        if board.baseline is not None:
            own = method == board.baseline or method in board.departing
            row.append("" if own else _signed(board.delta(method, self.mean)))
        if self.judged:
            row.append(verdict_tables.verdict_cell(self.verdicts, method))
        if self.incomplete:
            row.append(self._coverage(method))
        return row

    def _text(self, method: str, pair: str) -> str:
        cell = self.cells[method, pair]
        if not is_missing(cell["reason"]):
            return self.footnotes.impossible_cell(cell["reason"])
        stuck = self.footnotes.stuck_cell(method, pair, cell["expected"])
        if stuck is not None:
            return stuck
        text = plus_minus(cell[self.mean], cell[self.std])
        plain = text == MISSING or (cell["complete"] and len(self.trials) == 1)
        notes = [f"n={cell['n']}"] * (not plain) + self.footnotes.stuck_runs(method, pair)
        return f"{text} ({', '.join(notes)})" if notes else text

    def _coverage(self, method: str) -> str:
        cells = [self.cells[method, pair] for pair in self.board.pairs]
        possible = [cell for cell in cells if is_missing(cell["reason"])]
        return f"{sum(cell['complete'] for cell in possible)}/{len(possible)}"

    def _teacher(self) -> list[str]:
        """Teachers are not in the race: no Δ, no coverage, never bold."""
        board = self.board
        spreads = [board.teacher(pair) for pair in board.pairs]
        row = ["Teacher", *(plus_minus(mean, std) for mean, std in spreads)]
        if self.averaged:
            row.append(number(sum(mean for mean, _ in spreads) / len(spreads)))
        return row + [""] * (len(self._header()) - len(row))

    def _bold(self, above: int) -> frozenset[tuple[int, int]]:
        """The methods of each column that cannot be told apart from its best, unless all are."""
        columns = [*self.board.pairs, *[""] * self.averaged]
        return frozenset(
            (above + row, column)
            for column, name in enumerate(columns, start=1)
            for row, method in enumerate(self.board.methods)
            if method in self.verdicts.best.get(name, ())
        )


def _average_of(board: Leaderboard) -> str:
    """The heading says so itself where not all pairs of the matrix are shown."""
    return f"Average of {len(board.pairs)}" if board.all_pairs else "Average"


def _pairs_shown(board: Leaderboard, all_of_them: str) -> str:
    return f"the {len(board.pairs)} pairs shown" if board.all_pairs else all_of_them


def _last_notes(table: _Accuracy) -> list[str]:
    board = table.board
    return [
        f"Test accuracy at the last epoch, {_trials(table.trials)}.",
        *([f"Recipe: {board.recipe}."] if board.recipe else []),
        *(f"Exception: {text}" for text in board.exceptions),
        *board.notes,
        *_legend(table),
        *verdict_tables.notes(table.verdicts),
        *table.footnotes.notes(),
        *(f"Warning: {text}" for text in board.warnings),
    ]


def _best_notes(table: _Accuracy, validation: bool) -> list[str]:
    if validation:
        first = f"Highest validation accuracy of all epochs; {_trials(table.trials)}."
        return [first, *table.board.validation_notes, *table.footnotes.notes()]
    first = (
        "Highest test accuracy of all epochs: picked on the test set, so not a result, only for "
        f"comparison with papers that report it; {_trials(table.trials)}."
    )
    return [first, *table.footnotes.notes()]


def _trials(expected: Sequence[int]) -> str:
    if max(expected, default=1) == 1:
        return "one trial per cell"
    n = f"n = {expected[0]}" if len(expected) == 1 else "n"
    return f"mean ± sample standard deviation over {n} trials"


def _legend(table: _Accuracy) -> list[str]:
    """Explains only what is there to be seen."""
    baseline, several = table.board.baseline, table.averaged
    lines = []
    over = f", averaged over {_pairs_shown(table.board, 'pairs')}" if several else ""
    if baseline is not None:
        lines.append(f"Δ: points above {baseline}{over}.")
    if several and table.board.all_pairs:
        pairs, planned = len(table.board.pairs), table.board.all_pairs
        lines.append(f"Averages are over the {pairs} pairs shown, of {planned} in the matrix.")
    if table.incomplete:
        lines.append(
            f"{MISSING}: not there yet; (n=k): fewer trials than planned, in no average and never "
            "bold. Coverage: complete / possible cells."
        )
    lines += [f"{text}." for text in table.footnotes.legend()]
    if several and (table.incomplete or table.footnotes.impossible):
        lines.append("An average needs every pair.")
    return [" ".join(lines)] if lines else []


Formatter = Callable[[float], str]


def _cost(board: Leaderboard) -> list[Table]:
    """Columns that no record fills, as memory on a CPU, are left out; so are rows without any."""
    frame = board.cost_frame
    columns: list[tuple[str, str, Formatter]] = [
        ("seconds", *_time(float(frame["seconds"].max()))),
        ("images_per_second", "Images/s", lambda value: f"{value:,.0f}"),
        ("step_by_kd", "Step / KD", lambda value: f"{value:.2f}"),
        ("extra_parameters", "Extra parameters (M)", _millions),
        ("extra_at_test", "of these at test (M)", _millions),
        ("peak_memory_bytes", "Peak memory (GiB)", lambda value: f"{value / 2**30:.2f}"),
    ]
    shown = [c for c in columns if frame[c[0]].notna().any()]
    shown = [c for c in shown if c[0] != "extra_at_test" or frame[c[0]].any()]
    if not shown:
        return []
    filled = frame.dropna(how="all", subset=[key for key, _, _ in shown])
    rows = [
        [str(row["method"]), *(_formatted(row[key], text) for key, _, text in shown)]
        for row in filled.to_dict("records")
    ]
    over = _pairs_shown(board, "all pairs")
    notes = [f"Per run, mean over {over}, as recorded; runs may have shared a device."]
    if any(key == "step_by_kd" for key, _, _ in shown):
        notes.append(
            "Step / KD: of these times, each with its share of the data's and teacher's; "
            "methods are measured side by side by `benchmark.py list methods --pair`."
        )
    if len(rows) < len(frame):
        notes.append("Methods that lack a pair are left out.")
    return [Table("Cost", ["Method", *(title for _, title, _ in shown)], rows, notes=notes)]


def _time(longest: float) -> tuple[str, Formatter]:
    """Heading and format in the unit that leaves the longest a readable number."""
    unit, seconds = ("h", 3600) if longest >= 7200 else ("min", 60) if longest >= 120 else ("s", 1)
    return f"Time ({unit})", lambda value: f"{value / seconds:.1f}"


def _millions(value: float) -> str:
    return f"{value / 1e6:.3f}" if value else "0"


def _formatted(value: float, text: Formatter) -> str:
    return MISSING if is_missing(value) else text(value)


def _signed(value: float) -> str:
    return _formatted(value, signed)
