"""Whatever a matrix file holds: it is read, or refused in one printable line within seconds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from experiments import slurm
from experiments.matrix import schema
from tests.experiments import cli
from tests.fuzz.guard import harmless
from tests.fuzz.values import mutated

GOOD = cli.changed(
    methods=["vanilla", {"name": "kd", "label": "KD", "options": {"kd": 0.9}}],
    pairs=["resnet14 -> resnet8", {"teacher": "resnet14", "student": "resnet8x4"}],
    teachers={"resnet14": {"file": "weights/t.pth", "sha256": "0" * 64}},
    transfer={"datasets": ["digits"], "bn_mode": "eval", "recipe": {"epochs": 200}},
    slurm={"time": "1:00:00", "gpus": 1, "setup": ["true"], "sbatch": {"nice": 1}},
    published=[],
    predictions="none",
)
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
TEXT = yaml.safe_dump(GOOD, sort_keys=False)
# What is put in the place of some of a matrix's text; each made a reader fail, or hang.
TOKENS = (
    "!!bool x",
    "!!int ''",
    "!!float x",
    "!!timestamp x",
    "!!binary aGk=",
    "!!set {a, b}",
    "!!omap [a: 1]",
    "!!python/object/apply:os.system [true]",
    "2001-99-99",
    "2001-01-01",
    "[" * 300 + "]" * 300,
    "{a: " * 60 + "1" + "}" * 60,
    "&a [*a]",
    "&a {<<: *a}",
    "{<<: [{a: 1}, {<<: {b: 1}}]}",
    "? [a, b]\n: 1",
    "1e999",
    "1" * 5000,
    "0x" + "f" * 5000,
    "-.inf",
    ".nan",
    '"a\\0b"',
    "'\\ud800'",
    "\t",
    "---\na: 1",
    "%YAML 9.9\n---",
    "\ufeff",
    "~",
    "yes",
    "*",
    "=",
    "<<",
)
SIZES = (0, -1, 10**5, 10**8, 10**12, 10**18, 10**30, True, 1.5, float("nan"), float("inf"))


@st.composite
def spliced(draw: st.DrawFn) -> str:
    """The text of a matrix with a token in the place of some of it."""
    begin = draw(st.integers(0, len(TEXT)))
    end = draw(st.one_of(st.just(begin), st.integers(begin, min(len(TEXT), begin + 30))))
    return TEXT[:begin] + draw(st.sampled_from(TOKENS)) + TEXT[end:]


def as_text(content: Any) -> str:
    """Lone surrogates, which no YAML can hold, are written as they would be quoted."""
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=False)


@st.composite
def resized(draw: st.DrawFn) -> str:
    """A matrix of which some numbers are of another order."""
    content = cli.changed()
    for _ in range(draw(st.integers(1, 2))):
        group, key = draw(
            st.sampled_from(
                [
                    *(("dataset", key) for key in ("image_size", "train_size", "num_classes")),
                    *(("dataset", key) for key in ("test_size", "subset", "validation", "seed")),
                    *(("recipe", key) for key in ("epochs", "batch_size", "threads", "lr")),
                    *(("recipe", key) for key in ("eval_every", "warmup_epochs", "milestones")),
                    *((None, key) for key in ("trials", "processes", "methods", "pairs")),
                ]
            )
        )
        place = content[group] if group else content
        place[key] = draw(st.sampled_from(SIZES))
    return as_text(content)


def contents() -> st.SearchStrategy[bytes]:
    texts = st.one_of(spliced(), resized(), mutated(GOOD).map(as_text), st.text(max_size=40))
    return st.one_of(
        texts.map(lambda text: text.encode("utf-8", "replace")),
        texts.map(lambda text: text.encode("utf-16", "replace")),
        st.binary(max_size=60),
    )


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("matrices")


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A SLURM of this machine is not asked."""
    monkeypatch.setattr(slurm, "is_here", lambda: False)
    monkeypatch.setattr(slurm, "cluster", lambda: None)


def read(folder: Path, verb: str = "status") -> cli.Called:
    """`status` of FOLDER/matrix.yaml; checks the manners of a refusal."""
    matrix = folder / "matrix.yaml"
    more = ("--no-timing",) if verb == "plan" else ()
    with harmless(folder):
        called = cli.command(verb, matrix, *more, "--device", "cpu")
    assert called.code in (0, 2), called
    if called.code == 2:
        lines = called.err.splitlines()
        assert lines and all(line.startswith("error: ") for line in lines), called.err
        assert len(lines) <= 11 and "Traceback" not in called.err
        assert all(str(matrix) in line or "more problem" in line for line in lines), called.err
    return called


