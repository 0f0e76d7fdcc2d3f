"""`plan --detect`: how many trials and pairs show a difference, and what they cost."""

from __future__ import annotations

import re

import pytest

from tests.experiments import cli

PAIRS = [f"resnet{depth} -> resnet8" for depth in (14, 20)]


def detect(matrix, points):
    return cli.command("plan", matrix, "--no-timing", "--detect", points)


def test_what_is_planned_and_what_would_be_enough(tmp_path):
    matrix = cli.write(tmp_path, pairs=PAIRS, trials=3)
    said = detect(matrix, "0.5")
    assert said.code == 0
    question, spread, these, like_these = said.out.splitlines()[-4:]
    assert "0.5 points above Student alone with 80 % power, at 95 % confidence for" in question
    assert "usual on CIFAR-100): 0.25 points between trials, 0.40 between" in spread
    assert "2 pairs × 3 trials, as planned, have" in these
    needed = int(re.search(r"enough: 2 pairs × (\d+) trials", these).group(1))
    assert needed > 3
    # both pairs have one student, so they share its runs alone
    assert "needs 6 pairs that share no runs, here 1" in like_these


def test_a_large_difference_needs_less(tmp_path):
    matrix = cli.write(tmp_path, pairs=PAIRS, trials=3)
    needed = [
        int(re.search(r"enough: 2 pairs × (\d+)", detect(matrix, points).out).group(1))
        for points in ("0.5", "5")
    ]
    assert needed[0] > needed[1]


@pytest.mark.parametrize("points", ["0", "-1", "much", "101"])
def test_it_takes_points_of_accuracy(tmp_path, points):
    said = detect(cli.write(tmp_path), points)
    assert said.code == 2
    assert "expected points of accuracy above 0" in said.err or "expected one argument" in said.err
