"""A small leaderboard with everything a leaderboard can have; its numbers are made up.

``python -m tests.results.example > tests/results/leaderboard.md`` writes the golden file anew:
read what changed before you commit it.
"""

from __future__ import annotations

from typing import Any

from results.cells import FAILED, Cell, TeacherScores
from results.formats import to_text
from results.leaderboard import Leaderboard, leaderboard
from results.schema import Record

PAIRS = ("resnet56 → resnet20", "resnet32x4 → resnet8x4", "vgg13 → MobileNetV2")
TEACHERS = {
    "resnet56 → resnet20": {"name": "resnet56", "accuracy": 72.34, "sha256": "a1"},
    "resnet32x4 → resnet8x4": {"name": "resnet32x4", "accuracy": 79.42, "sha256": "b2"},
    "vgg13 → MobileNetV2": {"name": "vgg13", "accuracy": 74.64, "sha256": "c3"},
}
SCORES = {
    "Student alone": ([69.0, 69.2, 69.4], [72.3, 72.5, 72.7], [64.4, 64.6, 64.5]),
    "KD": ([70.5, 70.7, 70.6], [73.1, 73.3, 73.5], [67.3, 67.4, 67.2]),
    "AT | hints_1": ([70.5, 70.6, 70.71], [73.4, 73.5], [59.1, 59.5, 59.3]),
    "AFD": ([70.9], [74.0, 74.2, 74.1], None),
    "DKD (240+30)": ([71.9, 72.0, 71.8], [76.1, 76.3, 76.3], []),
}
NASTY = r"a | b_c % & $x$ # { } ~ ^ \ = < > [ ] `d` *e* &lt;"
GREEK = "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩ αβγδεζηθικλμνξοπρσςτυφχψω ϵϑϕϱϖ"
SYMBOLS = "≥ ≤ ≠ ≈ ∞ ∈ ∑ √ ∂ ∇ ⊕ ⊗ → ← ↔ ⇒ ↑ ↓ ℓ ℒ ° µ € “ ” ‘ ’ « » § † ‡ •\u00a0₂ ² – — − …"
REASON = "AFD: no feature of MobileNetV2 is as wide as the teacher's"


def record(top1: float, **changes: Any) -> Record:
    return Record.model_validate(document(top1, **changes))


def document(
    top1: float, *, run: str = "run", seconds: float = 3000.0, **changes: Any
) -> dict[str, Any]:
    """The content of a result.json."""
    start = {
        "time": "2026-01-02T03:04:05+00:00",
        "host": "node1",
        "device": "NVIDIA A100-SXM4-40GB",
        "versions": {"torch": "2.7.1"},
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "dirty": False,
    }
    return {
        "format": 1,
        "run": run,
        "spec": {"dataset": "cifar100"},
        "accuracy": {
            "last": {"top1": top1, "top5": 92.0, "loss": 1.1, "epoch": 240},
            "best": {"top1": top1 + 0.25, "epoch": 232},
            "validation": None,
            "samples": 10000,
        },
        "teacher": None,
        "parameters": {"student": 278324, "extra": 0, "extra_at_test": 0},
        "seconds": seconds,
        "images_per_second": 15000.0,
        "peak_memory_bytes": 1 << 30,
        "steps": 187680,
        "data": {"sha256": "d4"},
        "warnings": [],
        "starts": [start],
        **changes,
    }


def cells() -> list[Cell]:
    made = []
    for method, row in SCORES.items():
        for pair, scores in zip(PAIRS, row, strict=True):
            for trial in range(3):
                made.append(_cell(pair, method, trial, scores))
    return made


def _cell(pair: str, method: str, trial: int, scores: list[float] | None) -> Cell:
    if scores is None:
        return Cell(pair, method, trial, reason=REASON)
    if trial >= len(scores):
        return Cell(pair, method, trial)
    run = f"{pair}/{method}/{trial}"
    teacher = None if method == "Student alone" else TEACHERS[pair]
    made = document(scores[trial], run=run, seconds=3000.0 + 100 * len(method), teacher=teacher)
    if method == "DKD (240+30)":
        made["starts"] = [{**made["starts"][0], "versions": {"torch": "2.8.0"}, "dirty": True}]
    if method == "AT | hints_1":
        made["parameters"] = {"student": 278324, "extra": 12345, "extra_at_test": 0}
    if pair.startswith("vgg13"):
        made["warnings"] = ["vgg13 has 74.64 %, 0.4 below its published accuracy"]
    return Cell(pair, method, trial, Record.model_validate(made))


def board() -> Leaderboard:
    return leaderboard(
        cells(),
        {pair: TeacherScores(t["name"], (t["accuracy"],)) for pair, t in TEACHERS.items()},
        dataset="CIFAR-100",
        recipe="240 epochs, batch 64, SGD (momentum 0.9, weight decay 5e-4), learning rate 0.05, "
        "× 0.1 at epochs 150, 180, 210, float32",
        exceptions=["learning rate 0.01 for MobileNetV2"],
        notes=["DKD trains 30 epochs longer: not compute-matched"],
        baseline="Student alone",
    )


LARGE_PAIRS = (
    "wrn_40_2 → wrn_16_2", "wrn_40_2 → wrn_40_1", "resnet56 → resnet20", "resnet110 → resnet20",
    "resnet110 → resnet32", "resnet32x4 → resnet8x4", "vgg13 → vgg8", "vgg13 → MobileNetV2",
    "ResNet50 → MobileNetV2", "ResNet50 → vgg8", "resnet32x4 → ShuffleV1",
    "resnet32x4 → ShuffleV2", "wrn_40_2 → ShuffleV1",
)  # fmt: skip


def large_board(methods: int = 50) -> Leaderboard:
    """The literature's 13 pairs, with labels, notes and states that are hard to set."""
    names = ["Student alone", "KD", "AT_2 & 5 % [x]", "λ·α ≥ β, `~^`", "CRD (queue) + LSKD"]
    names = [*names, *(f"Method {i}" for i in range(len(names), methods))][:methods]
    made = [
        _large_cell(pair, name, trial, 60 + 2 * column + row / 10 + trial / 5)
        for row, name in enumerate(names)
        for column, pair in enumerate(LARGE_PAIRS)
        for trial in range(3)
    ]
    teachers = {pair: TeacherScores(pair.split(" ")[0], (79.42,)) for pair in LARGE_PAIRS}
    notes = ["`table --best` & C:\\runs: 100 % of #1, {x} ~ 2^3, a_b, $5, ε → ∞, ℓ₂ and é"]
    return leaderboard(made, teachers, dataset="cifar100", notes=notes, baseline="Student alone")


def _large_cell(pair: str, method: str, trial: int, top1: float) -> Cell:
    if (pair, method) == (LARGE_PAIRS[7], "Method 9"):
        return Cell(pair, method, trial, reason="a_b: [16, 32] channels, expected [16, 64]")
    if method == "Method 12" and trial == 2:
        reason = "Diverged: loss not finite at epoch 3, step 17: ce nan & more"
        return Cell(pair, method, trial, reason=reason, state=FAILED)
    return Cell(pair, method, trial, record(top1, run=f"{pair}{method}{trial}"))


if __name__ == "__main__":
    print(to_text(board(), "markdown", best=True), end="")
