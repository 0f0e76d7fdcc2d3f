#!/usr/bin/env python3
"""How fast images come from their files, and how long training would wait for them.

    tools/reports/data_speed.py data/tiny-imagenet-200/train --image-size 64
    tools/reports/data_speed.py data/imagenet/train --workers 4 8 12 --device cuda --model resnet20

FOLDER holds one folder of images per class. Its images are read in three ways:

decoded        every batch from its files, as ImageNet is, by so many processes beside the trainer
memory-mapped  decoded once into a file (in a scratch folder), as Tiny-ImageNet is on a CPU
in memory      the same, copied to the device, as Tiny-ImageNet is on a GPU

First the stream alone, then with a training step after every batch: a stand-in of --step
milliseconds that leaves the cores to the others, as a GPU would, or real steps of --model. The
share of waiting is the time between a step and its next batch, over the whole. Exit codes: 0, and 2
for bad input.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import nn
from torch.nn import functional as F

import datasets
import models
from datasets import Batch, Data, Settings
from datasets.cache import CacheSpec, cached
from datasets.decoding import decoded_once
from datasets.image_files import Listing, by_class, classes
from datasets.imagenet import MEAN, STD, margin
from datasets.loaders import PREFETCH
from datasets.memory import Images, MemoryData, Part
from datasets.streamed import Files, StreamedData
from experiments import environment
from experiments.commands.entry import entry_point
from results.render import Table, markdown
from tools.reports import shared

Step = Callable[[Batch], None]
Parts = tuple[Listing, Listing]  # training and test
HEADER = ("Images", "Images/s", "First batch, s", "Waiting", "Images/s with steps")


@dataclass(frozen=True)
class Speed:
    """What was measured of one way to read.

    rate      images/s of the stream alone
    first     seconds until the first batch: processes are started
    waiting   share of the time of an epoch with steps that was spent waiting for batches
    trained   images/s with steps
    """

    rate: float
    first: float
    waiting: float
    trained: float


def measure(data: Data, step: Step, batches: int, before: int = 1) -> Speed:
    """Both runs over ``batches`` batches, over as many epochs as that takes.

    ``before`` batches are taken first: as many as may lie ready by then, which cost no time.
    """
    device = next(data.test_batches()).images.device
    alone = _epochs(data)
    start = time.perf_counter()
    next(alone)
    _settle(device)
    first = time.perf_counter() - start
    rate, _ = _run(alone, lambda _: None, batches, before, device)
    trained, waiting = _run(_epochs(data), step, batches, before, device)
    return Speed(rate, first, waiting, trained)


def _epochs(data: Data) -> Iterator[Batch]:
    for epoch in count(1):
        yield from data.train_stream(0, epoch)


def _run(
    stream: Iterator[Batch], step: Step, batches: int, before: int, device: torch.device
) -> tuple[float, float]:
    """Images/s, and the share of waiting, of a step after every batch."""
    for _ in range(before):
        step(next(stream))
    _settle(device)
    images, waited, start = 0, 0.0, time.perf_counter()
    for _ in range(batches):
        asked = time.perf_counter()
        batch = next(stream)
        waited += time.perf_counter() - asked
        step(batch)
        _settle(device)
        images += len(batch)
    seconds = time.perf_counter() - start
    return images / seconds, waited / seconds


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def sleeping(milliseconds: float) -> Step:
    """A training step that leaves the cores to the decoders."""
    return lambda _: time.sleep(milliseconds / 1000)


def training(model: nn.Module) -> Step:
    """Forward, backward and update by SGD."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)

    def step(batch: Batch) -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(batch.images), batch.labels).backward()
        optimizer.step()

    return step


# ---- the three ways ------------------------------------------------------------------------------


def ways(args: argparse.Namespace, scratch: Path) -> Iterator[tuple[str, Data]]:
    """Each way to read the images of FOLDER, with its name in the table."""
    names = classes(args.folder)
    files = by_class(args.folder, names)
    first = replace(files, paths=files.paths[:1], labels=files.labels[:1])  # there to be tested on
    settings = Settings(
        "speed", scratch, batch_size=args.batch_size, device=torch.device(args.device)
    )
    for workers in args.workers:
        yield (
            f"decoded, {workers} processes",
            _streamed(settings, (files, first), names, args, workers),
        )
    made = cached(_recipe((files, first), names, args), scratch, None)
    if args.device == "cpu":
        yield "memory-mapped", _in_memory(settings, made.train, names)
    copied = Part(made.train.images.clone(), made.train.labels)
    yield "in memory", _in_memory(settings, copied, names)


