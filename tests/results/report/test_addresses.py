"""Names of pages, and how one refers to another."""

from __future__ import annotations

import pytest

from results.report.addresses import Addresses, slugs


def test_names_are_plain_and_all_differ() -> None:
    texts = ["KD", "kd", "AT | hints_1", "α-β", "../../etc", "</script>", "", "x" * 10_000, "KD-2"]
    found = slugs(texts)
    assert found["KD"] == "kd" and found["kd"] == "kd-2" and found["KD-2"] == "kd-2-2"
    assert found["AT | hints_1"] == "at-hints-1"
    assert len({name.lower() for name in found.values()}) == len(texts)
    assert all(name and len(name) < 70 and name.isascii() for name in found.values())
    assert not any(set("/.<") & set(name) for name in found.values())


@pytest.mark.parametrize(
    ("here", "single", "key", "part", "address"),
    [
        ("index", False, "method/kd", "", "method/kd.html"),
        ("method/kd", False, "index", "results", "../index.html#results"),
        ("a/run/1", False, "a/method/kd", "pair-0", "../../a/method/kd.html#pair-0"),
        ("method/kd", False, "method/kd", "pair-0", "#pair-0"),
        ("method/kd", False, "method/kd", "", "#"),
        ("index", True, "method/kd", "", "#method/kd"),
        ("index", True, "method/kd", "pair-0", "#method/kd:pair-0"),
    ],
)
def test_addresses(here: str, single: bool, key: str, part: str, address: str) -> None:
    assert Addresses(here, single).to(key, part) == address


def test_ids_are_unique_in_a_single_file() -> None:
    assert Addresses("method/kd", single=True).id("runs") == "method/kd:runs"
    assert Addresses("method/kd", single=False).id("runs") == "runs"
