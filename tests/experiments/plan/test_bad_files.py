"""Wrong weights, data, plugins and places: refused in one line before anything is written."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import models
from experiments.plan.preflight import check_writable
from experiments.train import numerics
from models.checkpoints.files import save_weights, sha256
from tests.experiments import cli
from tests.experiments.plan.test_bad_input import refused

pytestmark = pytest.mark.usefixtures("no_training", "own_registry")


def teacher(folder: Path, name: str = "resnet14", classes: int = 4, **entry: object) -> Path:
    """A matrix with a given resnet14, and a weights file, of ``name``, in its place."""
    cli.write(folder, teachers={"resnet14": {"file": "weights/t.pth", **entry}})
    path = folder / "data" / "weights" / "t.pth"
    path.parent.mkdir(parents=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_weights(models.build(name, num_classes=classes), path)
    return path


def plan(folder: Path, *more: str) -> cli.Called:
    return cli.command("plan", folder / "matrix.yaml", "--no-timing", *more)


# ---- teachers ------------------------------------------------------------------------------------


def test_a_fitting_teacher_is_taken(tmp_path):
    path = teacher(tmp_path, sha256="0" * 64)
    matrix = tmp_path / "matrix.yaml"
    matrix.write_text(matrix.read_text().replace("'" + "0" * 64 + "'", sha256(path)))
    assert "6 runs: 6 to do" in plan(tmp_path).out


def test_no_file(tmp_path):
    path = teacher(tmp_path)
    path.rename(path.with_name("t.pt"))
    text = refused(tmp_path)
    assert f"{tmp_path / 'matrix.yaml'}: teachers.resnet14.file: no file at {path} " in text
    assert f"did you mean {path.with_name('t.pt')}?" in text


def test_no_file_and_none_like_it(tmp_path):
    shutil.rmtree(teacher(tmp_path).parent)
    assert "without the entry the harness trains the teacher itself" in refused(tmp_path)


def test_another_architecture(tmp_path):
    path = teacher(tmp_path, name="resnet20")
    text = refused(tmp_path)
    assert f"matrix.yaml: teachers.resnet14.file: {path}: not the weights of resnet14: " in text
    assert "they fit resnet20 with 4 classes" in text


def test_another_class_count(tmp_path):
    teacher(tmp_path, classes=7)
    assert "file has 7 classes, model has 4" in refused(tmp_path)


def test_another_file_than_the_pinned_one(tmp_path):
    path = teacher(tmp_path, sha256="0" * 64)
    text = refused(tmp_path)
    assert f"teachers.resnet14.sha256: expected {'0' * 64}, but {path} has {sha256(path)}" in text


@pytest.mark.parametrize("size", [0, 7, 4000])
def test_truncated(tmp_path, size):
    path = teacher(tmp_path)
    path.write_bytes(path.read_bytes()[:size])
    text = refused(tmp_path)
    assert f"matrix.yaml: teachers.resnet14.file: {path}: " in text
    causes = ("truncated, corrupt or not a checkpoint", "refused", "cut off", "empty: 0 bytes")
    assert any(cause in text for cause in causes)


def test_corrupt(tmp_path):
    path = teacher(tmp_path)
    path.write_bytes(os.urandom(5000))
    assert f"teachers.resnet14.file: {path}: " in refused(tmp_path)


def test_not_finite(tmp_path):
    path = teacher(tmp_path)
    broken = models.build("resnet14", num_classes=4)
    torch.nn.init.constant_(broken.classifier.bias, float("nan"))
    save_weights(broken, path)
    assert "'fc.bias' holds NaN or infinite values" in refused(tmp_path)


class Malicious:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def test_malicious(tmp_path):
    path, trace = teacher(tmp_path), tmp_path / "was run"
    torch.save({"model": {"fc.bias": Malicious(trace)}}, path)
    assert "refused, because reading it could run code" in refused(tmp_path)
    path.write_bytes(pickle.dumps(Malicious(trace)))
    assert "refused, because reading it could run code" in refused(tmp_path)
    assert not trace.exists()


def test_far_from_the_expected_accuracy(tmp_path):
    teacher(tmp_path, expected_accuracy=90.5, tolerance=1.5)
    text = refused_after_measuring(tmp_path)
    assert "teachers.resnet14: expected_accuracy 90.5 ± 1.5 %, measured " in text


def refused_after_measuring(folder: Path, *more: str) -> str:
    """Like `refused`, but what there is to do is printed first, and the accuracy remembered."""
    before = cli.listing(folder / "runs")
    called = cli.command("run", folder / "matrix.yaml", *more)
    assert (called.code, called.err.count("\n")) == (2, 1)
    assert " runs: " in called.out
    assert cli.listing(folder / "runs") == before
    return called.err


def test_a_wrong_teacher_is_found_out_before_stale_runs_are_put_aside(tmp_path, finished):
    shutil.copytree(finished / "runs", tmp_path / "runs")
    teacher(tmp_path, expected_accuracy=90.5)
    for path in (tmp_path / "runs" / "fake" / "none--resnet8").rglob("result.json"):
        path.write_text(path.read_text().replace('"momentum": 0.9', '"momentum": 0.8'))
    assert "2 stale" in plan(tmp_path).out
    again = refused_after_measuring(tmp_path, "--redo-stale", "--retry-failed")
    assert "expected_accuracy" in again


# ---- data ----------------------------------------------------------------------------------------


def test_missing_data_says_how_to_get_it(tmp_path):
    cli.write(tmp_path, dataset="cifar100")
    text = refused(tmp_path)
    assert f"looked in {tmp_path / 'data' / 'cifar-100-python'}" in text
    assert f"torchvision.datasets.CIFAR100('{tmp_path / 'data'}', download=True)" in text


def test_truncated_data(tmp_path):
    cli.write(tmp_path, dataset="cifar100")
    folder = tmp_path / "data" / "cifar-100-python"
    folder.mkdir(parents=True)
    whole = pickle.dumps({"data": np.zeros((9, 3072), np.uint8)}, protocol=2)
    for name in ("train", "test", "meta"):
        (folder / name).write_bytes(whole[: len(whole) // 2])
    assert f"dataset: {folder / 'train'}: damaged or truncated" in refused(tmp_path)


def test_truncated_own_data(tmp_path):
    cli.write(tmp_path, dataset={"name": "arrays", "file": "own.npz"})
    path = tmp_path / "data" / "own.npz"
    path.parent.mkdir()
    images, labels = np.zeros((8, 16, 16), np.uint8), np.arange(8) % 4
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
    assert plan(tmp_path).code == 0
    path.write_bytes(path.read_bytes()[:1500])
    assert f"dataset: {path}" in refused(tmp_path)


# ---- plugins -------------------------------------------------------------------------------------

METHOD = """
from distillers import Distiller, register

