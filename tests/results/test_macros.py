r"""``\kdnum{KEY}``: the table's numbers in the text of a paper."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from results.cells import FAILED, Cell
from results.formats import to_text
from results.latex_text import escape_latex
from results.layout import TableError
from results.leaderboard import Leaderboard
from results.macros import macros, part_of_key
from tests.results.example import PAIRS, board, large_board
from tests.results.test_leaderboard import cells, make


def numbers(made: Leaderboard, **options) -> dict[str, str]:
    found = re.findall(r"\\kdnum@define\{(.+?)\}\{(.*)\}%\n", macros(made, **options))
    assert len(dict(found)) == len(found)
    return dict(found)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("KD", "kd"),
        ("AT | hints_1", "at-hints_1"),
        ("DKD (240+30)", "dkd-240+30"),
        ("torchvision/resnet50 → vgg8", "torchvision-resnet50-vgg8"),
        ("λ = 0.5, Müller", "lambda-0.5-muller"),
    ],
)
def test_keys(text, key):
    assert part_of_key(text) == key


def test_every_number_is_as_the_table_prints_it():
    for made in (board(), large_board(8)):
        found, printed = numbers(made), to_text(made, "markdown")
        for method in made.methods:
            for pair in made.pairs:
                key = f"{part_of_key(method)}/{part_of_key(pair)}"
                if f"{key}/mean" in found:
                    text = found[f"{key}/mean"]
                    text += f" ± {found[f'{key}/std']}" if f"{key}/std" in found else ""
                    assert text in printed
                    assert found[f"{key}/n"] == "3"
    assert found["kd/average"] == f"{made.average('KD'):.2f}"
    assert found["kd/delta"] == f"+{made.delta('KD'):.2f}"
    assert found["teacher/vgg13-vgg8/mean"] == "79.42"


def test_what_is_not_complete_has_no_number():
    text, found = macros(board()), numbers(board())
    for key, shown in [
        ("at-hints_1/resnet32x4-resnet8x4/mean", "73.45 ± 0.07 (n=2)"),
        ("afd/resnet56-resnet20/mean", "70.90 (n=1)"),
        ("afd/vgg13-mobilenetv2/mean", "n/a¹"),
        ("afd/average", "–"),
    ]:
        assert key not in found and f"% {key}: not complete, the table has {shown}\n" in text
    stuck = [*cells({"KD": {"p": [70.0]}}), Cell("p", "AT", 0, reason="r", state=FAILED)]
    assert set(numbers(make(stuck))) == {"kd/p/mean", "kd/p/n", "kd/coverage", "at/coverage"}


def test_one_trial_has_no_std_and_a_minus_is_fit_for_math():
    made = make({"S": {"p": [70.0]}, "KD": {"p": [69.0]}}, baseline="S")
    found = numbers(made)
    assert found == {
        "s/p/mean": "70.00", "s/p/n": "1", "kd/p/mean": "69.00", "kd/p/n": "1",
        "kd/delta": r"\ensuremath{-}1.00",
    }  # fmt: skip
    assert escape_latex("−1.00") == r"$-$1.00"


def test_best_epochs_have_keys_of_their_own():
    last, both = numbers(board()), numbers(board(), best=True)
    assert last.items() <= both.items()
    assert both["kd/resnet56-resnet20/best-mean"] == "70.85"
    assert all("/best-" in key for key in both.keys() - last.keys())


def test_an_average_over_some_of_the_pairs_has_another_key():
    found = numbers(replace(board(), all_pairs=13))
    assert found["kd/average-of-3"] == "70.40" and "kd/average" not in found
    assert "kd/delta-of-3" in found and "kd/delta" not in found


def test_equal_keys_are_refused():
    with pytest.raises(TableError, match=r"the labels 'A!' and 'a\?' have the same key 'a'"):
        macros(make({"A!": {"p": [70.0]}, "a?": {"p": [70.0]}}))
    with pytest.raises(TableError, match="the labels 'Teacher' and 'teacher'"):
        macros(make({"teacher": {"p": [70.0]}}))
    with pytest.raises(TableError, match=r"'\?!' has no letter or digit"):
        macros(make({"?!": {"p": [70.0]}}))


# ---- in a document -------------------------------------------------------------------------------


def typeset(folder: Path, body: str) -> tuple[int, str]:
    """pdflatex's exit code, and what it said."""
    program = shutil.which("pdflatex")
    if program is None:
        pytest.skip("no pdflatex here")
    source = rf"\documentclass{{article}}\begin{{document}}{body}\end{{document}}"
    (folder / "paper.tex").write_text(source)
    command = [program, "-interaction=nonstopmode", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    return done.returncode, done.stdout


def test_a_document_that_uses_them(tmp_path):
    made = make({"S": {"a_1 → b": [70.0]}, "KD": {"a_1 → b": [69.0]}}, baseline="S")
    (tmp_path / "numbers.tex").write_text(macros(made, prefix="Digits 1"))
    key = "digits-1/kd/a_1-b/mean"
    code, said = typeset(
        tmp_path,
        rf"\input{{numbers}}\input{{numbers}}\section{{\kdnum{{{key}}}}}"
        r"$\kdnum{digits-1/kd/delta}$"
        rf"\begin{{table}}\caption{{\kdnum{{{key}}}, \kdnum{{digits-1/kd/delta}}}}\end{{table}}"
        rf"\edef\x{{\kdnum{{{key}}}}}\typeout{{<\x>}}\setbox0\hbox{{\input{{numbers}}}}"
        r"\typeout{<\the\wd0>}",
    )
    assert code == 0, said[-2000:]
    assert "<69.00>" in said
    assert "<0.0pt>" in said  # it prints nothing itself


def test_every_number_of_a_large_table_is_set(tmp_path):
    made = large_board(12)
    (tmp_path / "numbers.tex").write_text(macros(made, best=True))
    used = " ".join(rf"\kdnum{{{key}}}" for key in numbers(made, best=True))
    code, said = typeset(tmp_path, rf"\input{{numbers}} {used}")
    assert code == 0, said[-2000:]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (r"\input{numbers}\kdnum{kd/p_1/maen}", "No number 'kd/p_1/maen'"),
        (r"\input{numbers}\input{others}", "Two numbers 'kd/p_1/mean'"),
    ],
)
def test_mistakes_are_errors_with_the_key(tmp_path, body, error):
    for name, top1 in (("numbers", 70.0), ("others", 71.0)):
        made = make({"KD": {"p_1": [top1]}})
        (tmp_path / f"{name}.tex").write_text(macros(made))
    code, said = typeset(tmp_path, body)
    assert code != 0 and f"Package kdnum Error: {error}" in said


def test_pairs_of_the_example_have_keys():
    assert {key.split("/")[1] for key in numbers(board()) if key.endswith("mean")} == {
        part_of_key(pair) for pair in PAIRS
    }
