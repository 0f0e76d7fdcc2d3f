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


@given(content=contents(), verb=st.sampled_from(["status", "plan", "table"]))
def test_any_matrix_is_read_or_refused(here: Path, content: bytes, verb: str) -> None:
    (here / "matrix.yaml").write_bytes(content)
    read(here, verb)
