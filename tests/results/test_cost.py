"""What methods cost, below the accuracies."""

from __future__ import annotations

import math

import pytest

from results.cells import Cell
from results.formats import to_text
from tests.results.example import record
from tests.results.test_leaderboard import grid, make


def test_cost():
    def one(pair: str, method: str, seconds: float, **changes) -> Cell:
        return Cell(pair, method, 0, record(70.0, run=pair + method, seconds=seconds, **changes))

    head = {"parameters": {"student": 1, "extra": 2_000_000, "extra_at_test": 500_000}}
    given = [one("p", "KD", 3600.0), one("q", "KD", 10800.0)]
    given += [one("p", "AT", 60.0), Cell("q", "AT", 0)]
    given += [one("p", "SimKD", 9000.0, **head), one("q", "SimKD", 9000.0)]
    made = make(given)
    frame = made.cost_frame.set_index("method")
    assert frame.loc["KD", "seconds"] == 7200.0
    assert math.isnan(frame.loc["AT", "seconds"])  # its average lacks a pair
    assert frame.loc["SimKD", "extra_parameters"] == 1_000_000
    assert grid(made, table=1) == [
        ["Method", "Time (h)", "Images/s", "Extra parameters (M)", "of these at test (M)",
         "Peak memory (GiB)"],
        ["KD", "2.0", "15,000", "0", "0", "1.00"],
        ["SimKD", "2.5", "15,000", "1.000", "0.250", "1.00"],
    ]  # fmt: skip


def test_a_steps_time_beside_kds():
    def one(method: str, name: str, speed: float | None) -> Cell:
        made = record(70.0, run=name, spec={"method": method}, images_per_second=speed)
        return Cell("p", name, 0, made)

    given = [one("vanilla", "Alone", 400.0), one("kd", "KD", 300.0), one("kd", "KD, T = 8", 200.0)]
    made = make([*given, one("at", "AT", None)])
    factors = made.cost_frame.set_index("method")["step_by_kd"]
    assert factors.round(2).to_dict() == pytest.approx(
        {"Alone": 0.75, "KD": 1.0, "KD, T = 8": 1.5, "AT": math.nan}, nan_ok=True
    )
    assert "side by side" in to_text(made, "markdown")
    without = make([one("vanilla", "Alone", 400.0)])
    assert "Step / KD" not in to_text(without, "markdown")


def test_cost_columns_without_values_are_left_out():
    given = [Cell("p", "KD", 0, record(70.0, peak_memory_bytes=None, seconds=8.25))]
    assert grid(make(given), table=1)[0][1:] == ["Time (s)", "Images/s", "Extra parameters (M)"]
