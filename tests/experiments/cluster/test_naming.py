"""What squeue shows of an array."""

from __future__ import annotations

import re
from types import SimpleNamespace as Spec

import pytest

from experiments.cluster import naming


def spec(student: str, method: str = "kd", teacher: str | None = None) -> Spec:
    return Spec(student=student, method=method, teacher=Spec(name=teacher) if teacher else None)


@pytest.mark.parametrize(
    ("matrix", "about", "begins"),
    [
        ("a/cifar100.yaml", "resnet56", "kd-cifar100-resnet56-"),
        ("cifar100.yaml", "", "kd-cifar100-"),
        ("m 1.yaml", "torchvision/resnet18", "kd-m-1-torchvision-resnet18-"),
        (f"{'m' * 35}.yaml", "resnet56", f"kd-{'m' * 35}-resn-"),
        (f"{'m' * 60}.yaml", "resnet56", f"kd-{'m' * 40}-"),
    ],
)
def test_a_name_tells_matrix_and_teacher_and_is_unique(matrix, about, begins):
    names = {naming.name(matrix, about) for _ in range(20)}
    assert len(names) == 20
    assert all(re.fullmatch(re.escape(begins) + "[0-9a-f]{8}", name) for name in names)


@pytest.mark.parametrize(
    ("specs", "about", "comment"),
    [
        ([spec("vgg8", "vanilla")], "vgg8", "m, vgg8, vanilla, 1 run"),
        (
            [
                spec("vgg8", "kd", "vgg13"),
                spec("vgg8", "at", "vgg13"),
                spec("vgg11", "kd", "vgg13"),
            ],
            "vgg13",
            "m, vgg13 -> vgg8 vgg11, kd at, 3 runs",
        ),
        ([spec("a", "vanilla"), spec("b", "vanilla")], "", "m, a b, vanilla, 2 runs"),
        ([spec("a", 'x|"y\\\n', "ü")], "ü", "m, _ -> a, x__y__, 1 run"),
    ],
    ids=range(4),
)
def test_a_comment_tells_pairs_methods_and_how_many(specs, about, comment):
    assert naming.teacher(specs) == about
    assert naming.comment("x/m.yaml", specs) == comment


def test_a_long_comment_is_cut_and_still_tells_how_many():
    found = naming.comment("m.yaml", [spec(f"student{i}", f"method{i}") for i in range(50)])
    assert len(found) == 200
    assert found.endswith("..., 50 runs")


def test_it_reaches_sbatch_and_a_person_may_have_another(fake, place):
    place.call("submit", "--yes", "--no-timing")
    first, second = (job["options"] for job in fake.jobs)
    assert first["comment"] == "matrix, resnet14 resnet8, vanilla, 3 runs"
    assert second["comment"] == "matrix, resnet14 -> resnet8, kd fitnet, 4 runs"
    assert second["job-name"].startswith("kd-matrix-resnet14-")
    shown = place.call("submit", "--dry-run", "--no-timing", "--sbatch", "comment=mine").out
    assert shown.count("#SBATCH --comment=mine\n") == 0  # all are in the queue
    fake.move("104", "CANCELLED")
    shown = place.call("submit", "--dry-run", "--no-timing", "--sbatch", "comment=mine").out
    assert shown.count("#SBATCH --comment=mine\n") == 1
