"""A run in two processes equals one process that runs the two halves of every batch in turn.

Batch norm sees halves, everything else the whole batch. All of it is in double precision, so that
the weights agree within 1e-9 after 24 steps.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import datasets
import distillers
import models
from datasets import Batch, Data
from experiments.environment import CHECKOUT
from experiments.matrix.recipe import Recipe
from experiments.matrix.run_spec import DataSpec, RunSpec, TeacherSpec
from experiments.rundir.layout import WEIGHTS
from experiments.train import networks
from experiments.train.learner import Learner
from experiments.train.teachers import Teacher
from experiments.worker.job import STOPPED, Job, command
from models import Outputs
from models.checkpoints.files import load_checkpoint, save_weights, sha256
from results import predictions, records
from results.schema import TeacherUsed
from tests.experiments import tiny

CPU = torch.device("cpu")
METHODS = (*tiny.METHODS, "mlkd", "dot+kd")  # two views; two gradients
if os.environ.get("KD_ALL_PAIRS"):  # `make test-all`
    STAGED = distillers.Distiller.init_stage  # `reference` has no initial stages
    METHODS = tuple(
        dict.fromkeys(
            name
            for name in (*METHODS, *distillers.names(), "sdd+dkd", "ctkd+kd", "wttm+at")
            if distillers.find(name).init_stage is STAGED and name not in ("vitkd", "semckd")
        )
    )
OPTIONS = {**tiny.OPTIONS, "train_size": 85}  # 6 steps an epoch, the last of 5 images: 3 and 2
RECIPE = Recipe(epochs=4, batch_size=16, milestones=(3,), precision="fp64")


def data(shard: tuple[int, int] = (0, 1)) -> Data:
    return datasets.build(
        "fake", batch_size=16, epochs=RECIPE.epochs, device="cpu", shard=shard, **OPTIONS
    )


def spec(method: str, file: Path) -> RunSpec:
    plain = tiny.spec(method, RECIPE)
    taught = TeacherSpec(name="resnet14", sha256=sha256(file)) if plain.teacher else None
    source = DataSpec(name="fake", options=OPTIONS)
    return plain.model_copy(update={"teacher": taught, "dataset": source})


@pytest.fixture(scope="module")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / WEIGHTS
    save_teacher(path)
    return path


def save_teacher(path: Path) -> None:
    with networks.seeded("the tests' teacher"):
        save_weights(models.build("resnet14", 10), path)


def job(runs: Path, file: Path, methods: tuple[str, ...], processes: int = 2) -> Job:
    specs = tuple(spec(method, file) for method in methods)
    return Job(specs, runs, runs, {}, file, (), processes=processes, save_minutes=1e9)


def work(job: Job) -> subprocess.CompletedProcess[str]:
    path = job.runs / "job.json"
    job.runs.mkdir(parents=True, exist_ok=True)
    job.write(path)
    return subprocess.run(command(path, as_json=False), capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory, teacher_file: Path) -> Path:
    runs = tmp_path_factory.mktemp("two") / "runs"
    done = work(job(runs, teacher_file, METHODS))
    assert done.returncode == 0, done.stderr
    return runs


# ---- one process, the halves in turn -------------------------------------------------------------


def reference(method: str, file: Path, directory: Path) -> Learner:
    """A learner whose steps are all taken by hand."""
    torch.set_num_threads(1)
    module = networks.build("resnet14", 10, RECIPE, CPU)
    load_checkpoint(module, file)
    teacher = Teacher(
        networks.freeze(module), TeacherUsed(name="resnet14", accuracy=10.0, sha256="0" * 64)
    )
    source = data()
    learner = Learner(spec(method, file), source, teacher, CPU, directory)
    for epoch in range(1, RECIPE.epochs + 1):
        learner.start_epoch()
        for batch in source.train_stream(0, epoch, 0, learner.stream):
            rate = RECIPE.rate(epoch, batch.step, source.steps_per_epoch(learner.stream))
            for group in learner.optimizer.param_groups:
                group["lr"] = rate
            step(learner, module, networks.formatted(batch, RECIPE))
    return learner


def step(learner: Learner, teacher: models.Classifier, batch: Batch) -> None:
    parts = halves(batch)
    student, method = learner.student, learner.distiller
    needs = method.needs
    outputs = in_turn(student, [lambda p=p: networks.run(student, p, needs, RECIPE) for p in parts])
    with torch.no_grad():
        known = [networks.run(teacher, part, needs, RECIPE) for part in parts]
    if needs.batch == "global":
        losses = method(joined(outputs), joined(known), batch)
    else:
        by_half = in_turn(
            method, [lambda i=i: method(outputs[i], known[i], parts[i]) for i in range(len(parts))]
        )
        losses = {
            name: sum(len(p) / len(batch) * f[name] for p, f in zip(parts, by_half, strict=True))
            for name in by_half[0]
        }
    learner.optimizer.zero_grad()
    method.step(losses, learner.optimizer, learner.scaler)


def halves(batch: Batch) -> list[Batch]:
    tensors = (batch.images, batch.labels, batch.indices, *batch.views)
    split = [tensor.tensor_split(2) for tensor in tensors]
    return [
        dataclasses.replace(
            batch, images=images, labels=labels, indices=indices, views=views, whole=len(batch)
        )
        for images, labels, indices, *views in zip(*split, strict=True)
    ]


def in_turn(module: nn.Module, actions: list) -> list:
    """Run each action from the same running statistics, and keep the mean of the results.

    The buffers are exchanged, not changed in place: the backward pass still needs them.
    """
    moving = {k: b for k, b in module.named_buffers() if "running" in k}
    before = {k: b.clone() for k, b in moving.items()}
    after, values = [], []
    for action in actions:
        for key, buffer in moving.items():
            buffer.data = before[key].clone()
        values.append(action())
        after.append({key: buffer.clone() for key, buffer in moving.items()})
    for key, buffer in moving.items():
        buffer.data = sum(state[key] for state in after) / len(after)
    return values


def joined(parts: list[Outputs]) -> Outputs:
    def join(values: list) -> object:
        if isinstance(values[0], Tensor):
            return torch.cat(values)
        if isinstance(values[0], Outputs):
            return joined(values)
        if isinstance(values[0], tuple):
            return tuple(join(list(items)) for items in zip(*values, strict=True))
        return values[0]

    names = [field.name for field in dataclasses.fields(Outputs)]
    return Outputs(**{name: join([getattr(part, name) for part in parts]) for name in names})


# ---- two processes -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_two_processes_are_one_with_the_halves_in_turn(
    method: str, two_processes: Path, teacher_file: Path, tmp_path: Path
) -> None:
    learner = reference(method, teacher_file, tmp_path)
    assert learner.data.steps_per_epoch(learner.stream) * RECIPE.epochs >= 20
    weights = tiny.load_file(spec(method, teacher_file).directory(two_processes) / WEIGHTS)
    for name, expected in learner.student.state_dict().items():
        if "num_batches" not in name:
            assert weights[name].dtype == torch.float64
            torch.testing.assert_close(weights[name], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_records_count_all_processes(method: str, two_processes: Path, teacher_file: Path) -> None:
    directory = spec(method, teacher_file).directory(two_processes)
    record = records.read(directory)
    assert record is not None
    assert record.starts[-1].processes == 2
    assert record.accuracy.samples == OPTIONS["test_size"]
    found = predictions.read(directory / predictions.FILE)  # put in order from both
    labels = torch.cat([batch.labels for batch in data().test_batches()])
    assert found is not None and found.images.labels.tolist() == labels.tolist()
    assert 100 * found.images.correct.mean() == pytest.approx(record.top1, abs=1e-9)
    rows = (directory / "history.csv").read_text().splitlines()
    assert len(rows) == 1 + RECIPE.epochs


def test_only_the_main_process_reports(tmp_path: Path, teacher_file: Path) -> None:
    done = work(job(tmp_path / "runs", teacher_file, ("vanilla",)))
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert len(lines) == RECIPE.epochs + 1
    assert "done" in lines[-1]


def test_a_batch_is_at_least_two_samples_for_each(tmp_path: Path) -> None:
    matrix = tmp_path / "m.yaml"
    content = {
        "dataset": "digits",
        "processes": 40,
        "pairs": ["resnet14 -> resnet8"],
        "methods": ["kd"],
    }
    matrix.write_text(json.dumps(content))
    program = [sys.executable, str(CHECKOUT / "benchmark.py"), "plan", str(matrix)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "each needs at least 2 samples" in done.stderr


@pytest.mark.parametrize("name", distillers.names())
def test_methods_declare_whether_they_relate_samples(name: str) -> None:
    """A "local" method's loss of a batch is the mean over its halves; else it must be "global"."""
    needs = distillers.find(name).needs_of(distillers.defaults(name))
    assert needs.batch in ("local", "global")
    if needs.batch == "global":
        return
    source = data()
    torch.manual_seed(0)
    student, teacher = (models.build(n, 10).double().eval() for n in ("resnet8", "resnet14"))
    method = distillers.build(name, student, teacher, source.info).double().eval()
    stream = datasets.Stream(needs.sampler, needs.views)
    batch = networks.formatted(next(source.train_stream(0, 1, 0, stream)), RECIPE)

    def loss(part: Batch) -> Tensor:
        outputs = (networks.run(net, part, needs, RECIPE) for net in (student, teacher))
        return torch.stack(list(method(*outputs, part).values())).sum()

    with torch.no_grad():
        torch.testing.assert_close(
            loss(batch), torch.stack([loss(part) for part in halves(batch)]).mean()
        )


