"""How many workers should share a GPU: a few seconds of training steps with 1, 2, 4, 8 at once."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

import distillers
from datasets import Batch, Info
from experiments.errors import InputError
from experiments.local import mps
from experiments.matrix.run_spec import RunSpec
from experiments.train import networks
from experiments.train.memory import is_shortage
from experiments.train.numerics import peak_memory, set_numerics
from experiments.wording import plural

COUNTS = (1, 2, 4, 8)
SECONDS = 4.0  # of steps that count; a GPU's clock has settled before, see WARM_UP
WARM_UP = 10  # steps: cuDNN's choice of algorithms, the allocator, compilation
BURST = 5  # steps between two looks at the clock, each of which waits for the GPU
CLOSE = 0.95  # of the best rate: fewer workers lose less when one of them is stopped
START_SECONDS = 180.0  # for all workers to have started and warmed up

Note = Callable[[str], None]


@dataclass(frozen=True)
class Subject:
    """What every worker trains: one run, of which only shapes and sizes matter."""

    spec: RunSpec
    info: Info
    plugins: tuple[Path, ...] = ()

    def __str__(self) -> str:
        size, side = self.spec.recipe.batch_size, self.info.image_size
        return f"{self.spec.pair}, {self.spec.method}, batches of {size} made-up {side}² images"


@dataclass(frozen=True)
class Measured:
    """What so many ``workers`` reach together.

    rate    images per second
    memory  bytes in use of the GPU, contexts of CUDA included; on a CPU the processes' peaks
    """

    workers: int
    rate: float
    memory: int


def most_common(specs: Iterable[RunSpec]) -> RunSpec:
    """A run of the most frequent teacher, student and batch size, with their first method.

    Raises InputError where there is none to take steps of.
    """
    trained = [spec for spec in specs if spec.source is None]
    if not trained:
        raise InputError("--calibrate: no run is left to train (probes of --transfer do not count)")
    (key, _) = Counter(map(_kind, trained)).most_common(1)[0]
    return next(spec for spec in trained if _kind(spec) == key)


def _kind(spec: RunSpec) -> tuple[str, int]:
    return spec.pair, spec.recipe.batch_size


def ladder(
    subject: Subject, device: str, note: Note, counts: Iterable[int] = COUNTS
) -> list[Measured]:
    """Measure with each number of workers; ends at one that the device cannot do, which is noted.

    Raises InputError if not even the first can be measured.
    """
    found: list[Measured] = []
    for count in counts:
        try:
            found.append(measure(subject, device, count, note))
        except (RuntimeError, OSError, TimeoutError) as error:
            reason = "out of memory" if is_shortage(error) else " ".join(str(error).split())[:200]
            if not found:
                raise InputError(f"--calibrate: one worker on {device}: {reason}") from error
            note(f"{plural(count, 'worker')}: {reason or type(error).__name__}")
            break
    return found


def recommended(found: Iterable[Measured]) -> int:
    """The fewest workers that reach the best rate, or nearly."""
    found = list(found)
    best = max(measured.rate for measured in found)
    return min(m.workers for m in found if m.rate >= CLOSE * best)


def title(device: str) -> str:
    """The name of what is measured."""
    if device == "cuda":
        return torch.cuda.get_device_name(0)
    return f"{device} of this machine ({len(os.sched_getaffinity(0))} cores)"


def table(found: Iterable[Measured], form: str = "simple") -> str:
    """A line per number of workers: images per second together, the gain, memory."""
    found = list(found)
    rows = [
        (m.workers, f"{m.rate:,.0f}", f"{m.rate / found[0].rate:.2f}", f"{m.memory / 1e9:.1f} GB")
        for m in found
    ]
    return tabulate(rows, ["workers", "images/s", "gain", "memory"], form, disable_numparse=True)


def measure(subject: Subject, device: str, count: int, note: Note) -> Measured:
    """What ``count`` processes at once reach. Raises what one of them raised, or that it died."""
    context = multiprocessing.get_context("spawn")  # CUDA does not outlive a fork
    place = "cuda:0" if device == "cuda" else device
    with mps.daemons([place] * count, note) as more, _plain_labels(subject) as plain:
        barrier = context.Barrier(count)
        arguments = (barrier, dict(more.get(place, {})))
        with ProcessPoolExecutor(count, context, _initialize, arguments) as pool:
            futures = [pool.submit(_steps, plain, device, SECONDS) for _ in range(count)]
            rows = [future.result(START_SECONDS + 3 * SECONDS) for future in futures]
    memory = max(m for _, m in rows) if device == "cuda" else sum(m for _, m in rows)
    return Measured(count, sum(rate for rate, _ in rows), memory)


@contextlib.contextmanager
def _plain_labels(subject: Subject) -> Iterator[Subject]:
    """The subject as it can be sent to processes: torch would share tensors' memory by files."""
    labels: Any = subject.info.train_labels.numpy()
    yield replace(subject, info=replace(subject.info, train_labels=labels))


