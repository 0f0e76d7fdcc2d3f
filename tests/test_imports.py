"""Imports go one way: down the floors of the checkout, and down the rooms of experiments/."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = {  # what each may import beside itself
    "models": set(),
    "datasets": set(),
    "results": set(),
    "distillers": {"models", "datasets"},
    "experiments": {"distillers", "models", "datasets", "results"},
    "benchmark": {"experiments", "distillers", "models", "datasets", "results"},
}
ROOMS = (
    ("wording", "job_states"),
    ("errors", "environment", "activity"),
    ("memo", "slurm_command"),
    ("matrix", "slurm"),
    ("rundir",),
    ("train",),
    ("worker", "check"),
    ("plan",),
    ("local", "cluster"),
    ("doctor",),
    ("commands",),
)
ROOM = {name: level for level, names in enumerate(ROOMS) for name in names}
FILES = [
    path.relative_to(ROOT)
    for path in sorted(ROOT.rglob("*.py"))
    if path.relative_to(ROOT).parts[0].removesuffix(".py") in FLOORS
]


def imported(path: Path) -> set[tuple[str, ...]]:
    """The modules that a file imports, as parts; relative ones resolved."""
    modules: set[tuple[str, ...]] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            modules |= {tuple(alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = path.parts[: len(path.parts) - node.level] if node.level else ()
            base = (*package, *(node.module.split(".") if node.module else ()))
            modules |= {(*base, alias.name) for alias in node.names}
    return modules


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_go_down(path: Path) -> None:
    floor = path.parts[0].removesuffix(".py")
    room = path.parts[1].removesuffix(".py") if floor == "experiments" else ""
    for module in imported(path):
        if module[0] == floor:
            if room in ROOM and len(module) > 1 and module[1] != room:
                assert ROOM[module[1]] < ROOM[room], f"{room} imports {'.'.join(module)}"
        elif module[0] in FLOORS:
            assert module[0] in FLOORS[floor], f"{floor} imports {'.'.join(module)}"


def test_every_room_has_its_level() -> None:
    rooms = {path.parts[1].removesuffix(".py") for path in FILES if path.parts[0] == "experiments"}
    assert rooms - {"__init__"} == set(ROOM)
