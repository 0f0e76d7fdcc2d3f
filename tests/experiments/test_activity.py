"""What takes long says so, once; what is quick or quiet says nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from experiments import activity
from experiments.environment import CHECKOUT
from tests.experiments import cli


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(activity, "SILENCE", 0.1)
    monkeypatch.setattr(activity, "LEAST", 0.05)
    activity.start_command()
    yield
    activity.start_command()


def test_a_long_activity_says_what_it_is_once(capsys):
    for _ in range(2):
        with activity.activity("reading cifar100"):
            time.sleep(0.4)
    assert capsys.readouterr() == ("", "reading cifar100 …\n")


def test_a_short_one_says_nothing(capsys):
    with activity.activity("reading digits"):
        pass
    time.sleep(0.2)
    assert capsys.readouterr() == ("", "")


def test_an_error_ends_it(capsys):
    with pytest.raises(ValueError, match="no data"), activity.activity("reading digits"):
        raise ValueError("no data")
    time.sleep(0.2)
    assert capsys.readouterr().err == ""


def test_quiet_mutes_it(capsys):
    activity.start_command(quiet=True)
    with activity.activity("reading cifar100"):
        time.sleep(0.4)
    assert capsys.readouterr().err == ""


def test_the_next_command_says_it_again(capsys):
    for _ in range(2):
        activity.start_command()
        with activity.activity("reading cifar100"):
            time.sleep(0.4)
    assert capsys.readouterr().err == 2 * "reading cifar100 …\n"


def test_the_inner_one_speaks_for_both(capsys):
    with activity.activity("reading states"), activity.activity("checking methods"):
        time.sleep(0.4)
    assert capsys.readouterr().err == "checking methods …\n"


SLOW_DISK = """
import sys, time, benchmark
from experiments.plan import plan
real = plan.read_statuses
def slow(*arguments):
    time.sleep(2.5)
    return real(*arguments)
plan.read_statuses = slow
sys.exit(benchmark.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("quiet", [False, True])
def test_a_command_that_waits_for_a_slow_disk_says_so(tmp_path, quiet):
    """In a process of its own and into a pipe."""
    flags = ["--runs", str(tmp_path), "--data", str(tmp_path), *(["--quiet"] if quiet else [])]
    command = [sys.executable, "-c", SLOW_DISK, "status", str(cli.write(tmp_path)), *flags]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ("reading the states of 7 runs …\n" in done.stderr) == (not quiet)
