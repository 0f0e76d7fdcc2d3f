"""Tables of measures: the rules of the main table, in every format."""

from __future__ import annotations

import csv
import io
import json
import re
import statistics

import numpy as np
import pytest

from results import measure_tables, predictions, schema
from results.cells import Cell
from results.formats import FORMATS, to_text, trials_csv
from results.measure_tables import MEASURES, measured
from results.schema import Measures
from tests.results.example import record
from tests.results.test_leaderboard import make

PAIRS = ("p", "q")


def measures(**values) -> Measures:
    return Measures.model_validate({"format": 1, "run": "r", "samples": 10, "top1": 50, **values})


def cell(pair, method, trial, **values) -> Cell:
    """A done run; without values it has no measures."""
    found = measures(**values) if values else None
    done = record(70.0, run=f"{pair}{method}{trial}").model_copy(update={"measures": found})
    return Cell(pair, method, trial, done)


def example():
    """Student alone has no teacher; KD is whole; AT lacks the measures of one run."""
    draw = np.random.default_rng(0)
    cells = []
    for pair in PAIRS:
        for trial in range(2):
            nll, kl, agreement = draw.uniform(size=3)
            cells += [
                cell(pair, "Student alone", trial, nll=nll),
                cell(pair, "KD", trial, nll=nll, kl=kl, agreement=100 * agreement),
                cell(pair, "AT", trial, **({"nll": nll} if (pair, trial) != ("q", 1) else {})),
            ]
    return make(sorted(cells, key=lambda c: c.method != "Student alone"))


def rows_of(board, number: int) -> dict[str, list[str]]:
    """The texts of a table by method."""
    return {row[0]: list(row[1:]) for row in measure_tables.tables(board)[number].rows}


def values(board, pair, method, name):
    found = (c for c in board.cells if (c.pair, c.method) == (pair, method))
    return [getattr(c.record.measures, name) for c in found if c.record.measures]


def test_mean_deviation_and_average():
    board = measured(example(), ["nll", "top1", "kl"])
    assert [t.title for t in measure_tables.tables(board)] == [
        "CIFAR-100: negative log-likelihood (nats); lower is better",
        "CIFAR-100: KL(teacher || student) (nats); lower is closer to the teacher",
    ]
    texts = rows_of(board, 0)["KD"]
    both = [values(board, pair, "KD", "nll") for pair in PAIRS]
    expected = [f"{statistics.mean(v):.3f} ± {statistics.stdev(v):.3f}" for v in both]
    assert texts == [*expected, f"{statistics.mean(map(statistics.mean, both)):.3f}"]


def test_what_is_missing_is_in_no_average_and_said():
    board = measured(example(), ["nll"])
    first, second, average = rows_of(board, 0)["AT"]
    assert "±" in first and average == "–"
    assert second == f"{values(board, 'q', 'AT', 'nll')[0]:.3f} (n=1)"
    (table,) = measure_tables.tables(board)
    assert "`benchmark.py evaluate --matrix`" in table.notes[1]


def test_what_cannot_be_is_not_called_missing():
    board = measured(example(), ["agreement"])
    assert rows_of(board, 0)["Student alone"] == ["n/a", "n/a", "–"]
    assert rows_of(board, 0)["AT"] == ["n/a", "–", "–"]  # one of the runs of q has no measures
    assert not measure_tables.tables(board)[0].bold


def test_top1_alone_changes_nothing():
    plain = example()
    for form in FORMATS:
        assert to_text(measured(plain, ["top1"]), form) == to_text(plain, form)


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_every_format(form):
    text = to_text(measured(example(), ["nll", "kl"]), form)
    if form == "csv":
        row = next(csv.DictReader(io.StringIO(text)))
        assert {"nll_mean", "nll_std", "nll_n", "kl_mean"} <= row.keys()
    elif form == "json":
        whole = json.loads(text)
        assert whole["rows"][0]["nll_n"] == 2 and whole["rows"][0]["kl_mean"] is None
        assert {"nll", "kl"} <= whole["trials"][0].keys()
    else:
        assert text.count("lower is better") == 1 and text.count("closer to the teacher") == 1


def test_each_run_has_its_measures():
    board = measured(example(), ["nll", "top5"])
    rows = list(csv.DictReader(io.StringIO(trials_csv(board))))
    assert [row["nll"] for row in rows] == [
        str(c.record.measures.nll) if c.record.measures else "" for c in board.cells
    ]
    assert list(rows[0]).count("top5") == 1


def test_every_measure_is_a_field_and_has_its_direction():
    fields = set(schema.Measures.model_fields)
    numbers = fields - {"format", "run", "predictions", "teacher", "samples", "per_class"}
    assert set(MEASURES) == numbers - {"correct"}
    found = measures(**dict.fromkeys(MEASURES, 1.0))
    assert predictions.correct_of(found) is None
    for measure in MEASURES.values():
        assert re.fullmatch("(higher|lower) is (better|closer to .*)", measure.direction)
