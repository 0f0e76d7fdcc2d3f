"""How programs end: bad input is one line per problem, Ctrl-C is 130, help only helps."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

import benchmark
from experiments.commands.entry import entry_point
from experiments.errors import MOST, InputError, MultipleInputError, together
from tests.experiments import cli
from tools import import_checkpoint
from tools.reports import compile_zoo, cost, methods_page, pairs_table

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = sorted(
    str(path.relative_to(ROOT))
    for folder in ("tools", "tools/reports")
    for path in (ROOT / folder).glob("*.py")
    if path.name != "__init__.py"
)


# ---- programs in tools/ --------------------------------------------------------------------------


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_of_every_program_writes_nothing(program, monkeypatch, capsys):
    folders = [ROOT / name for name in ("tools", "distillers", "results", "experiments")]
    before = [cli.listing(folder) for folder in folders]
    monkeypatch.setattr(sys, "argv", [program, "--help"])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    try:
        runpy.run_path(str(ROOT / program), run_name="__main__")
        code = 0
    except SystemExit as ending:
        code = ending.code
    assert code == 0
    assert len(capsys.readouterr().out.splitlines()) >= 2
    after = [cli.listing(folder) for folder in folders]
    assert [[e for e in a if "__pycache__" not in e[0]] for a in after] == [
        [e for e in b if "__pycache__" not in e[0]] for b in before
    ]


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (import_checkpoint.main, ["none.pth"]),
        (pairs_table.main, ["none.yaml"]),
        (cost.main, ["--pairs", "resnet8"]),
    ],
    ids=["import_checkpoint", "pairs_table", "cost"],
)
def test_bad_input_of_programs(main, arguments, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    with pytest.raises((OSError, ValueError)):
        main([*arguments, "--debug"])


@pytest.mark.parametrize("main", [compile_zoo.main, methods_page.main], ids=["zoo", "page"])
def test_unknown_flags_of_programs(main, capsys):
    with pytest.raises(SystemExit) as ending:
        main(["--outptu", "x"])
    assert ending.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


# ---- Ctrl-C --------------------------------------------------------------------------------------


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_ctrl_c_before_workers_start(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.plan.plan.prepare", interrupted)
    said = cli.command("status", cli.write(tmp_path))
    assert (said.code, said.err) == (130, "interrupted\n")


def test_ctrl_c_of_a_program(monkeypatch, capsys):
    assert entry_point(interrupted)([]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_ctrl_c_of_run_after_its_workers_saved(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.local.queue.run", lambda *_: False)
    said = cli.command("run", cli.write(tmp_path), "--workers", "1")
    assert said.code == 130
    assert said.out.endswith("stopped. What was saved is safe: repeat the command to resume.\n")


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", ["a - b", "", "resnet20", "resnet20 -> resnet9", "a -> b -> c"])
def test_a_wrong_pair_is_one_line(pair):
    said = cli.call("list", "methods", "--pair", pair)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert said.err.startswith("error: --pair: ")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--runs", "a", "--runs", "b"], "--runs: given twice, expected once"),
        (["--runs=a", "--runs=b"], "--runs: given twice, expected once"),
        (["--data", "a", "--data", "a"], "--data: given twice, expected once"),
        (["--device", "auto", "--device", "cpu"], "--device: given twice, expected once"),
        (["--trials", "0", "--trials", "1"], "give all values after one --trials"),
    ],
)
def test_a_flag_given_twice_is_refused(tmp_path, flags, said):
    called = cli.call("status", str(cli.write(tmp_path)), *flags)
    assert (called.code, called.out, called.err.count("\n")) == (2, "", 1)
    assert said in called.err


def test_repeatable_flags_may_be_repeated():
    parsed = benchmark._parser().parse_args(
        ["submit", "x.yaml", "--setup", "a", "--setup", "b", "--plugin", "c", "--plugin", "d"]
    )
    assert parsed.setup == ["a", "b"]
    assert parsed.plugin == [Path("c"), Path("d")]


def test_problems_together():
    assert together([]) is None
    assert type(together(["a", "a"])) is InputError
    assert isinstance(together(["a", "b"]), MultipleInputError)
    lines = str(together(map(str, range(MOST + 2)))).splitlines()
    assert lines[-2:] == [str(MOST - 1), "… and 2 more problems"]