def _streamed(
    settings: Settings, files: Parts, names: Sequence[str], args: argparse.Namespace, workers: int
) -> Data:
    size = args.image_size
    described = Files(*files, tuple(names), MEAN, STD, size, margin(size))
    return StreamedData(settings, described, workers)


def _recipe(files: Parts, names: Sequence[str], args: argparse.Namespace) -> CacheSpec:
    train, test = (decoded_once(part, args.image_size, max(args.workers)) for part in files)
    parts = {"train": train, "test": test}
    return CacheSpec("speed", files[0].sha256, args.image_size, parts, tuple(names))


def _in_memory(settings: Settings, part: Part, names: Sequence[str]) -> Data:
    padding = part.images.shape[-1] // 8
    images = Images(part, part, tuple(names), MEAN, STD, padding, flip=True, content="speed")
    return MemoryData(settings, images)


# ---- the report ----------------------------------------------------------------------------------


def report(speeds: dict[str, Speed], notes: Sequence[str]) -> str:
    rows = [
        (
            name,
            f"{speed.rate:,.0f}",
            f"{speed.first:.2f}",
            f"{100 * speed.waiting:.0f} %",
            f"{speed.trained:,.0f}",
        )
        for name, speed in speeds.items()
    ]
    return markdown([Table("How fast images come", HEADER, rows, notes=tuple(notes))])


@entry_point
def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table and write it where asked."""
    args = _parser().parse_args(arguments)
    torch.set_num_threads(args.threads)
    speeds: dict[str, Speed] = {}
    _check(args)
    before = 1 + PREFETCH * max(args.workers)
    with tempfile.TemporaryDirectory() as scratch:
        for name, data in ways(args, Path(scratch)):
            shared.progress(f"measuring {name} …")
            speeds[name] = measure(data, _step(args, data), args.batches, before)
    text = report(speeds, _notes(args, shared.command(__file__, arguments)))
    shared.publish(text, args.output)
    return 0


def _step(args: argparse.Namespace, data: Data) -> Step:
    if args.model is None:
        return sleeping(args.step)
    return training(models.build(args.model, data.info.num_classes).to(args.device).train())


def _notes(args: argparse.Namespace, command: str) -> list[str]:
    step = f"real steps of {args.model}" if args.model else f"a stand-in step of {args.step:g} ms"
    return [
        command,
        f"{environment.device_name(torch.device(args.device))}; batches of {args.batch_size} at "
        f"{args.image_size} pixels; {args.batches} batches each; {step}.",
    ]


def _check(args: argparse.Namespace) -> None:
    for name, value in (("batches", args.batches), ("batch-size", args.batch_size)):
        if value < 1:
            raise datasets.DataError(f"--{name} {value}: expected a whole number from 1")
    if min(args.workers) < 0:
        raise datasets.DataError(f"--workers {min(args.workers)}: expected whole numbers from 0")
    if args.device == "cuda" and not torch.cuda.is_available():
        raise datasets.DataError("--device cuda: this machine has no usable CUDA device; try cpu")


def _parser() -> argparse.ArgumentParser:
    parser = shared.make_parser(__doc__)
    add = parser.add_argument
    add("folder", type=Path, metavar="FOLDER", help="one folder of images per class")
    add("--image-size", type=int, default=224)
    add("--batch-size", type=int, default=64)
    add("--workers", type=int, nargs="+", default=[0, 1, 2], help="decoding processes to try")
    add("--batches", type=int, default=30, help="of each measurement")
    add("--step", type=float, default=20.0, metavar="MS", help="time of the stand-in for a step")
    add("--model", help="real steps of this network instead")
    add("--device", choices=["cpu", "cuda"], default="cpu")
    add("--threads", type=int, default=1, help="of the trainer, on a CPU")
    shared.add_output(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
