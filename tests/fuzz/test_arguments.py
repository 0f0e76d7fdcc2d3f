"""Whatever is given to any flag of any command: it works, or one line says what is wrong."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import benchmark
from experiments import environment, slurm
from tests.experiments import cli
from tests.fuzz import tree
from tests.fuzz.guard import SECONDS, SLOW, harmless

# `doctor` looks at the machine, `completion` prints a script, `run` and `report` take long.
ENDLESS = ("--watch", "--every")
LEFT_OUT = ("doctor", "completion", "run", "list", "check", "work")
NASTY = (
    "",
    " ",
    "-",
    "--",
    "x",
    "*",
    "[",
    "[!",
    "**/*",
    "a\0b",
    "a\nb",
    "\x1b[31m",
    "é→𝔸",
    "\udcff",
    "x" * 5000,
    "x/" * 2500,
    "..",
    "../..",
    "/",
    "/dev/null",
    "/dev/zero",
    "~",
    "~nobody/x",
    "~nobody at home",
    "0",
    "-1",
    "1e999",
    "nan",
    "0-10**9",
    "9" * 5000,
    "²",
    "٣",
    "{}",
    "a=b",
    "root=/x",
    "name=x",
    "device=cuda",
    "batch_size=0",
    "train_size=2001-01-01",
    "train_size=2001-99-99",
    "image_size=!!python/object:os.system",
    "image_size=100000000",
    "image_size=[[[",
    "label=a\0b",
    "->",
    "a -> b",
    "resnet8 -> resnet8",
    "{FOLDER}",
    "{FOLDER}/matrix.yaml",
    "{FOLDER}/pipe",
    "{FOLDER}/picture.png",
    "{FOLDER}/picture.jsonl",
    "{FOLDER}/odd.json",
    "{FOLDER}/runs",
    "{FOLDER}/empty",
    "{RUN}",
)


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Every command's parser."""
    (verbs,) = (
        action
        for action in benchmark._parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return {name: parser for name, parser in verbs.choices.items() if name not in LEFT_OUT}


PARSERS = parsers()
FLAGS = {
    name: [
        action
        for action in parser._actions
        if action.nargs != 0 and action.option_strings and action.option_strings[0] not in ENDLESS
    ]
    for name, parser in PARSERS.items()
}
SWITCHES = {
    name: [
        action.option_strings[0]
        for action in parser._actions
        # --calibrate trains for half a minute.
        if action.nargs == 0 and action.dest not in ("help", "debug", "yes", "calibrate")
    ]
    for name, parser in PARSERS.items()
}
STARTS = {  # what a command needs to get as far as its flags
    "plan": ["{FOLDER}/matrix.yaml", "--no-timing"],
    "report": ["{FOLDER}/empty.jsonl"],
    "submit": ["{FOLDER}/matrix.yaml", "--dry-run"],
    "collect": ["{FOLDER}/runs", "--output", "{FOLDER}/out.jsonl"],
    "evaluate": ["{RUN}"],
    "export": ["{RUN}", "--output", "{FOLDER}/out.pth"],
    "logs": ["{RUN}"],
}
PLACES = ("--runs", "--data", "--device")


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command, with one to three of its flags or arguments replaced by nasty values."""
    verb = draw(st.sampled_from(sorted(PARSERS)))
    words = list(STARTS.get(verb, ["{FOLDER}/matrix.yaml"]))
    given: set[str] = set()
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.integers(0, 5))
        value = draw(st.one_of(st.sampled_from(NASTY), st.text(max_size=6)))
        if kind == 0:
            words[0] = value
        elif kind == 1 and SWITCHES[verb]:
            words.append(draw(st.sampled_from(SWITCHES[verb])))
        else:
            name = draw(st.sampled_from(FLAGS[verb])).option_strings[0]
            given.add(name)
            words += [f"{name}={value}"] if draw(st.booleans()) else [name, value]
    known = {action.option_strings[0] for action in FLAGS[verb]}
    defaults = {"--runs": "{FOLDER}/runs", "--data": "{FOLDER}/data", "--device": "cpu"}
    for name in PLACES:
        if name in known and name not in given:
            words += [name, defaults[name]]
    return [verb, *words]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder, the working directory, with runs and with what is none."""
    # Deep enough that `../..` leads to no other test: what is given as a place is written to.
    folder = tmp_path_factory.mktemp("arguments") / "a" / "b"
    folder.mkdir(parents=True)
    places = tree.make(folder)
    (folder / "empty").mkdir()
    (folder / "empty.jsonl").write_bytes(b"")
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff")
    (folder / "picture.jsonl").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff")
    (folder / "odd.json").write_text('{"specs": [{}], "ids": 3}')
    (folder / "run.txt").write_text(places["done"].name)
    os.mkfifo(folder / "pipe")
    environment.code()  # asks git once
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "is_here", lambda: False)
    monkeypatch.setattr(slurm, "cluster", lambda: None)


def checked(words: list[str], folder: Path) -> cli.Called:
    """Call a command line; checks how it ends."""
    run = (folder / "run.txt").read_text()
    words = [word.replace("{FOLDER}", str(folder)).replace("{RUN}", run) for word in words]
    with harmless(folder.parents[1], seconds=SLOW if words[0] == "report" else SECONDS):
        called = cli.call(*words)
    assert called.code in (0, 1, 2), (words, called)
    assert "Traceback" not in called.err, (words, called)
    if called.code == 2:
        lines = [line for line in called.err.splitlines() if not line.startswith("note: ")]
        assert lines and lines[0].startswith("error: "), (words, called)
        assert called.err.count("\n") <= 11, (words, called)
    return called


@given(words=command_lines())
def test_any_argument_is_taken_or_refused(here: Path, words: list[str]) -> None:
    checked(words, here)


def test_a_home_that_nobody_has(here: Path) -> None:
    called = checked(["plan", "{FOLDER}/matrix.yaml", "--plugin", "~no such user/x.py"], here)
    assert called.code == 2 and "~no such user/x.py" in called.err
