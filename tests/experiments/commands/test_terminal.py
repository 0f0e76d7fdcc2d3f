"""Tables that fit the terminal."""

from __future__ import annotations

import os
import sys

import pytest

from experiments.commands import terminal

ROWS = [("resnet56 -> resnet20", "kd", "1/3 done; failed: Diverged: loss not finite at epoch 1")]
HEADER = ("pair", "method", "trials")


def test_no_terminal_has_no_width(capsys):
    assert terminal.columns() is None


def test_a_terminals_width(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((97, 24)))
    assert terminal.columns() == 97


@pytest.mark.parametrize("width", [None, 200])
def test_what_fits_is_printed_as_it_is(width):
    assert terminal.grid(ROWS, HEADER, width).splitlines()[2].endswith("at epoch 1")


def test_the_last_column_is_wrapped_and_nothing_is_lost():
    text = terminal.grid(ROWS, HEADER, 60)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 60 and len(lines) > 3
    assert " ".join(line[30:].strip() for line in lines[2:]) == ROWS[0][2]


def test_cut_says_so():
    assert terminal.cut("abcdef", 6) == "abcdef"
    assert terminal.cut("abcdefg", 6) == "abcde…"
