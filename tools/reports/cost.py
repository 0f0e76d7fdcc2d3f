#!/usr/bin/env python3
"""What sharing a cohort saves, and how far the harness is from bare training.

    tools/reports/cost.py                                on CIFAR-100, or seeded noise of its shape
    tools/reports/cost.py --device cuda --precision bf16 --output results/gpu/bf16.md

For every pair the student alone and the first eight methods take steps in three ways, in one
process and in turns, so that a slow moment of the machine meets all of them:

cohort      nine runs in one cohort: the teacher runs once per batch of each stream
one by one  the same nine runs, each a cohort of its own: the teacher runs for every one of them
bare        forward, backward and SGD update of nine students on a cross-entropy, and the teacher
            once per stream, on one batch already in memory: no method, no data, no metrics

The first two go through the trainer's own step, with real learners and real streams. Networks have
random weights, which cost what trained ones cost. Exit codes: 0, and 2 for bad input.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

import datasets
from datasets import Data
from experiments.commands.entry import entry_point
from experiments.environment import CHECKOUT
from experiments.errors import InputError
from experiments.matrix.recipe import PRECISIONS, Recipe
from results.render import Table, markdown
from tools.reports import shared
from tools.reports.step_timing import (
    FORMAT_REPEATS,
    FORMATS,
    METHODS,
    Measured,
    Pair,
    Setting,
    Times,
    measure_pair,
)

PAIRS = ("resnet56->resnet20", "resnet32x4->resnet8x4")
LEARNING_RATE = 1e-4  # no number matters here, but no run may diverge and leave its cohort
PACE = {"cpu": (1, 1, 5), "cuda": (5, 15, 5)}  # warm-up steps, steps, repeats
AIM = 1.10  # the cohort's time over the bare time


# ---- the report ----------------------------------------------------------------------------------


def report(results: Sequence[Measured], setting: Setting, command: str) -> str:
    """Markdown: the totals with their circumstances, then each pair's parts and memory formats."""
    tables = [_totals(results, setting, command)]
    for measured in results:
        tables += [_breakdown(measured), _formats(measured)]
    return markdown(tables)


def _totals(results: Sequence[Measured], setting: Setting, command: str) -> Table:
    header = ["pair", "one by one", "cohort", "bare", "gain", "cohort / bare", "memory format"]
    rows = []
    for measured in results:
        cohort = measured.times["cohort"]
        single, bare = _sum(measured.times, "alone "), _sum(measured.times, "bare ")
        gain = statistics.median(single) / statistics.median(cohort)
        over = statistics.median(cohort) / statistics.median(bare)
        rates = [_rate(times, setting) for times in (single, cohort, bare)]
        rows.append([str(measured.pair), *rates, f"{gain:.2f}×", f"{over:.3f}", measured.layout])
    title = f"Cost of a step of {len(METHODS)} runs, {setting.recipe.precision}"
    return Table(title, header, rows, notes=_notes(setting, command))


def _sum(times: Times, prefix: str) -> list[float]:
    """The sum of several actions, repeat by repeat."""
    return [sum(row) for row in zip(*_under(times, prefix).values(), strict=True)]


def _under(times: Times, prefix: str) -> Times:
    return {k.removeprefix(prefix): v for k, v in times.items() if k.startswith(prefix)}


def _rate(times: Sequence[float], setting: Setting) -> str:
    """Student images per second: median (slowest–fastest repeat)."""
    images = len(METHODS) * setting.recipe.batch_size
    rates = [images / t for t in times]
    return f"{images / statistics.median(times):,.0f} ({min(rates):,.0f}–{max(rates):,.0f})"


def _notes(setting: Setting, command: str) -> list[str]:
    device, code = shared.describe_machine(setting.device)
    own = setting.data.info.name == "cifar100"
    return [
        "images/s: student images per second, summed over the runs; median (slowest–fastest).",
        f"gain: time one by one / time of the cohort; cohort / bare is to be at most {AIM:.2f}.",
        f"device: {device}; batch size {setting.recipe.batch_size}",
        f"data: {'CIFAR-100' if own else 'seeded noise in the shape of CIFAR-100'}",
        f"{setting.repeats} repeats of {setting.steps} steps of each stream, in turns, after "
        f"{setting.warmup} to warm up",
        code,
        f"command: {command}",
    ]


def _breakdown(measured: Measured) -> Table:
    """Milliseconds of every part of the cohort's step."""
    middle = {name: 1000 * statistics.median(times) for name, times in measured.times.items()}
    steps = {m: middle[f"step {m}"] for m in METHODS}
    whole, first = middle["cohort"], steps[METHODS[0]]
    rows = [
        [m, f"{t:.2f}", f"{t - first:+.2f}", f"{t / whole:.1%}", f"{middle[f'alone {m}']:.2f}"]
        for m, t in steps.items()
    ]
    parts = {
        part: sum(t for name, t in middle.items() if name.startswith(f"{part} "))
        for part in ("teacher", "batch")
    }
    rest = whole - sum(steps.values()) - sum(parts.values())
    rows += _part("teacher, once per stream", parts["teacher"], whole)
    rows += _part("making the batches", parts["batch"], whole)
    rows += _part("rest of the loop", rest, whole)
    rows += _part("the cohort", whole, whole)
    bare = middle["bare students"] / len(METHODS)
    notes = [
        f"A bare student's step takes {bare:.2f} ms; {METHODS[0]}'s step through the harness "
        f"{first - bare:+.2f} ms more, of which metrics {middle['metrics']:.2f} ms.",
        "over vanilla: what the method's loss costs, with what it trains beside the student.",
        "alone: the run as a cohort of its own, with its teacher and its batches.",
    ]
    header = ["ms per step", "step", "over vanilla", "of the cohort", "alone"]
    return Table(f"{measured.pair}: where the time goes", header, rows, notes=notes)


