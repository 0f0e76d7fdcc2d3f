"""The table of exit codes in experiments/README.md is complete and true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.experiments import cli
from tests.test_command_line import verbs

ROOT = Path(__file__).resolve().parents[3]


def documented() -> dict[str, tuple[str, str]]:
    """Verb -> its columns in experiments/README.md."""
    text = (ROOT / "experiments/README.md").read_text()
    table = text.partition("### Exit codes")[2]
    rows = re.findall(r"^\| (`[^|]+) \| ([^|]+) \| ([^|]+) \|$", table, re.MULTILINE)
    return {
        verb: (zero, one) for names, zero, one in rows for verb in re.findall(r"`(\w+)`", names)
    }


def test_every_verb_has_its_exit_codes():
    assert set(documented()) == set(verbs()) - {"work"}


@pytest.fixture
def one_failed(done):
    """Everything is done but one run, which failed."""
    (first, _) = done.specs("kd")
    (first.directory(done.runs) / "result.json").unlink()
    done.fail(first)
    return done


# In the order of use: `retry` puts the error aside.
CODES = {"status": 0, "table": 0, "plan": 0, "clean": 0, "run": 1, "retry": 0}


def test_exit_codes_with_a_failed_run(one_failed, no_training):
    for verb, code in CODES.items():
        assert one_failed.call(verb).code == code, verb
    never = [verb for verb, (_, one) in documented().items() if one == "never"]
    assert all(CODES.get(verb, 0) == 0 for verb in never)
    run = one_failed.specs("kd")[0].id
    assert cli.call("logs", run, "--runs", str(one_failed.runs)).code == 0


def test_exit_codes_with_everything_done(done, no_training):
    for verb in ("run", "status", "table", "plan"):
        assert done.call(verb).code == 0, verb
    assert done.call("status", "--pairs", "vgg* -> *").code == 2