@register("{name}", title="Own")
class Own(Distiller):
    {body}

    def loss(self, student, teacher, batch):
        return student.logits.square().mean()
"""

PLUGINS = {
    "syntax": ("def x(:\n", "SyntaxError: invalid syntax (own.py, line 1)"),
    "import": ("import nowhere\n", "ModuleNotFoundError: No module named 'nowhere'"),
    "taken": (METHOD.format(name="kd", body="pass"), "the name is taken by 'kd' of distillers.kd"),
    "case": (METHOD.format(name="Own", body="pass"), "method name 'Own': expected lower case"),
    "no method": ('from distillers import register\nregister("own", title="")(int)\n', "Distiller"),
}


LEFT_OUT = "note: left out a plugin that is broken: "


def left_out(folder: Path) -> str:
    """What `plan` says about a plugin of the matrix that it does without."""
    called = cli.command("plan", folder / "matrix.yaml", "--no-timing")
    assert called.code == 1
    return called.err


@pytest.mark.parametrize("case", PLUGINS)
@pytest.mark.parametrize("place", ["argument", "matrix"])
def test_bad_plugins(tmp_path, case, place):
    content, message = PLUGINS[case]
    plugin = tmp_path / "own.py"
    plugin.write_text(content)
    if place == "matrix":
        matrix = cli.write(tmp_path, plugins=["own.py"])
        text = left_out(tmp_path)
        assert text.startswith(f"{LEFT_OUT}{matrix}: plugins.0: plugin {plugin}: ")
    else:
        cli.write(tmp_path)
        text = refused(tmp_path, "--plugin", str(plugin))
        assert text.startswith(f"error: --plugin: plugin {plugin}: ")
    assert message in text


def test_missing_plugin(tmp_path):
    (tmp_path / "my_methods.py").write_text("")
    matrix = cli.write(tmp_path, plugins=["my_method.py"])
    meant = f"no file at {tmp_path / 'my_method.py'}; did you mean {tmp_path / 'my_methods.py'}?"
    assert left_out(tmp_path) == f"{LEFT_OUT}{matrix}: plugins.0: {meant}\n"
    cli.write(tmp_path)
    text = refused(tmp_path, "--plugin", str(tmp_path / "my_method.py"))
    assert text == f"error: --plugin: {meant}\n"


def test_a_plugin_is_a_python_file(tmp_path):
    cli.write(tmp_path, plugins=["own.txt"])
    (tmp_path / "own.txt").write_text("x = 1\n")
    assert "expected a Python file" in left_out(tmp_path)


def test_a_method_that_breaks_when_built(tmp_path):
    body = "def setup(self, student, teacher, info):\n        raise KeyError('wings')"
    (tmp_path / "own.py").write_text(METHOD.format(name="own", body=body))
    cli.write(tmp_path, plugins=["own.py"], methods=["own", "kd"])
    text = refused(tmp_path)
    assert (
        "matrix.yaml: resnet14 -> resnet8, own: setup() of own: KeyError: 'wings' (own.py:7: raise"
        in text
    )
    assert cli.command("table", tmp_path / "matrix.yaml").code == 0  # results stay readable


# ---- machine and places --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "fields", "message"),
    [
        ("recipe", {"precision": "fp16"}, "recipe.precision: fp16: not available"),
        ("recipe", {"tf32": True}, "recipe.tf32: true: not available"),
        ("teacher_recipe", {"precision": "fp16"}, "teacher_recipe.precision: fp16: not available"),
    ],
)
def test_numerics_that_a_cpu_lacks(tmp_path, section, fields, message):
    cli.write(tmp_path, **{f"{section}__{key}": value for key, value in fields.items()})
    assert f"{message} on this machine (cpu)" in refused(tmp_path, "--device", "cpu")


def test_compile_without_a_compiler(tmp_path, monkeypatch):
    cli.write(tmp_path, recipe__compile=True)
    monkeypatch.setattr(numerics.shutil, "which", lambda name: "/usr/bin/c++")
    assert plan(tmp_path, "--device", "cpu").code == 0
    monkeypatch.setattr(numerics.shutil, "which", lambda name: None)
    assert "recipe.compile: true: not available" in refused(tmp_path, "--device", "cpu")


def test_cuda_without_cuda(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cli.write(tmp_path)
    text = refused(tmp_path, "--device", "cuda")
    assert "--device cuda: this machine has no usable CUDA device; try cpu" in text


def test_no_permission_to_write(tmp_path, monkeypatch):
    """Simulated, since root may write everywhere."""
    cli.write(tmp_path)
    real = os.access
    monkeypatch.setattr(os, "access", lambda p, mode: mode != os.W_OK and real(p, mode))
    text = refused(tmp_path)
    assert f"--runs {tmp_path / 'runs'}: no permission to write in {tmp_path}" in text


def test_no_permission_for_real(tmp_path):
    cli.write(tmp_path)
    tmp_path.chmod(0o500)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("this user may write everywhere (root)")
        assert "no permission to write" in refused(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def failing(number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("call", "number"),
    [("fsync", errno.ENOSPC), ("fsync", errno.EDQUOT), ("mkdir", errno.EROFS)],
)
def test_a_disk_that_takes_nothing(tmp_path, monkeypatch, call, number):
    cli.write(tmp_path)
    monkeypatch.setattr(os, call, failing(number))
    text = refused(tmp_path)
    assert f"nothing can be kept in {tmp_path}: {os.strerror(number)}" in text
    said = plan(tmp_path)  # it only says what `run` will
    assert (said.code, said.err.count("\n")) == (0, 1)
    assert said.err.startswith(f"note: --runs {tmp_path / 'runs'}: nothing can be kept")


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_disk_without_hard_links_is_said_before_anything_is_trained(
    tmp_path, monkeypatch, number
):
    cli.write(tmp_path)
    assert plan(tmp_path).err == ""
    monkeypatch.setattr(os, "link", failing(number))
    before = cli.listing(tmp_path)
    said = plan(tmp_path)
    why = os.strerror(number)
    line = f"note: {tmp_path} has no hard links ({why}): results are published by renaming\n"
    assert (said.code, said.err) == (0, line)
    assert [path for path, _ in cli.listing(tmp_path)] == [path for path, _ in before]


def test_runs_may_be_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "runs").symlink_to("elsewhere")
    assert check_writable(tmp_path / "runs") == ""
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_runs_is_a_file(tmp_path):
    cli.write(tmp_path)
    (tmp_path / "runs").write_text("")
    assert f"{tmp_path / 'runs'} is a file, expected a directory" in refused(tmp_path)


def test_a_table_into_nowhere(tmp_path):
    matrix = cli.write(tmp_path)
    called = cli.command("table", matrix, "--output", str(tmp_path / "no" / "table.md"))
    assert (called.code, called.err.count("\n")) == (2, 1)
    assert f"{tmp_path / 'no' / 'table.md'}: cannot be written" in called.err