@pytest.fixture
def few_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A matrix of a hundred thousand runs is none that nobody expects, but takes its time."""
    monkeypatch.setattr(schema, "MOST_RUNS", 1000)


@pytest.mark.usefixtures("few_runs")
@given(content=contents(), verb=st.sampled_from(["status", "plan", "table"]))
def test_any_matrix_is_read_or_refused(here: Path, content: bytes, verb: str) -> None:
    (here / "matrix.yaml").write_bytes(content)
    read(here, verb)


# ---- examples that once hung, filled the memory or ended in a traceback --------------------------

BEGIN = "dataset: {name: fake}\npairs: [resnet14 -> resnet8]\nmethods: [kd]\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "stands for more than 100,000 values"),
        (f"{BEGIN}trials: 1000000000\n", "1,000,000,000 runs, expected at most 1,000,000"),
        (f"{BEGIN}recipe: {{tf32: !!bool x}}\n", "invalid YAML: line 4: 'x' is no !!bool"),
        (f"{BEGIN}trials: !!int x\n", "invalid YAML: line 4: 'x' is no !!int"),
        (f"{BEGIN}trials: {'9' * 5000}\n", "is no !!int"),
        (f"{BEGIN}recipe: {{lr: !!float x}}\n", "invalid YAML: line 4: 'x' is no !!float"),
        (f"{BEGIN}trials: 2001-99-99\n", "'2001-99-99' would be a date: put it in quotes"),
        (f"{BEGIN}? {'x' * 50_000}\n: 1\n", "xxx … "),
        (f"{BEGIN}plugins: [!!binary aGk=]\n", "line 4: type !!binary: expected plain values"),
        (f"{BEGIN}published: !!set {{a}}\n", "line 4: type !!set: expected plain values"),
        (f"{BEGIN}trials: {'[' * 200}{']' * 200}\n", "nested more than 50 deep"),
        (f"{BEGIN}trials: {'[' * 300}{']' * 300}\n", "nested"),
        (f"{BEGIN}trials: &a [*a]\n", "line 4: a value that contains itself"),
        (f"{BEGIN}recipe: {{lr: 2026-01-01}}\n", "would be a date: put it in quotes"),
        (f"{BEGIN}recipe: {{threads: 1000000000000}}\n", "recipe.threads: expected at most 4096"),
        (f"{BEGIN}recipe: {{epochs: {10**18}}}\n", "recipe.epochs: expected at most 1000000"),
        (f"{BEGIN}recipe: {{batch_size: true}}\n", "recipe.batch_size: "),
        (f"{BEGIN}recipe: {{lr: .nan}}\n", "recipe.lr: expected "),
        ("dataset: {name: fake}\na[b: 1\n", "a[b: unknown key"),
        ("dataset: {name: fake}\nstr: 1\n", "str: unknown key"),
        (f"{BEGIN}1: 2\n", "key 1: expected a text"),
        ("---\na: 1\n---\nb: 2\n", "invalid YAML: expected a single document"),
        (
            "dataset: {name: fake, image_size: 100000000}\n" + BEGIN.partition("\n")[2],
            "image_size = 100000000: expected at most 4096 pixels",
        ),
        (
            "dataset: {name: fake, train_size: 1000000000}\n" + BEGIN.partition("\n")[2],
            "1,000,000,128 images and 10 classes: expected at most 2 GiB of memory",
        ),
        (
            f"dataset: {{name: fake, train_size: 1{'0' * 400}}}\n" + BEGIN.partition("\n")[2],
            "line 1: '1000000000",
        ),
        (
            f"dataset: {{name: fake, train_size: 0x{'f' * 5000}}}\n" + BEGIN.partition("\n")[2],
            "expected an integer of at most 63 bits",
        ),
        (
            f'{BEGIN}teachers: {{resnet14: {{file: "a\\0b"}}}}\n',
            "teachers.resnet14.file: no file at ",
        ),
    ],
)
def test_one_line_says_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "matrix.yaml").write_text(text)
    called = read(tmp_path, "plan")
    assert called.code == 2 and said in called.err
    lines = called.err.splitlines()
    assert all(line.startswith("error: ") and len(line) < 5000 for line in lines)
    assert len(lines) == 1 + called.err.count(": missing")


def test_a_mark_of_byte_order_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "matrix.yaml").write_bytes(b"\xef\xbb\xbf" + BEGIN.encode())
    assert read(tmp_path).code == 0


@pytest.mark.parametrize("kind", ["folder", "pipe", "long"])
def test_what_is_no_file_of_a_matrix(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "matrix.yaml"
    if kind == "long":
        with path.open("wb") as file:
            file.truncate(100 * 10**6)
    else:
        path.mkdir() if kind == "folder" else os.mkfifo(path)
    assert "cannot be read" in read(tmp_path).err
