from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser
from typing import ClassVar

import pytest
from markupsafe import Markup

from results.layout import Table
from results.printable import json_escaped
from results.render import escape_markdown, html_page, markdown, markdown_width
from results.render import superscript as up
from results.report import pages
from results.report.pages import embedded
from results.spreadsheet import harmless


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("50 % *x*", r"50 % \*x\*"),
        ("my_method_2", "my_method_2"),
        ("_x_ and _", r"\_x\_ and \_"),
        ("<b>[x](y)", r"\<b>\[x](y)"),
        ("&lt; &#60; & R&D", r"\&lt; \&#60; & R&D"),
        ("$3", "$3"),
        ("$x$", r"\$x\$"),
        ("two\nlines", "two lines"),
        ("back\\slash `code`", r"back\\slash \`code\`"),
    ],
)
def test_escape_markdown(text, expected):
    assert escape_markdown(text) == expected


HOSTILE = "\x1b[2J\x9b1m \x07\u202egnp.exe\u2066 \x7f"


def test_control_characters_reach_no_table():
    table = Table(HOSTILE, ["Method", HOSTILE], [[HOSTILE, "1"]], notes=[HOSTILE])
    csv = harmless(HOSTILE)
    value = {"a": HOSTILE}
    text = json_escaped(json.dumps(value, ensure_ascii=False))
    for shown in (markdown([table]), html_page([table]), csv, text, str(embedded(value))):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)
    assert r"\\x1b\[2J" in markdown([table])
    assert (json.loads(text), json.loads(str(embedded(value)))) == (value, value)


def test_pages_show_control_characters_escaped():
    shown = pages._ENVIRONMENT.from_string("<p>{{ name }} {{ number }} {{ own }}</p>")
    made = shown.render(name=HOSTILE, number=1, own=Markup("<b>x</b>"))
    assert r"\x1b[2J\x9b1m" in made and "\x1b" not in made and "\u202e" not in made
    assert made.endswith("1 <b>x</b></p>")


def test_superscript():
    assert up(1) == "¹" and up(20) == "²⁰"


TABLE = Table("T", ["Method", "x"], [["a|b", "70.50"], ["7e2", "1"]], frozenset({(0, 1)}), ["n_"])


def test_markdown_keeps_numbers_as_they_are_printed():
    assert markdown([TABLE, Table("U", ["M"], [["m"]])]) == (
        "## T\n\n"
        "| Method   |         x |\n"
        "|:---------|----------:|\n"
        "| a\\|b     | **70.50** |\n"
        "| 7e2      |         1 |\n"
        "\n- n\\_\n"
        "\n### U\n\n| M   |\n|:----|\n| m   |\n"
    )


def test_html_escapes():
    nasty = "<script>alert('x')</script> & |"
    text = html_page([Table(nasty, [nasty, "x"], [[nasty, "1"]], notes=[nasty])])
    assert "<script>" not in text
    assert text.count(html.escape(nasty)) == 5  # title, heading, header, cell, note


def test_html_is_a_whole_page():
    text = html_page([TABLE, Table("U", ["M"], [["m"]])])
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n')
    assert text.endswith("</body>\n</html>\n")
    assert "<title>T</title>" in text and "<h1>T</h1>" in text and "<h2>U</h2>" in text
    for part in ("prefers-color-scheme: dark", "position: sticky", "white-space: nowrap"):
        assert part in text
    assert not re.search(r"(src|href)=|url\(|@import", text)  # needs no other file

    class Tags(HTMLParser):
        open: ClassVar[list[str]] = []

        def handle_starttag(self, tag, attrs):
            self.open += [tag] if tag != "meta" else []

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    parser = Tags()
    parser.feed(text)
    assert parser.open == []


@pytest.mark.parametrize("table", [TABLE, Table("U", ["Long heading"], [["m"]], notes=["n"])])
def test_the_width_of_markdown_is_known_before_it_is_written(table):
    lines = [line for line in markdown([table]).splitlines() if line.startswith("|")]
    assert {len(line) for line in lines} == {markdown_width(table)}
