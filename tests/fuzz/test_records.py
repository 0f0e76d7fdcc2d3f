"""Whatever lies in a runs directory: the commands go on, and what is bad is said in one line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import environment, slurm
from experiments.rundir import processes
from tests.experiments import cli
from tests.fuzz import tree
from tests.fuzz.guard import SECONDS, SLOW, harmless
from tests.fuzz.values import TEXTS, mutated

RAW = (
    b"",
    b"\xff\xfe\x00",
    b"\0" * 50,
    b"[" * 100_000,
    b'{"a":' * 2000,
    b"null",
    b"1e400",
    b'{"format":1,"format":1}',
    b"\xef\xbb\xbf{}",
    b"2001-99-99",
    b"a: &a [*a]",
    b"a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]",
    b"!!python/object:os.system x",
    b"\xed\xa0\x80",
    b'stage,epoch\n"' + b"x" * 200_000,
    b'"' * 999,
    b"{}",
    b"[]",
)
STRAYS = (
    *("claim-0001x", "claim-", "claim-0002", "claim-99999999999999999999", "claim-1e5", "claim-0x"),
    *("result.json.broken", ".x.tmp", "claim-²", "claim-0٣"),
)
HOLDERS = (
    *("", "[]", '{"pid": "x"}', '{"host": 1, "pid": 10}', '{"slurm": 3}', '{"slurm": {"job": 1}}'),
    *(f'{{"host": "{processes.host()}", "pid": {pid}}}' for pid in (10**30, -1, "null", '"x"')),
)


class Files(dict[Path, bytes]):
    """The content of files, which a failing example must not print."""

    def __repr__(self) -> str:
        return f"{len(self)} files"


def verbs(folder: Path, run: str) -> list[list[str]]:
    """Command lines about a matrix or one run; none may write outside the folder."""
    matrix, runs, data = (str(folder / name) for name in ("matrix.yaml", "runs", "data"))
    of_matrix = [matrix, "--runs", runs, "--data", data, "--device", "cpu"]
    board = str(folder / "board.jsonl")
    return [
        ["status", *of_matrix, "--each"],
        ["table", *of_matrix, "--measures", "nll,ece", "--best"],
        ["table", *of_matrix, "--format", "json"],
        ["plan", *of_matrix, "--no-timing"],
        ["clean", *of_matrix],
        ["retry", *of_matrix],
        ["collect", runs, "--output", board, "--history", "--predictions"],
        ["table", matrix, "--runs", board, "--data", data, "--measures", "nll"],
        ["logs", run, "--runs", runs],
        ["export", run, "--runs", runs, "--output", str(folder / "s.pth")],
        ["evaluate", run, "--runs", runs, "--data", data, "--device", "cpu"],
        ["report", *of_matrix, "--output", str(folder / "pages")],
    ]


ON_A_MATRIX = 6  # the first verbs, which no file of a runs directory may make refuse


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Files]]:
    """A folder with runs, and the content of all files there that a person may read."""
    folder = tmp_path_factory.mktemp("runs")
    environment.code()  # asks git once
    places = tree.make(folder).values()
    files = [path for place in places for path in place.iterdir() if path.is_file()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slurm, "is_here", lambda: False)
        patch.setattr(slurm, "cluster", lambda: None)
        yield folder, Files({p: p.read_bytes() for p in files if p.stat().st_size < 10_000})


# ---- damage --------------------------------------------------------------------------------------


def content(data: bytes) -> st.SearchStrategy[bytes]:
    """A file's content with something else in some places."""
    try:
        return mutated(json.loads(data)).map(lambda value: json.dumps(value).encode())
    except ValueError:
        return spliced(data)


@st.composite
def spliced(draw: st.DrawFn, data: bytes) -> bytes:
    begin = draw(st.integers(0, len(data)))
    end = draw(st.integers(begin, min(len(data), begin + 8)))
    new = draw(st.one_of(st.binary(max_size=4), st.sampled_from(TEXTS).map(_bytes)))
    return data[:begin] + new + data[end:]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def put(path: Path, kind: str, data: bytes) -> None:
    """A file with other content, or something else of its name."""
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    else:
        path.write_bytes(data)


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


# ---- what must hold ------------------------------------------------------------------------------


def check(words: list[str], folder: Path) -> cli.Called:
    for name in ("board.jsonl", "s.pth", "s.method.safetensors"):
        (folder / name).unlink(missing_ok=True)
    with harmless(folder, seconds=SLOW if words[0] == "report" else SECONDS):
        called = cli.call(*words)
    assert called.code in (0, 1, 2), (words, called)
    assert "Traceback" not in called.err, (words, called)
    if called.code == 2:
        assert called.err.startswith("error: ") and called.err.count("\n") <= 11, (words, called)
    return called


@given(data=st.data())
def test_nothing_in_a_runs_directory_ends_a_command(
    here: tuple[Path, Files], data: st.DataObject
) -> None:
    folder, files = here
    path = data.draw(st.sampled_from(sorted(files)))
    kind = data.draw(
        st.sampled_from(("content", "content", "raw", "stray", "folder", "pipe", "loop"))
    )
    choices = content(files[path]) if kind == "content" else st.sampled_from(RAW)
    new, target = data.draw(choices), path
    if kind == "stray":
        target = path.with_name(data.draw(st.sampled_from(STRAYS)))
        new = data.draw(st.sampled_from(HOLDERS)).encode()
        kind = data.draw(st.sampled_from(("content", "folder")))
    run = path.parent.name if ".slurm" not in path.parts else "0-"
    put(target, kind, new)
    try:
        *quick, slow = verbs(folder, run)
        words = data.draw(st.sampled_from(quick))
        if data.draw(st.integers(0, 199)) == 117:  # no end of the range, which is drawn often
            words = slow
        called = check(words, folder)
        if words in quick[:ON_A_MATRIX]:
            assert called.code < 2, (words, called)
        if words in quick[:4] and path.name == "result.json" == target.name and kind != "content":
            assert f"note: left out: {path}: " in called.err, (words, called)
    finally:
        remove(target)
        path.write_bytes(files[path])