def _part(label: str, milliseconds: float, whole: float) -> list[list[str]]:
    return [[label, f"{milliseconds:.2f}", "", f"{milliseconds / whole:.1%}", ""]]


def _formats(measured: Measured) -> Table:
    labels = {
        "student": f"{measured.pair.student}, a bare training step",
        "teacher": f"{measured.pair.teacher}, a bare forward pass",
        "cohort": "the cohort's step",
    }
    rows = []
    for what, label in labels.items():
        times = [measured.formats.get(f"{what} {name}", [math.nan]) for name in FORMATS]
        one, other = (1000 * statistics.median(t) for t in times)
        texts = [_number(one), _number(other), _number(one / other, "×")]
        rows.append([label, *texts])
    header = ["ms per step", *FORMATS, "channels_last gains"]
    return Table(f"{measured.pair}: memory formats", header, rows)


def _number(value: float, unit: str = "") -> str:
    """A dash for what was not measured."""
    return "–" if math.isnan(value) else f"{value:.2f}{unit}"


# ---- the command line ----------------------------------------------------------------------------


@entry_point
def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the report and write it where asked."""
    args = _parser().parse_args(arguments)
    pairs = [_pair(text) for text in args.pairs]
    with tempfile.TemporaryDirectory() as scratch:
        setting = _setting(args, Path(scratch))
        layouts = list(FORMATS) if args.memory_format == "auto" else [args.memory_format]
        results = []
        for pair in pairs:
            shared.progress(f"measuring {pair} …")
            results.append(measure_pair(pair, setting, layouts))
    text = report(results, setting, shared.command(__file__, arguments))
    shared.publish(text, args.output)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = shared.make_parser(__doc__)
    add = parser.add_argument
    add("--pairs", nargs="+", default=list(PAIRS), metavar="TEACHER->STUDENT")
    add("--data", type=Path, default=CHECKOUT / "data", help="root of the data sets")
    add("--images", type=int, default=50_000, help="how many, where CIFAR-100 is not there")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto")
    add("--threads", type=int, default=1, help="on a CPU")
    add("--precision", choices=list(PRECISIONS), default="fp32")
    add("--memory-format", choices=["auto", *FORMATS], default="auto", help="auto: the faster")
    add("--batch-size", type=int, default=64)
    add("--warmup", type=int, help="steps before the clock runs; default: 1, on a GPU 5")
    add("--steps", type=int, help="of each stream per repeat; default: 1, on a GPU 15")
    add("--repeats", type=int, help="default: 5")
    shared.add_output(parser)
    return parser


def _pair(text: str) -> Pair:
    teacher, arrow, student = (part.strip() for part in text.partition("->"))
    if not (teacher and arrow and student):
        raise InputError(f"--pairs {text!r}: expected TEACHER->STUDENT, e.g. {PAIRS[0]}")
    return Pair(teacher, student)


def _setting(args: argparse.Namespace, scratch: Path) -> Setting:
    device = _device(args.device)
    pace = zip(PACE[device.type], (args.warmup, args.steps, args.repeats), strict=True)
    warmup, steps, repeats = (usual if given is None else given for usual, given in pace)
    for name in ("images", "threads", "batch_size", "warmup", "steps", "repeats"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} {value}: expected a number from 1")
    torch.set_num_threads(args.threads)
    data = _data(args, device)
    needed, there = 2 * warmup + (repeats + FORMAT_REPEATS) * steps, data.steps_per_epoch()
    if needed >= there:
        raise InputError(f"{needed} steps asked for, expected less than an epoch's {there}")
    recipe = Recipe(
        lr=LEARNING_RATE,
        batch_size=args.batch_size,
        precision=args.precision,
        threads=args.threads,
    )
    return Setting(data, device, recipe, warmup, steps, repeats, scratch)


def _device(name: str) -> torch.device:
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise InputError("--device cuda: this machine has no usable CUDA device; try cpu")
    return torch.device(("cuda" if available else "cpu") if name == "auto" else name)


def _data(args: argparse.Namespace, device: torch.device) -> Data:
    """CIFAR-100 where it is there, else noise in its shape."""
    common: dict[str, Any] = {"batch_size": args.batch_size, "device": device}
    if (args.data / "cifar-100-python").is_dir():
        return datasets.build("cifar100", root=args.data, **common)
    return datasets.build("fake", num_classes=100, train_size=args.images, **common)


if __name__ == "__main__":
    sys.exit(main())
