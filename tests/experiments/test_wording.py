"""Counts agree with their nouns and verbs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from experiments.wording import form, plural

ROOT = Path(__file__).resolve().parents[2]
# Counts that are set by the code and always more than one, or parts of stored text.
ALLOWED = {
    "experiments/environment.py",  # a device's description, which records hold
    "experiments/matrix/recipe.py",  # threads, if more than one
    "experiments/train/learner.py",  # constants
    "experiments/slurm.py",
    "experiments/commands/listing.py",
    "experiments/commands/board.py",
    "experiments/commands/plan.py",  # workers, if more than one
    "experiments/commands/submit.py",  # processes that cannot be divided
    "experiments/rundir/layout.py",  # runs, if more than one
}
NOUNS = "runs|jobs|files|trials|arrays|images|classes|processes|workers|threads|tasks|steps|epochs"


def test_forms():
    assert (plural(1, "run"), plural(0, "run"), plural(1200, "run")) == (
        "1 run",
        "0 runs",
        "1,200 runs",
    )
    assert plural(2, "class", "classes") == "2 classes"
    assert (form(1, "is", "are"), form(2, "is", "are")) == ("is", "are")


FILES = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "experiments").rglob("*.py")
    if str(path.relative_to(ROOT)) not in ALLOWED
)


@pytest.mark.parametrize("file", FILES)
def test_no_text_has_a_plural_after_any_count(file):
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.JoinedStr):
            text = "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
            )
            assert not re.search(rf"\{{\}} ({NOUNS})\b", text), text
