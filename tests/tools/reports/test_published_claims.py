"""The report of a published table: means, differences and worst pairs of what is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.environment import CHECKOUT
from results import published_rows
from tools.reports import published_claims

COMMITTED = CHECKOUT / "results/reports/published-crd.md"


def cells(text: str, method: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {method} "))
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_the_committed_report_is_made_of_the_rows(capsys: pytest.CaptureFixture[str]) -> None:
    made_by = (
        "tools/reports/published_claims.py tian2020crd --output results/reports/published-crd.md"
    )
    text = published_claims.report("tian2020crd", "cifar100", "kd", made_by)
    assert COMMITTED.read_text() == text


def test_numbers_are_those_of_a_loop() -> None:
    rows = published_rows.rows("tian2020crd")
    value = {(row.pair, row.method): row.value for row in rows}
    pairs = list(dict.fromkeys(row.pair for row in rows))
    over_kd = {pair: value[pair, "pkt"] - value[pair, "kd"] for pair in pairs}
    over_student = [value[pair, "pkt"] - value[pair, "student"] for pair in pairs]
    worst = min(over_kd, key=lambda pair: over_kd[pair])
    text = published_claims.report("tian2020crd", "cifar100", "kd", "")
    mean, from_kd, above_kd, worst_pair, from_student, above_student = cells(text, "pkt")
    assert mean == f"{sum(value[pair, 'pkt'] for pair in pairs) / 13:.2f}"
    assert from_kd.split()[0] == f"{sum(over_kd.values()) / 13:.2f}".replace("-", "−")
    assert above_kd == f"{sum(d > 0 for d in over_kd.values())}/13"
    assert worst_pair == f"{worst} ({over_kd[worst]:.2f})".replace("-", "−")
    assert from_student.split()[0] == f"+{sum(over_student) / 13:.2f}"
    assert above_student == f"{sum(d > 0 for d in over_student)}/13"


def test_the_claims_are_judged_by_pairs_and_by_students() -> None:
    """CRD is above KD on 13 pairs; against the student, pairs that share one count once."""
    text = published_claims.report("tian2020crd", "cifar100", "kd", "")
    assert cells(text, "crd")[1].endswith("above") and cells(text, "crd")[4].endswith("above")
    assert cells(text, "pkt")[1].endswith("not separated")
    assert cells(text, "rkd")[1].endswith("below")
    assert cells(text, "kd")[1] == "" and cells(text, "student")[4] == ""
    assert "they are the 9 students" in text


def test_a_method_that_lacks_pairs_has_no_mean() -> None:
    text = published_claims.report("tian2020crd", "cifar100", "kd", "")
    found = cells(text, "fsp")
    assert [found[i] for i in (0, 1, 2, 4, 5)] == ["–", "", "0/6", "", "4/6"]


def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert published_claims.main(["tian2020"]) == 2
    assert published_claims.main(["tian2020crd", "--baseline", "dk"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("error: unknown source 'tian2020': did you mean tian2020crd")
    assert second.startswith("error: tian2020crd: unknown method 'dk' on cifar100")