# ---- kills and failures --------------------------------------------------------------------------


def start(job: Job) -> subprocess.Popen[str]:
    """Start a job; returns once it has ended its first epoch."""
    path = job.runs / "job.json"
    job.runs.mkdir(parents=True)
    job.write(path)
    process = subprocess.Popen(command(path, as_json=False), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "epoch 1/" in line:
            return process
    raise AssertionError("the job ended before its first epoch")


def children(process: subprocess.Popen[str]) -> list[int]:
    pids = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(pid) for pid in pids.split()]


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for children in /proc")
@pytest.mark.parametrize("end", ["main killed", "child killed", "stop requested"])
def test_what_ends_one_ends_all_and_nothing_is_lost(
    end: str, two_processes: Path, teacher_file: Path, tmp_path: Path
) -> None:
    methods = ("crd", "fitnet")
    process = start(job(tmp_path / "runs", teacher_file, methods))
    (child,) = children(process)
    victim = child if end == "child killed" else process.pid
    os.kill(victim, signal.SIGTERM if end == "stop requested" else signal.SIGKILL)
    assert process.stdout is not None
    process.stdout.read()
    code = process.wait(timeout=60)
    assert code == (STOPPED if end == "stop requested" else 1 if victim == child else -9)
    for _ in range(100):
        if is_gone(child):
            break
        time.sleep(0.1)
    assert is_gone(child)
    done = work(job(tmp_path / "runs", teacher_file, methods))
    assert done.returncode == 0, done.stderr
    for method in methods:
        places = (
            spec(method, teacher_file).directory(p) for p in (tmp_path / "runs", two_processes)
        )
        mine, undisturbed = (tiny.load_file(place / WEIGHTS) for place in places)
        tiny.assert_same_weights(mine, undisturbed)


ONLY_THERE = """
import os, sys, threading, time

def patch():
    while not hasattr(sys.modules.get("experiments.train.learner"), "Learner"):
        time.sleep(0.01)
    learner = sys.modules["experiments.train.learner"].Learner
    take_step = learner.take_step

    def fail(self, *arguments):
        if self.step == 3:
            raise MemoryError("only there")
        take_step(self, *arguments)

    learner.take_step = fail

if os.environ.get("KD_RANK"):
    threading.Thread(target=patch, daemon=True).start()
"""


def test_one_that_fails_alone_ends_the_job_and_blames_no_run(
    teacher_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of memory in one process is no failure of the run: the next start resumes it."""
    (tmp_path / "sitecustomize.py").write_text(ONLY_THERE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    mine = job(tmp_path / "runs", teacher_file, ("kd",))
    done = work(mine)
    assert done.returncode == 1
    assert "process 1 failed alone" in done.stderr
    assert not (mine.specs[0].directory(mine.runs) / "error.txt").exists()
    monkeypatch.delenv("PYTHONPATH")
    assert work(mine).returncode == 0
