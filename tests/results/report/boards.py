"""Boards and their contents for tests of charts, and what a chart shows when it is drawn."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import vl_convert

from results.cells import FAILED, Cell, TeacherScores
from results.leaderboard import Leaderboard, leaderboard
from results.report.chart import Chart
from results.report.content import Content
from tests.results.example import record
from tests.results.test_verdicts import ALONE, board_of

GAINS = {"KD": 2.0, "Same": 0.0, "Bad": -2.0}
NASTY = (
    "</script><script>alert(1)</script>", "datum.order", '"', "\\", "'", "constructor",
    "__proto__", "{{x}}", "x" * 10_000, "two\nlines", "<b>&amp;",
)  # fmt: skip


def history(run: str, epochs: int = 5) -> str:
    """A run's history; its numbers depend on the run's name."""
    offset = sum(map(ord, run)) % 7
    rows = (
        f"main,{e},0.1,{50 + e},1.5,{min(40 + offset + e / 4, 100)},90,1.2"
        for e in range(1, epochs + 1)
    )
    header = "stage,epoch,lr,train_top1,train_loss,test_top1,test_top5,test_loss"
    return "\n".join([header, *rows]) + "\n"


def content_of(board: Leaderboard, **facts: Any) -> Content:
    return Content("test", board, {}, (), **{"history": history, **facts})


def content(cells: Sequence[Cell], baseline: str | None = ALONE, **facts: Any) -> Content:
    """With a teacher of its own for every pair."""
    pairs = dict.fromkeys(cell.pair for cell in cells)
    teachers = {pair: TeacherScores("t", (60.0 + i,)) for i, pair in enumerate(pairs)}
    made = leaderboard(cells, teachers, dataset="digits", baseline=baseline)
    return content_of(made, **facts)


def with_costs(cells: Sequence[Cell]) -> list[Cell]:
    """Each method with a cost of its own, in the order of the methods."""
    methods = list(dict.fromkeys(cell.method for cell in cells))
    made = []
    for cell in cells:
        place = methods.index(cell.method)
        spec = {"method": {ALONE: "vanilla", "KD": "kd"}.get(cell.method, "other")}
        costs = {"seconds": 100.0 + 10 * place, "images_per_second": 1000.0 / (1 + place)}
        parameters = {"student": 10, "extra": 500_000 * place, "extra_at_test": 0}
        changed = record(
            cell.record.top1, run=cell.record.run, spec=spec, parameters=parameters, **costs
        )
        made.append(Cell(cell.pair, cell.method, cell.trial, changed))
    return made


@functools.cache
def several() -> Content:
    return content(with_costs(board_of(GAINS, pairs=8)))


@functools.cache
def small_boards() -> dict[str, Content]:
    """Boards of all kinds that a chart may meet."""
    whole = board_of(GAINS, pairs=8)
    failed = list(whole)
    failed[3] = Cell(whole[3].pair, whole[3].method, 0, reason="Diverged", state=FAILED)
    return {
        "one run": content([whole[0]]),
        "no baseline": content(whole, baseline=None),
        "no run done": content([Cell(c.pair, c.method, c.trial) for c in whole]),
        "failed runs": content(failed),
        "one pair": content(board_of(GAINS, pairs=1)),
        "one trial": content(board_of(GAINS, pairs=8, trials=1)),
        "equal runs": content(board_of({"KD": 0.0}, pairs=2, spread=0.0)),
        "several pairs": several(),
        "nasty labels": content(board_of(dict.fromkeys(NASTY, 1.0), pairs=6)),
    }


def svg(chart: Chart, width: int = 480, **parameters: Any) -> str:
    """The chart as drawn, with these values of its parameters."""
    spec = json.loads(json.dumps(chart.whole(), allow_nan=False)) | {"width": width}
    unknown = parameters.keys() - {parameter["name"] for parameter in spec["params"]}
    assert not unknown
    for parameter in spec["params"]:
        parameter["value"] = parameters.get(parameter["name"], parameter["value"])
    drawn = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
    assert "NaN" not in drawn
    assert "e+308" not in drawn
    return drawn


def described(chart: Chart, **parameters: Any) -> list[str]:
    """What is read out of the chart's marks, in the order of the data."""
    root = ElementTree.fromstring(svg(chart, **parameters))
    marks = (e for e in root.iter() if e.get("role") == "graphics-symbol")
    kinds = ("point", "rect mark", "bar")
    return [e.get("aria-label", "") for e in marks if e.get("aria-roledescription") in kinds]


def texts(chart: Chart, **parameters: Any) -> list[str]:
    root = ElementTree.fromstring(svg(chart, **parameters))
    return ["".join(e.itertext()) for e in root.iter() if e.tag.endswith("}text")]
