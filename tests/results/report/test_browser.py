"""The pages in a real browser: from file://, without a network, by mouse and by keyboard."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from results.report.site import Site
from tests.results.report import content as made

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: apt-get install chromium")
AXE = (Path(axe.__file__).parent / "axe.min.js").read_text()
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@dataclass
class Tab:
    """A page in the browser, and what it complained about or asked the network for."""

    page: Any
    root: Path
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def open(self, name: str = "index.html", state: str = "") -> Any:
        self.page.goto(f"{(self.root / name).as_uri() if name else self.root.as_uri()}{state}")
        self.page.wait_for_selector(".page.current")
        return self.page

    def column(self, number: int) -> list[str]:
        """The texts of a column of the table that is shown, without the teacher's row."""
        return self.page.evaluate(
            """n => [...document.querySelectorAll(".view.current tbody tr[data-method]")]
                .map(row => row.cells[n].textContent.trim())""",
            number,
        )

    def wait_for_methods(self, labels: list[str]) -> None:
        """Wait until the table that is shown has these rows: DataTables sorts a little later."""
        self.page.wait_for_function(
            """labels => `${labels}` === `${[...document.querySelectorAll(
                ".view.current tbody tr[data-method]")].map(row => row.dataset.method)}`""",
            arg=labels,
        )


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("site") / "a report & more"
    Site(root).write([made.content()])
    return root


