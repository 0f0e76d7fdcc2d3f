"""The terminal: states in color, tables of its width, watching, quiet, versions, places."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

import benchmark
from experiments import environment
from experiments.commands import examples, status, terminal
from experiments.environment import CHECKOUT
from experiments.rundir.status import STATES
from tests.experiments import cli

LABELLED = ["vanilla", "kd", {"name": "kd", "label": "KD (T=2)", "options": {"kd_temperature": 2}}]


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


# ---- color ---------------------------------------------------------------------------------------


def test_every_state_but_to_do_has_a_color():
    assert set(terminal._COLORS) == set(STATES) - {"to do"}


@pytest.mark.parametrize(
    "text, painted",
    [
        ("3/3 done", "\x1b[32m3/3 done\x1b[0m"),
        ("1/3 done", "1/3 done"),  # not yet all of them
        ("0/1 done; failed: diverged", "0/1 done; \x1b[31mfailed\x1b[0m: diverged"),
        ("7 runs: 2 running, 5 to do", "7 runs: \x1b[36m2 running\x1b[0m, 5 to do"),
        ("KD done well  running", "KD done well  \x1b[36mrunning\x1b[0m"),
    ],
)
def test_words_for_states_are_colored(on_terminal, text, painted):
    assert terminal.colored(text) == painted


@pytest.mark.parametrize("name, value", [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_color_where_it_is_not_wanted(on_terminal, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert terminal.colored("3/3 done") == "3/3 done"


def test_no_color_in_a_pipe(done):
    assert "\x1b" not in done.call("status").out


# ---- status --------------------------------------------------------------------------------------


def test_status_each_calls_runs_as_the_matrix_does(tmp_path):
    said = cli.command("status", cli.write(tmp_path, methods=LABELLED, trials=1), "--each")
    shown = [re.split(r"  +", line)[1] for line in said.out.splitlines()[3:]]
    pair = "resnet14 -> resnet8"
    assert shown == [
        "resnet14, teacher, trial 0",
        "resnet8, Student alone, trial 0",
        f"{pair}, KD, trial 0",
        f"{pair}, KD (T=2), trial 0",
    ]


def test_watch_prints_again_with_a_separator_and_ctrl_c_ends_it(tmp_path, monkeypatch):
    waits = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", wait)
    said = cli.command("status", cli.write(tmp_path), "--watch", "7")
    assert (said.code, waits) == (130, [7, 7])
    assert said.out.count("7 runs: 7 to do") == 2
    assert (
        len(re.findall(r"(?m)^---- \d\d:\d\d:\d\d, every 7 seconds, Ctrl-C ends$", said.out)) == 2
    )
    assert "\x1b" not in said.out


def test_watch_shows_no_more_than_the_screen_holds():
    text = "\n".join(map(str, range(10)))
    assert status._first_lines(text, 10) == text
    assert status._first_lines(text, 4) == "0\n1\n2\n… 7 more lines"


# ---- quiet, version, bare ------------------------------------------------------------------------


def test_quiet_run_prints_nothing_where_all_is_well(place, inline):
    said = place.call("run", "--quiet", "--methods", "vanilla", "--trials", "0", "--workers", "1")
    mine = [line for line in said.out.splitlines() if "epoch" not in line and "top-1" not in line]
    assert (said.code, mine, said.err) == (0, [], "")  # the rest is the worker's, inline here


def test_version():
    stated = re.search(r"(?m)^version: (.*)$", (CHECKOUT / "CITATION.cff").read_text())
    said = cli.call("--version")
    assert said.code == 0
    assert said.out.startswith(f"benchmark.py {stated[1]} (commit ")


@pytest.mark.parametrize(
    "code, end",
    [
        ({"commit": "4122340" + 33 * "0", "dirty": True}, "(commit 4122340, modified)"),
        ({"commit": "4122340" + 33 * "0", "dirty": False}, "(commit 4122340)"),
        ({"commit": None, "dirty": None}, "(commit unknown)"),
    ],
)
def test_version_names_commit_and_changes(monkeypatch, code, end):
    monkeypatch.setattr(environment, "code", lambda: code)
    assert environment.version().endswith(end)


def test_without_a_command_it_prints_its_help():
    bare, asked = cli.call(), cli.call("--help")
    assert (bare.code, bare.out, bare.err) == (0, asked.out, "")


# ---- places --------------------------------------------------------------------------------------


def test_runs_and_data_from_the_environment(tmp_path, monkeypatch, done):
    matrix = str(done.matrix)
    monkeypatch.setenv("KD_RUNS", str(done.runs))
    monkeypatch.setenv("KD_DATA", str(tmp_path / "data"))
    assert "7 runs: 7 done" in cli.call("status", matrix).out
    args = benchmark._parser().parse_args(["status", matrix])
    assert (args.runs, args.data) == (done.runs, tmp_path / "data")


def test_flags_win_over_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("KD_RUNS", "/elsewhere")
    args = benchmark._parser().parse_args(["status", "x.yaml", "--runs", str(tmp_path)])
    assert args.runs == tmp_path


def test_a_missing_directory_is_the_same_error_as_of_the_flag(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    matrix, runs = str(cli.write(tmp_path)), tmp_path / "file" / "runs"
    flag = cli.call("run", matrix, "--runs", str(runs), "--data", str(tmp_path))
    monkeypatch.setenv("KD_RUNS", str(runs))
    assert cli.call("run", matrix, "--data", str(tmp_path)) == flag
    assert flag.code == 2 and "--runs" in flag.err


# ---- help and completion -------------------------------------------------------------------------


def verbs() -> dict[str, object]:
    (group,) = (a for a in benchmark._parser()._actions if a.choices)
    return {name: verb for name, verb in group.choices.items() if name != "work"}


@pytest.mark.parametrize("verb", sorted(verbs()))
def test_every_command_has_a_description_and_an_example(verb):
    said = cli.call(verb, "--help").out
    assert verbs()[verb].description.rstrip(".") in said
    assert f"examples:\n  benchmark.py {verb}" in said


COMMANDS = [line for lines in examples.EXAMPLES.values() for line in lines]


@pytest.mark.parametrize("line", COMMANDS)
def test_examples_parse(line):
    words = [*shlex.split(line), ">"]  # what follows is for the shell
    benchmark._parser().parse_args(words[: words.index(">")])


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_commands_and_flags(shell):
    pytest.importorskip("shtab")
    said = cli.call("completion", shell)
    assert said.code == 0
    assert {"doctor", "status"} <= set(re.findall(r"\w+", said.out))
    assert "--watch" in said.out and "_files" in said.out


def test_bash_completes(tmp_path):
    """As bash would: the function is called with what has been typed so far."""
    pytest.importorskip("shtab")
    script = tmp_path / "completion.bash"
    script.write_text(cli.call("completion", "bash").out)
    (tmp_path / "mine.yaml").touch()

    def completed(*words: str) -> set[str]:
        ask = (
            f"source {script}; COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1};"
            " _shtab_benchmark_py; printf '%s\\n' \"${COMPREPLY[@]}\""
        )
        done = subprocess.run(["bash", "-c", ask], cwd=tmp_path, capture_output=True, text=True)
        return set(done.stdout.split())

    assert completed("benchmark.py", "sta") == {"status"}
    assert completed("benchmark.py", "status", "--wa") == {"--watch"}
    assert completed("benchmark.py", "status", "mi") == {"mine.yaml"}


def test_importing_the_command_line_does_not_import_shtab():
    ask = "import sys, benchmark; benchmark._parser(); print('shtab' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", ask], cwd=Path(CHECKOUT), capture_output=True, text=True
    )
    assert done.stdout.strip() == "False", done.stderr
