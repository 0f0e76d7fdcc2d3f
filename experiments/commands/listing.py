"""The list of all methods, and what each costs on a pair of networks."""

from __future__ import annotations

import argparse
import inspect
import statistics
import time
from collections.abc import Callable

import torch
import yaml
from tabulate import tabulate
from torch import nn

import datasets
import distillers
import models
from datasets import Batch, Info
from distillers import catalogue
from experiments.commands.common import (
    Verbs,
    add_verb,
)
from experiments.matrix.recipe import Recipe
from experiments.matrix.schema import PairEntry
from experiments.train import networks

CLASSES, SIZE, BATCH = 100, 32, 64  # of CIFAR-100
REPEATS = 5
HEADER = ["name", "title", "venue", "year", "reads", "beyond the recipe", "presets"]
Row = list[str]


def table(pair: str | None = None) -> tuple[list[str], list[Row]]:
    """Header and one row per method; with a ``pair`` also extra parameters and time per step.

    The time is relative to KD's: forward and backward of the student with the loss on CIFAR-sized
    noise, medians taken in turns; the teacher's own pass is left out, since runs share it.
    """
    rows = [_row(name) for name in distillers.names()]
    if pair is None:
        return HEADER, rows
    costs = _costs(pair)
    return [*HEADER, "extra parameters", "step / KD"], [
        [*row, *costs[name]] for row, name in zip(rows, distillers.names(), strict=True)
    ]


def _row(name: str) -> Row:
    cls, options = distillers.find(name), distillers.defaults(name)
    more = ", ".join(catalogue.extra_compute(name, options))
    read = ", ".join(catalogue.reads(name, options)) or "no teacher"
    return [name, cls.title, *catalogue.venue_and_year(name), read, more, ", ".join(cls.presets)]


def wrappers() -> list[Row]:
    """What may stand before a method's name and a "+"."""
    found = [distillers.find_wrapper(name) for name in distillers.wrappers()]
    return [[f"{cls.name}+", cls.title, cls.paper] for cls in found]


# ---- cost ----------------------------------------------------------------------------------------


def _costs(pair: str) -> dict[str, Row]:
    """Method -> extra parameters and time relative to KD, or why it cannot serve the pair."""
    entry = PairEntry.model_validate(pair)
    torch.set_num_threads(1)
    with networks.seeded("catalogue"):
        student, teacher = (models.build(n, CLASSES) for n in (entry.student, entry.teacher))
        networks.freeze(teacher)
        made = {name: _built(name, student, teacher) for name in distillers.names()}
    steps = {n: _step(m, student, teacher) for n, m in made.items() if not isinstance(m, str)}
    times = _times(steps)
    return {
        name: ["n/a", method]
        if isinstance(method, str)
        else [f"{_extra(method):,}", f"{times[name] / times['kd']:.2f}"]
        for name, method in made.items()
    }


def _built(name: str, student: nn.Module, teacher: nn.Module) -> distillers.Distiller | str:
    labels = torch.arange(50 * CLASSES) % CLASSES
    names = tuple(map(str, range(CLASSES)))
    info = Info("noise", CLASSES, SIZE, names, len(labels), labels, BATCH)
    try:
        return distillers.build(name, student, teacher, info)
    except distillers.Unsupported as reason:
        return str(reason)


def _extra(method: distillers.Distiller) -> int:
    return sum(p.numel() for p in method.parameters() if p.requires_grad)


def _step(
    method: distillers.Distiller, student: models.Classifier, teacher: models.Classifier
) -> Callable[[], None]:
    """Forward and backward of the student under the method's loss."""
    needs, recipe = method.needs, Recipe()
    labels = torch.arange(BATCH) // 8
    views = tuple(torch.randn(BATCH, 3, SIZE, SIZE) for _ in needs.views)
    indices = 50 * labels + torch.arange(BATCH)
    batch = Batch(torch.randn(BATCH, 3, SIZE, SIZE), labels, indices, 1, 0, views, BATCH)
    with torch.no_grad():
        known = networks.run(teacher, batch, needs, recipe)

    def action() -> None:
        losses = method(networks.run(student, batch, needs, recipe), known, batch)
        torch.stack(list(losses.values())).sum().backward()

    return action


def _times(actions: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Median seconds of each, in turns, so that a slow moment of the machine meets all of them."""
    found: dict[str, list[float]] = {name: [] for name in actions}
    for repeat in range(REPEATS + 1):
        for name, action in actions.items():
            start = time.perf_counter()
            action()
            if repeat:  # the first is to warm up
                found[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in found.items()}


def list_names(args: argparse.Namespace) -> int:
    """What can be named in a matrix."""
    for plugin in args.plugin:
        distillers.load_plugin(plugin)
    if args.name:
        return _describe(args)
    if args.what == "methods":
        header, rows = table(args.pair)
        print(tabulate(rows, header, disable_numparse=True))
        print(
            '\n"+kd" behind a name adds Hinton\'s term with weight 1, as in crd+kd. Before a name:'
        )
        print(tabulate(wrappers(), tablefmt="plain", disable_numparse=True))
    else:
        names = models.names() if args.what == "models" else datasets.names()
        print("\n".join(names))
    return 0


def _describe(args: argparse.Namespace) -> int:
    """One method or data set: what it is, its options with their defaults, its presets."""
    if args.what == "methods":
        cls = distillers.find(args.name)
        print(f"{args.name}: {cls.title}. {cls.paper}\n\n{inspect.getdoc(cls)}\n")
        options, presets = distillers.defaults(args.name), cls.presets
    elif args.what == "datasets":
        options, presets = datasets.options(args.name), {}
    else:
        model = models.build(args.name, num_classes=100)
        options, presets = {"parameters": sum(p.numel() for p in model.parameters())}, {}
    print(yaml.safe_dump({"options": options}, sort_keys=False), end="")
    for name, values in presets.items():
        print(f"preset {name}: {dict(values)}")
    return 0


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    lister = add_verb(verbs, "list", list_names)
    lister.add_argument("what", choices=["methods", "models", "datasets"])
    lister.add_argument("name", nargs="?", help="one of them, with its options and presets")
    lister.add_argument("--pair", help='of methods: what they cost on "resnet32x4 -> resnet8x4"')
