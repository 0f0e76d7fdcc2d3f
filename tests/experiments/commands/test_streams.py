"""What is printed: in every encoding, without what a terminal would act on."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import benchmark
from experiments.commands import streams
from experiments.environment import CHECKOUT
from experiments.local.progress import Progress
from results.printable import json_escaped, printable
from tests.experiments import cli

ACTIVE = "\x1b]0;title\x07 \x9b31m \r \u202egnp.exe \u2066x\u2069 \x7f \u2028"
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028]")


def called(encoding: str, *arguments: str) -> tuple[int, str]:
    """The exit code of a command and what it printed on streams of this encoding."""
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            code = benchmark.main(arguments)
        except SystemExit as ending:  # argparse
            code = int(ending.code or 0)
    out.flush()
    return code, out.buffer.getvalue().decode(encoding)


# ---- encodings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "text", "shown"),
    [
        ("ascii", "a → b ± 1 … ×² “q” – é 中", r'a -> b +- 1 ... x^2 "q" - \xe9 \u4e2d'),
        ("latin-1", "a → b ± ×é", "a -> b ± ×é"),
        ("cp1252", "a → b – …", "a -> b – …"),
        ("utf-8", "a → b", "a → b"),
        ("utf-8", os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("ascii", os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("utf-8", "\ud800", r"\ud800"),
    ],
)
def test_what_an_encoding_lacks_is_replaced(encoding, text, shown):
    inside = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="")
    print(text, file=streams.SafeStream(inside), flush=True)
    assert inside.buffer.getvalue().decode(encoding) == shown + "\n"


VERBS = [
    "--help", "table --help", "completion bash", "list methods", "list methods dkd",
    "list published", "plan M --each --no-timing", "run M", "status M --each", "logs R", "table M",
    "table M --format latex", "table M --format json --output O/t.json", "table nope→.yaml",
    "collect RUNS --output O/b.jsonl", "export R --output O/s.pth", "clean M --yes", "retry M",
    "list méthodes",
]  # fmt: skip


def test_every_verb_in_ascii(tmp_path, done):
    out = tmp_path / "out→"
    out.mkdir()
    runs = done.matrix.parent / "runs"
    run = next(path.parent for path in runs.rglob("result.json"))
    places = ["--runs", str(runs), "--data", str(done.matrix.parent / "data")]
    for verb in VERBS:
        words = {"M": done.matrix, "RUNS": runs, "R": run.name}
        argv = [str(words.get(word, word)).replace("O/", f"{out}/") for word in verb.split()]
        argv += places if "M" in verb.split() else places[:2] if "R" in verb.split() else []
        code, said = called("ascii", *argv)
        assert code == (2 if "nope" in verb or "é" in verb else 0), (verb, said)
        assert not RAW.search(said), verb
    assert "→" in (out / "t.json").read_text(encoding="utf-8")


def test_a_program_where_the_locale_is_ascii():
    changes = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "benchmark.py", "list", "methods", "dkd", "--quiet"]
    done = subprocess.run(
        command, cwd=CHECKOUT, env={**os.environ, **changes}, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"ResNet50 -> MobileNet" in done.stdout


def test_closed_streams():
    with contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):
        assert benchmark.main(["list", "datasets"]) == 0
        assert benchmark.main(["plan", "nope→.yaml"]) == 2


def test_progress_goes_on_when_the_terminal_is_gone(monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise OSError(5, "Input/output error")

    with contextlib.redirect_stdout(Gone()):
        Progress([]).note("stopping: every run saves after its current step …")


def test_progress_in_ascii(monkeypatch):
    inside = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(inside, "isatty", lambda: True, raising=False)
    with contextlib.redirect_stderr(inside), contextlib.redirect_stdout(inside), streams.safe():
        progress = Progress([])
        progress.last = "70.00 % KD→ \x1b[2J, trial 0"
        progress.tick()
        progress.note("a → b …\x1b[2J")
        progress.close()
    said = inside.buffer.getvalue().decode("ascii")
    assert "a -> b ...\\x1b[2J\n" in said
    assert "\x1b" not in said


def modules() -> list[Path]:
    folders = ("models", "datasets", "distillers", "experiments", "results", "tools")
    return [CHECKOUT / "benchmark.py", *(p for f in folders for p in (CHECKOUT / f).rglob("*.py"))]


def test_no_file_is_read_or_written_in_the_encoding_of_the_locale():
    """Every call that opens a text names its encoding."""
    found = []
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and _opens_text(node):
                found.append(f"{path.relative_to(CHECKOUT)}:{node.lineno}")
    assert found == []


def _opens_text(node: ast.Call) -> bool:
    """A call of open, read_text, write_text without an encoding, and of no binary mode."""
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    if name not in ("open", "read_text", "write_text", "fdopen"):
        return False
    if ast.unparse(node.func) in ("os.open", "Image.open", "archive.open"):  # bytes, all of them
        return False
    texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    is_binary = name in ("open", "fdopen") and any(re.fullmatch("[rwxab+]*b[+]?", t) for t in texts)
    return not is_binary and "encoding" not in {keyword.arg for keyword in node.keywords}


# ---- control characters --------------------------------------------------------------------------


def test_active_characters_are_escaped():
    assert printable("plain → \t\n text") == "plain → \t\n text"
    assert printable("\x1b[2J\r\x9b\u202e") == r"\x1b[2J\r\x9b\u202e"
    assert not RAW.search(printable(ACTIVE))
    assert json_escaped('"\x9b\u202e→"') == '"\\u009b\\u202e→"'


def test_errors_and_labels_of_others_reach_no_terminal(tmp_path):
    label = f"KD {ACTIVE}"
    path = cli.write(tmp_path, methods=["vanilla", {"name": "kd", "label": label}], trials=1)
    for command in ("plan", "status", "table"):
        more = ["--no-timing"] if command == "plan" else ["--each"] if command == "status" else []
        said = cli.command(command, path, *more)
        assert said.code == 0, said.err
        assert not RAW.search(said.out + said.err), command
    said = cli.command("status", path, "--methods", label + "x")
    assert (said.code, RAW.search(said.err)) == (2, None)
    assert r"\x1b]0;title\x07" in said.err


def test_a_return_only_begins_a_line():
    inside = io.StringIO()
    streams.SafeStream(inside).write("\r 50 % \rdone")
    assert inside.getvalue() == "\r 50 % \\rdone"
