"""What the READMEs tell people to type, and what they show, is true."""

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
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *(f"{room}/README.md" for room in ("datasets", "distillers", "experiments", "models")),
    "experiments/cluster/README.md",
    "results/README.md",
    "results/TABLES.md",
    "results/PAGES.md",
]
TEXTS = {page: (ROOT / page).read_text() for page in PAGES}
README, ALL = TEXTS["README.md"], "\n".join(TEXTS.values())
COMMANDS = sorted(set(re.findall(r"python (benchmark\.py [^#`\n]+)", ALL)))
BUILT_IN = [
    n for n in distillers.names() if distillers.find(n).__module__.startswith("distillers.")
]
OF_THE_EXAMPLE = {"mine.yaml"}  # the matrix that a reader has just written
MADE_BY_A_COMMAND = {"results/gpu/", "data/weights/resnet56.pth"}


def block(language: str) -> str:
    match = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert match, f"the README has no {language} block"
    return match.group(1)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command: str) -> None:
    arguments = shlex.split(command)[1:]
    parsed = benchmark._parser().parse_args(arguments)
    matrix = getattr(parsed, "matrix", None)
    assert matrix is None or matrix in OF_THE_EXAMPLE or (ROOT / matrix).is_file()
    runs = getattr(parsed, "runs", None)
    assert runs is None or runs.suffix != ".jsonl" or (ROOT / runs).is_file()


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 20


def test_the_first_page_is_one_page() -> None:
    assert len(README.splitlines()) <= 160


def test_the_first_table_is_of_the_committed_board() -> None:
    source, table = re.search(r"<!-- from (\S+) -->\n((?:\|.*\n)+)", README).groups()
    assert table in (ROOT / source).read_text()


def test_the_number_of_methods() -> None:
    methods, wrappers = re.search(r"(\d+) methods and (\w+) wrappers", README).groups()
    assert len(BUILT_IN) == int(methods)
    assert (len(distillers.wrappers()), wrappers) == (5, "five")


def test_the_example_method_is_the_tested_one() -> None:
    assert block("python") == (ROOT / "tests/experiments/my_method.py").read_text()


def test_the_example_matrix_is_valid() -> None:
    assert Matrix.model_validate(yaml.safe_load(block("yaml"))).trials == 3


def test_every_method_is_listed() -> None:
    page = TEXTS["distillers/README.md"]
    assert [name for name in BUILT_IN if f"`{name}`" not in page] == []


def test_every_matrix_is_listed() -> None:
    page = TEXTS["experiments/README.md"]
    names = [f"experiments/{path.name}" for path in (ROOT / "experiments").glob("*.yaml")]
    assert [name for name in names if f"`{name}`" not in page] == []


NAMED = r"`((?:experiments|tools|results|tests|distillers|data)/[\w./-]+)`"


@pytest.mark.parametrize("path", sorted(set(re.findall(NAMED, ALL)) - MADE_BY_A_COMMAND))
def test_named_files_exist(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", TEXTS[page]) if "//" not in link]
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []
