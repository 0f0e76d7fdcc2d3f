"""The page of all methods is what the classes say today."""

from __future__ import annotations

import re

import pytest

import distillers
from distillers import catalogue
from tools.reports import methods_page


def test_the_page_is_current():
    assert methods_page.PAGE.read_text() == methods_page.page(), "run tools/reports/methods_page.py"


@pytest.mark.parametrize("name", distillers.names())
def test_a_section_tells_what_there_is(name):
    cls, text = distillers.find(name), methods_page.section(name)
    assert (cls.__doc__ or "").strip().splitlines()[0] in text
    for option in cls.defaults:
        assert f"`{option}`" in text
    for preset in cls.presets:
        assert f"preset: {preset}" in text


def test_links_lead_to_sections():
    text = methods_page.page()
    before = text.partition("# Wrappers")[0]
    anchors = {
        "".join(c for c in head.lower() if c.isalnum() or c in " -_").replace(" ", "-")
        for head in re.findall(r"^## (.*)$", before, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#(.*?)\)", text)) == anchors


@pytest.mark.parametrize("name", distillers.wrappers())
def test_wrappers_have_sections(name):
    title = distillers.find_wrapper(name).title
    assert f"## {title} (`{name}+`)" in methods_page.page().partition("# Wrappers")[2]


def test_a_citation():
    assert catalogue.bibtex(distillers.find("crd")) == (
        "@inproceedings{crd2020,\n"
        "  title = {{Contrastive Representation Distillation}},\n"
        "  author = {Tian and Krishnan and Isola},\n"
        "  booktitle = {ICLR},\n"
        "  year = {2020},\n"
        "  eprint = {1910.10699},\n"
        "  archiveprefix = {arXiv},\n"
        "}"
    )
    assert "author = {Zhao and others}" in catalogue.bibtex(distillers.find("dkd"))
    preprint = catalogue.bibtex(distillers.find("rrd"))  # nothing it appeared in
    assert preprint.startswith("@misc{rrd2024,") and "booktitle" not in preprint
    without = {"vanilla", "gk_dfd", "crd_queue"}
    assert without == {n for n in distillers.names() if not catalogue.bibtex(distillers.find(n))}
