"""What the README tells people to type, and what it shows, is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

import benchmark
import distillers
from experiments.matrix.schema import Matrix

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = sorted(set(re.findall(r"^python (benchmark\.py [^#\n]+)", README, re.MULTILINE)))


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found, f"the README has no {language} block"
    return found.group(1)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command: str) -> None:
    arguments = shlex.split(command)[1:]
    parsed = benchmark._parser().parse_args(arguments)
    matrix = getattr(parsed, "matrix", None)
    assert matrix is None or (ROOT / matrix).is_file()


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 5


def test_the_example_method_is_the_tested_one() -> None:
    assert block("python") == (ROOT / "tests/experiments/my_method.py").read_text()


def test_the_example_matrix_is_valid() -> None:
    assert Matrix.model_validate(yaml.safe_load(block("yaml"))).trials == 3


def test_every_method_is_listed() -> None:
    built_in = [
        n for n in distillers.names() if distillers.find(n).__module__.startswith("distill")
    ]
    assert [name for name in built_in if f"`{name}`" not in README] == []


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:experiments|tools|results)/[\w./-]+)`", README)))
)
def test_named_files_exist(path: str) -> None:
    assert (ROOT / path).exists() or path == "results/gpu/"
