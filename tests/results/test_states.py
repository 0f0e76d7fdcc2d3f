"""Cells whose runs failed or are stuck are not shown as "not there yet"."""

from __future__ import annotations

import pytest

from experiments.rundir.status import State
from results import cells as states
from results.cells import Cell
from results.formats import to_text
from tests.results.example import record
from tests.results.test_leaderboard import grid, make, row

WHY = "Diverged: loss not finite at epoch 1, step 3: ce nan"


def stuck(method: str, *trials: str | float, pair: str = "p", reason: str = WHY) -> list[Cell]:
    """One cell per trial: an accuracy, or a state."""
    return [
        Cell(pair, method, trial, record(what, run=f"{pair}{method}{trial}"))
        if isinstance(what, float)
        else Cell(pair, method, trial, reason=reason, state=what)
        for trial, what in enumerate(trials)
    ]


def text_of(*trials: str | float) -> str:
    return grid(make(stuck("KD", *trials)))[1][1]


def test_the_states_are_those_of_a_run():
    assert (states.DONE, states.TODO, states.UNSUPPORTED) == (
        State.DONE, State.TODO, State.UNSUPPORTED
    )  # fmt: skip
    assert states.STUCK == (State.FAILED, State.BLOCKED, State.STALE, State.LOST)


@pytest.mark.parametrize(
    ("trials", "text"),
    [
        (("failed", "failed"), "failed¹"),
        (("failed", "to do"), "– (1 failed¹)"),
        (("failed", "stale"), "– (1 failed¹, 1 stale²)"),
        ((71.0, 71.4, "failed"), "71.20 ± 0.28 (n=2, 1 failed¹)"),
        ((71.0, "failed", "to do"), "71.00 (n=1, 1 failed¹)"),
        ((71.0, "running"), "71.00 (n=1)"),
        (("blocked",), "blocked¹"),
        (("stale",), "stale¹"),
        (("lost",), "lost¹"),
        (("to do",), "–"),
        (("running",), "–"),
        (("pending",), "–"),
    ],
)
def test_how_a_cell_is_shown(trials, text):
    assert text_of(*trials) == text


def test_reasons_are_numbered_after_those_of_impossible_cells_and_shared():
    made = make(
        [
            *stuck("KD", "failed", "failed"),
            *stuck("AT", "failed", "failed"),
            Cell("p", "AFD", 0, reason="too narrow"),
            Cell("p", "AFD", 1, reason="too narrow"),
            *stuck("SP", "blocked", "blocked", reason="its teacher failed"),
        ]
    )
    assert [line[1] for line in grid(made)[1:]] == ["failed²", "failed²", "n/a¹", "blocked³"]
    notes = [line for line in to_text(made, "markdown").splitlines() if line.startswith("- ")]
    assert notes[-3:] == [
        "- ¹ too narrow",
        f"- ² failed: {WHY}",
        "- ³ blocked: its teacher failed",
    ]
    legend = notes[1]
    assert "failed: training diverged or ended with an error. blocked: " in legend
    assert "stale:" not in legend


@pytest.mark.parametrize("state", states.STUCK)
def test_a_stuck_run_enters_no_average_and_counts_as_possible(state):
    made = make([*stuck("KD", state), *stuck("KD", 70.0, pair="q"), *stuck("AT", 60.0),
                 *stuck("AT", 61.0, pair="q")])  # fmt: skip
    assert grid(made)[1] == ["KD", f"{state}¹", "70.00", "–", "1/2"]
    cell = row(made, "KD", "p")
    assert {name: cell[name] for name in states.STUCK} == {s: s == state for s in states.STUCK}
    assert (cell["missing"], cell["n"]) == (1, 0)


def test_all_tables_of_accuracies_show_it():
    text = to_text(make([*stuck("KD", "failed"), *stuck("AT", 70.0)]), "markdown", best=True)
    assert text.count("failed¹") == 2 and text.count(f"- ¹ failed: {WHY}") == 2


def test_many_reasons_are_cut_with_a_word():
    made = make([c for i in range(25) for c in stuck(f"M{i}", "failed", reason=f"number {i}")])
    assert grid(made)[20][1] == "failed²⁰" and grid(made)[21][1] == "failed"
    assert "- 5 more reasons: see status --each\n" in to_text(made, "markdown")