@pytest.fixture
def tab(browser: Any, folder: Path, request: pytest.FixtureRequest) -> Iterator[Tab]:
    """``indirect`` parameters are those of the browser's context; at the end nothing was amiss."""
    context = browser.new_context(**{"viewport": DESKTOP, **getattr(request, "param", {})})
    found = Tab(context.new_page(), folder)
    found.page.set_default_timeout(15_000)
    found.page.on("console", lambda m: m.type == "error" and found.complaints.append(m.text))
    found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
    found.page.on("request", lambda r: found.requests.append(r.url))
    yield found
    assert found.complaints == []
    assert [url for url in found.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    context.close()


# ---- what a reader does --------------------------------------------------------------------------


def test_sorts_by_mouse_and_by_keyboard(tab: Tab) -> None:
    page = tab.open()
    assert tab.column(0)[:2] == ["Student alone", "KD"]
    scores = {label: 60 + row for row, label in enumerate(made.LABELS)}
    page.locator(".view.current thead th", has_text="resnet20").first.click()
    tab.wait_for_methods(sorted(scores, key=lambda label: -scores[label]))
    page.locator(".view.current thead th[data-dt-column='0'] [role=button]").focus()
    page.keyboard.press("Enter")
    tab.wait_for_methods(sorted(scores, key=str.lower))


def test_filters_by_what_methods_read_and_by_name(tab: Tab) -> None:
    page = tab.open()
    page.select_option("select[name=family]", "features")
    assert tab.column(0) == ["AT"]
    assert page.locator("form output").text_content() == "1 of 6 methods, 3 of 3 pairs"
    page.click("button[type=reset]")
    page.wait_for_function("document.querySelector('form output').value.startsWith('6 of 6')")
    page.fill("input[name=search]", "kd")
    assert tab.column(0) == ["KD", "DKD"]
    page.fill("input[name=search]", "nothing like this")
    assert tab.column(0) == []


def test_chooses_methods_and_pairs(tab: Tab) -> None:
    page = tab.open()
    page.click("text=Choose methods")
    page.click("button[data-none=method]")
    page.check("input[name=method][value=KD]")
    page.click("text=Choose pairs")
    page.uncheck(f"input[name=pair][value='{made.PAIRS[0]}']")
    assert tab.column(0) == ["KD"]
    heads = page.locator(".view.current thead th").all_text_contents()
    assert not any("resnet20" in head for head in heads)
    assert any("MobileNetV2" in head for head in heads)


def test_switches_the_measure(tab: Tab) -> None:
    page = tab.open()
    page.select_option("select[name=view]", label="NLL (nats)")
    assert page.locator(".view:visible").count() == 1
    board = made.content().board
    row = board.frame[(board.frame["method"] == "KD") & (board.frame["pair"] == made.PAIRS[0])]
    assert tab.column(1)[1].startswith(f"{row['nll_mean'].iloc[0]:.3f}")


@pytest.mark.parametrize("single", [False, True])
def test_opens_a_method_and_a_run_and_goes_back(tab: Tab, single: bool, tmp_path: Path) -> None:
    name = "index.html"
    if single:
        tab.root, name = Site(tmp_path / "one.html", True).write([made.content()]), ""
    page = tab.open(name)
    page.select_option("select[name=view]", label="NLL (nats)")
    page.locator(".view.current a", has_text="DKD").first.click()
    page.wait_for_selector("h1:visible:has-text('DKD')")
    page.locator("table.runs:visible a").first.click()
    page.wait_for_selector("h1:visible:has-text('trial 0')")
    assert "stage,epoch,lr" in page.locator("pre.history:visible, pre.history").first.text_content()
    page.go_back()
    page.wait_for_selector("h1:visible:has-text('DKD')")
    page.go_back()
    page.wait_for_selector("h1:visible:has-text('CIFAR-100')")
    assert page.locator("select[name=view]").input_value() == "nll"  # as it was left


def test_a_link_keeps_what_is_shown(tab: Tab) -> None:
    page = tab.open(state="#?view=nll&family=logits&pair-off=0")
    assert page.locator("select[name=view]").input_value() == "nll"
    assert tab.column(0) == ["KD", "DKD", " ".join(made.EVIL.split())]
    assert page.locator("form output").text_content() == "3 of 6 methods, 2 of 3 pairs"


def test_the_keyboard_passes_by_the_cells_of_a_table(tab: Tab) -> None:
    page = tab.open()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.wait_for_function("document.activeElement.tagName === 'MAIN'")
    stops = page.evaluate("[...document.querySelectorAll('td a')].filter(a => a.tabIndex >= 0)")
    assert page.locator(".view.current td a").count() > 10 and stops == []


def test_the_heading_of_a_long_table_stays(tab: Tab) -> None:
    page = tab.page
    page.set_viewport_size({"width": 500, "height": 250})
    tab.open()
    page.evaluate("document.querySelector('.view.current .scroll').scrollTo(150, 80)")
    first = "document.querySelector('.view.current thead th').getBoundingClientRect()"
    around = "document.querySelector('.view.current .scroll').getBoundingClientRect()"
    assert page.evaluate(f"[{first}.top - {around}.top, {first}.left - {around}.left]") == [0, 0]
    point = f"document.elementFromPoint({first}.left + 9, {first}.top + 9)"
    page.evaluate("document.querySelector('.view.current').scrollIntoView()")
    assert page.evaluate(f"{point}.closest('th').textContent") == "Method"


@pytest.mark.parametrize("tab", [{"permissions": ["clipboard-read"]}], indirect=True)
def test_commands_are_copied(tab: Tab) -> None:
    page = tab.open("matrix.html")
    page.click("button.copy")
    page.wait_for_selector("button.copy:has-text('Copied')")
    assert page.evaluate("getSelection().toString()").startswith("python benchmark.py retry")


def test_a_number_leads_to_its_runs(tab: Tab) -> None:
    page = tab.open()
    page.locator(".view.current tr[data-method=DKD] td a").first.click()
    page.wait_for_selector("tr:target")
    page.locator("tr:target td.runs a").nth(1).click()
    page.wait_for_selector("h1:visible:has-text('trial 1')")


# ---- charts --------------------------------------------------------------------------------------


def drawn(page: Any) -> int:
    """Scrolls to every chart that can be seen and waits until it is there; how many there are."""
    charts = page.locator("figure.chart:visible")
    for i in range(charts.count()):
        charts.nth(i).scroll_into_view_if_needed()
        page.wait_for_function(
            "i => [...document.querySelectorAll('figure.chart')].filter(f => f.offsetParent)[i]"
            ".dataset.drawn === 'yes'",
            arg=i,
        )
    return charts.count()


@pytest.mark.parametrize("tab", [{}, {"color_scheme": "dark"}], indirect=True)
def test_charts_are_drawn_on_every_kind_of_page(tab: Tab) -> None:
    for name, least in (("index.html", 4), ("method/kd.html", 2), ("run/0-1-0.html", 3)):
        page = tab.open(name)
        assert drawn(page) >= least
    assert page.evaluate("window.attacked") is None


def test_charts_follow_the_filter_and_their_own_controls(tab: Tab) -> None:
    page = tab.open()
    drawn(page)
    marks = "document.querySelector(\"figure[data-chart$='/heatmap'] svg\").textContent"
    assert "AT" in page.evaluate(marks)
    page.fill("input[name=search]", "dkd")
    page.wait_for_function(f"!{marks}.includes('AT')")
    for control in page.locator("select[data-signal]").all():
        for value in control.locator("option").all_text_contents():
            control.select_option(label=value)


# ---- what a page must not do ---------------------------------------------------------------------


def test_texts_never_run(tab: Tab) -> None:
    for name in ("index.html", "matrix.html", "method/kd.html", "run/0-5-2.html", "run/1-4-0.html"):
        page = tab.open(name)
        page.wait_for_timeout(100)
        assert page.evaluate("window.attacked") is None
        assert page.locator("img").count() == 0
    page = tab.open()
    page.click("text=Choose methods")
    page.locator("input[name=method]").last.uncheck()
    assert made.EVIL not in tab.column(0)


def test_the_browser_refuses_the_network(tab: Tab) -> None:
    page = tab.open()
    assert (
        page.evaluate("fetch('https://example.org/').then(() => 'sent', () => 'refused')")
        == "refused"
    )
    assert tab.complaints and all("Content Security Policy" in text for text in tab.complaints)
    tab.complaints.clear()
    tab.requests[:] = [url for url in tab.requests if not url.startswith("https://example.org")]


# ---- for everyone --------------------------------------------------------------------------------


@pytest.mark.parametrize("tab", [{"java_script_enabled": False}], indirect=True)
def test_without_javascript_the_tables_are_there(tab: Tab) -> None:
    page = tab.page
    page.goto((tab.root / "index.html").as_uri())
    assert page.locator(".view:visible").count() == page.locator(".view").count() > 5
    assert not page.locator("form.filters").is_visible()
    assert page.locator(".view td:visible").first.text_content()
    assert "need JavaScript" in page.content()


SCHEMES = [{"color_scheme": "light"}, {"color_scheme": "dark", "viewport": PHONE}]


@pytest.mark.parametrize("tab", SCHEMES, indirect=True, ids=["light", "dark phone"])
def test_no_barriers_to_accessibility(tab: Tab) -> None:
    for name in ("index.html", "matrix.html", "method/kd.html", "run/0-1-0.html", "run/1-4-0.html"):
        page = tab.open(name)
        drawn(page)
        if name == "index.html":
            page.click("text=Choose methods")
        page.evaluate(AXE)
        found = page.evaluate("axe.run(document, {preload: false, resultTypes: ['violations']})")
        serious = [
            (v["impact"], v["id"], v["nodes"][0]["html"][:200])
            for v in found["violations"]
            if v["impact"] in ("serious", "critical")
        ]
        assert serious == [], name


@pytest.mark.parametrize("tab", [{"viewport": PHONE}], indirect=True)
def test_a_phone_scrolls_tables_not_pages(tab: Tab) -> None:
    for name in ("index.html", "matrix.html", "method/kd.html", "run/1-4-0.html"):
        page = tab.open(name)
        drawn(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name


def test_prints_without_what_only_a_screen_needs(tab: Tab) -> None:
    page = tab.open()
    page.emulate_media(media="print")
    assert not page.locator("form.filters").is_visible()
    assert page.locator(".view.current table").is_visible()


def test_is_loaded_anew_while_jobs_run(tab: Tab, tmp_path: Path) -> None:
    site = Site(tmp_path / "live")
    site.write([made.content(done=3)], refresh=2)
    tab.root = tmp_path / "live"
    page = tab.open()
    assert "4 of 55 runs are done" in " ".join(page.locator("header").first.text_content().split())
    site.write([made.content(done=6)], refresh=2)
    page.wait_for_selector(".lead:has-text('7 of 55 runs are done')")
    page.locator(".live input").evaluate("box => box.click()")
    page.wait_for_timeout(1500)  # a renewal that was under way has read what was there before
    site.write([made.content(done=9)], refresh=2)
    page.wait_for_timeout(2500)
    assert "7 of 55" in page.locator(".lead").first.text_content()
