"""Pages with odd texts, histories and addresses in a real browser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from results.report.site import Site
from tests.results.report import content as made
from tests.results.report.boards import content
from tests.results.report.test_browser import (  # noqa: F401
    CHROMIUM,
    Tab,
    browser,
    drawn,
    folder,
    tab,
)
from tests.results.test_verdicts import board_of

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: apt-get install chromium")

ADDRESSES = (
    *("#?view=nothing&method-on=999&pair-off=x", "#constructor", "#%", "#%zz?view=cost"),
    *("#index:%E0%A4%A?pair-on=", "#DataTables_Table_0", "#?view=__proto__&family=zz", "#:a:b??"),
)
ODD = ("constructor", "__proto__", "toString", "hasOwnProperty", "Average", "\u202ertl")


@pytest.mark.parametrize("single", [False, True])
def test_any_address_shows_a_page(tab: Tab, single: bool, tmp_path: Path) -> None:  # noqa: F811
    target = tmp_path / ("one.html" if single else "a #1 50% b")
    page_file = Site(target, single).write([made.content(trials=1)])
    tab.root = page_file.parent
    page = tab.open(page_file.name)
    for address in ADDRESSES:
        page.evaluate("to => { location.hash = to; }", address)
        page.wait_for_timeout(30)
        assert page.locator(".page.current h1:visible").count() == 1, address
    page = tab.open(page_file.name, "#%")  # of a page that is opened so
    page.go_back()
    assert page.locator(".page.current h1:visible").count() == 1


def test_charts_of_names_that_objects_have(tab: Tab, tmp_path: Path) -> None:  # noqa: F811
    board = content(board_of(dict.fromkeys(ODD, 1.0), pairs=6))
    tab.root = tmp_path / "report"
    Site(tab.root).write([board])
    page = tab.open()
    assert drawn(page) >= 4
    page.fill("input[name=search]", "__proto__")
    marks = "document.querySelector(\"figure[data-chart$='/heatmap'] svg\").textContent"
    page.wait_for_function(f"{marks}.includes('__proto__') && !{marks}.includes('Average')")


def test_a_history_that_is_odd_and_long(tab: Tab, tmp_path: Path) -> None:  # noqa: F811
    rows = [f"main,{epoch},0.1,50,{epoch % 7},40" for epoch in range(1, 50_001)]
    odd = [
        "main,1,0.1,51,Infinity,41",
        "main,2,nan,inf,,",
        "main,3",
        "\0,\ufffd",
        "main,-4,1,1,1,1",
    ]
    header = "stage,epoch,lr,train_top1,__proto__,test_top1"
    text = "\n".join([header, *rows, *odd])
    whole = made.one_run()
    tab.root = tmp_path / "report"
    Site(tab.root).write([replace(whole, history=lambda run: text)])
    (run,) = (tab.root / "run").glob("*.html")
    page = tab.open(f"run/{run.name}")
    assert drawn(page) == 3
    shown = page.evaluate(
        "document.querySelector('.canvas').chart.view.data('history').map(row => row.value)"
    )
    assert 1000 < len(shown) < 5000 and all(isinstance(value, int | float) for value in shown)