# ---- in a process of its own ---------------------------------------------------------------------

_meeting: list[Barrier | threading.Barrier] = []  # where all processes of a measurement wait


def _initialize(barrier: Barrier | threading.Barrier, environment: Mapping[str, str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits for this
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    os.environ.update(environment)
    _meeting[:] = [barrier]


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _steps(subject: Subject, device: str, seconds: float) -> tuple[float, int]:
    """Images per second of this process while all of them train, and the bytes in use then."""
    (barrier,) = _meeting
    try:
        step, place = _training(subject, torch.device(device)), torch.device(device)
        for _ in range(WARM_UP):
            step()
        _settle(place)
        barrier.wait(START_SECONDS)
        count, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < seconds:
            for _ in range(BURST):
                step()
            _settle(place)
            count += BURST
        used = _used(place)
        barrier.wait(START_SECONDS)  # until then each keeps its memory
    except Exception:
        barrier.abort()  # the others need not wait for this one
        raise
    return count * subject.spec.recipe.batch_size / spent, used


def _training(subject: Subject, device: torch.device) -> Callable[[], None]:
    """A training step of the run: the teacher's pass, the student's, the losses, the update."""
    for plugin in subject.plugins:
        distillers.load_plugin(plugin)
    spec, recipe = subject.spec, subject.spec.recipe
    info = replace(subject.info, train_labels=torch.as_tensor(subject.info.train_labels))
    set_numerics(recipe, device)
    teacher = None
    with networks.seeded("calibration"):
        student = networks.build(spec.student, info.num_classes, recipe, device).train()
        if spec.teacher:
            built = networks.build(spec.teacher.name, info.num_classes, recipe, device)
            teacher = networks.freeze(built)
    method = networks.method(spec, student, teacher, info, device).train()
    method.on_epoch(1)
    batch = _made_up(info, recipe.batch_size, len(method.needs.views), device)
    batch = networks.formatted(batch, recipe)
    parameters = [p for m in (student, method) for p in m.parameters() if p.requires_grad]
    optimizer = recipe.make_optimizer(parameters)

    def step() -> None:
        with torch.no_grad():
            taught = networks.run(teacher, batch, method.needs, recipe) if teacher else None
        losses = method(networks.run(student, batch, method.needs, recipe), taught, batch)
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()

    return step


def _made_up(info: Info, size: int, views: int, device: torch.device) -> Batch:
    """Noise with the data set's first labels."""
    indices = torch.arange(size) % info.train_size
    images = torch.rand(size, 3, info.image_size, info.image_size).to(device)
    labels = info.train_labels[indices].to(device)
    return Batch(images, labels, indices.to(device), 1, 0, views=(images,) * views)


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _used(device: torch.device) -> int:
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return total - free
    return peak_memory(device)
