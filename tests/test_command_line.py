"""The command line as such: it answers at once, and knows what its modules know."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import benchmark
from experiments.commands import table_flags
from results import diagram, formats, layout
from tests.experiments import cli

ROOT = Path(__file__).resolve().parent.parent
# In one process of its own: this one has imported torch long ago.
EVERY_HELP = """
import contextlib, io, sys, benchmark
for verb in ["", *sys.argv[1:]]:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        benchmark.main([*verb.split(), "--help"])
    assert printed.getvalue().startswith(f"usage: benchmark.py {verb}".strip()), verb
    heavy = {"torch", "pydantic", "pandas", "numpy", "models", "datasets"} & set(sys.modules)
    assert not heavy, (verb, heavy)
    print(verb)
"""


def verbs() -> list[str]:
    parser = benchmark._parser()
    (action,) = (a for a in parser._actions if a.dest == "==SUPPRESS==" or a.choices)
    return list(action.choices)


def test_help_of_every_verb_imports_nothing_heavy():
    """torch alone takes a second and a half."""
    command = [sys.executable, "-c", EVERY_HELP, *verbs()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {"", "run", "submit", "list", "work"} <= set(done.stdout.split("\n"))


@pytest.mark.parametrize("verb", sorted(set(verbs()) - {"work"}))
def test_every_flag_says_what_it_does(verb):
    (group,) = (a for a in benchmark._parser()._actions if a.choices)
    silent = [
        action.dest
        for action in group.choices[verb]._actions
        if action.option_strings and not action.help
    ]
    assert silent == []


def test_formats_of_tables():
    assert list(table_flags.FORMATS) == list(formats.FORMATS)
    assert table_flags.LAYOUTS == layout.LAYOUTS
    assert table_flags.DIAGRAMS == diagram.ENDINGS


@pytest.mark.parametrize("debug", [False, True])
def test_bad_input_is_one_line_unless_debugged(tmp_path, debug):
    """The error is of a family whose module is imported only after the command has begun."""
    arguments = ["evaluate", str(tmp_path / "none.pth"), "--dataset", "fake"]
    if debug:
        with pytest.raises(ValueError, match="does not exist"):
            benchmark.main([*arguments, "--debug"])
        return
    said = cli.call(*arguments)
    assert (said.code, said.err.count("\n")) == (2, 1)


def test_a_mistake_in_the_code_is_not_taken_for_bad_input(monkeypatch, tmp_path):
    def broken(*_: object) -> None:
        raise ValueError("not about the input")

    monkeypatch.setattr("experiments.plan.plan.prepare", broken)
    with pytest.raises(ValueError, match="not about the input"):
        benchmark.main(["status", str(cli.write(tmp_path))])


def test_a_mistyped_flag_is_answered_with_the_nearest(tmp_path):
    said = cli.call("run", "x.yaml", "--retry-faild")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "did you mean --retry-failed" in said.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("run x.yaml --measures nll", "--measures nll: a flag of table (see benchmark.py run --"),
        ("list models --detect 3", "--detect 3: a flag of plan (see benchmark.py list --help)"),
        ("plan x.yaml --method=kd", "--method=kd: did you mean --methods? (see benchmark.py plan"),
        ("plan x.yaml y.yaml", "unrecognized arguments: y.yaml (see benchmark.py plan --help)"),
        ("--quiet plan x.yaml", "--quiet: expected after plan (see benchmark.py plan --help)"),
        ("pln x.yaml", "unknown command 'pln': did you mean plan? (see benchmark.py --help)"),
        ("x.yaml run", "unknown command 'x.yaml': known: "),
        ("list", "the following arguments are required: what (see benchmark.py list --help)"),
    ],
)
def test_what_is_said_of_wrong_arguments_helps(words, said):
    """A flag of another command is not suggested again, and the help that is named lists flags."""
    called = cli.call(*words.split())
    assert (called.code, called.err.count("\n")) == (2, 1)
    assert said in called.err


def test_no_command_but_those_for_people_is_suggested():
    assert "work" not in cli.call("wrok").err
