#!/usr/bin/env python3
"""How far the zoo is from the reference repositories: one row per golden fixture.

    tools/reports/model_errors.py                        print the table
    tools/reports/model_errors.py --output results/reports/model-errors.md

Weights and images come from formulas (tests/models/golden.py); the expected numbers were computed
by RepDistiller's and mdistiller's own code. Errors are relative to the largest absolute value.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from tabulate import tabulate
from torch import Tensor

import models
from experiments.commands.entry import entry_point
from tools.reports import shared

golden: Any = importlib.import_module("tests.models.golden")  # no package that mypy could follow
HEADER = ("network", "fixture", "parameters", "float32", "float64", "embedding", "taps")
ABOUT = """\
Largest error relative to the largest absolute value, in eval mode: of the logits in float32 and in
float64, of the embedding in float32, and of the features' and preacts' summaries (mean, deviation,
extremes, first and last eight values, a weighted sum) in float32. Names, order, shapes and number
of the parameters agree exactly. Made by `tools/reports/model_errors.py`."""


@entry_point
def main(arguments: Sequence[str] | None = None) -> int:
    parser = shared.make_parser(__doc__)
    shared.add_output(parser)
    args = parser.parse_args(arguments)
    text = page([row(file) for file in sorted(golden.FOLDER.glob("*.npz"))])
    shared.publish(text, args.output)
    return 0


def page(rows: Sequence[Sequence[str]]) -> str:
    table = tabulate(rows, HEADER, tablefmt="pipe", disable_numparse=True)
    return f"## The zoo against the reference repositories\n\n{ABOUT}\n\n{table}\n"


@torch.no_grad()
def row(file: Path) -> list[str]:
    """One fixture's errors. Raises ValueError where a parameter's name or shape differs."""
    repository, _, name = file.stem.partition("__")
    fixture, ours = golden.load(name, repository), our_name(repository, name)
    model: Any = golden.fill(models.build(ours, len(fixture["out/logits"][0]))).eval()
    if [[k, list(v.shape)] for k, v in model.state_dict().items()] != fixture["meta"]["state_dict"]:
        raise ValueError(f"{file.name}: parameters differ in name, order or shape from {ours}'s")
    images = fixture["in/image"] if "in/image" in fixture else golden.imagenet_images()
    out = model.outputs(images, preacts=True)
    logits64 = deepcopy(model).double()(images.double())
    errors = [
        relative(out.logits, fixture["out/logits"]),
        relative(logits64, fixture["out64/logits"]),
        relative(out.embedding, fixture["out/embedding"]),
        tap_error(out, fixture),
    ]
    count = sum(p.numel() for p in model.parameters())
    return [ours, repository, f"{count:,}", *(f"{error:.1e}" for error in errors)]


def our_name(repository: str, name: str) -> str:
    """mdistiller's ImageNet ResNets are copies of torchvision's."""
    foreign = repository == "mdistiller_imagenet" and name.startswith("resnet")
    return f"torchvision/{name}" if foreign else name


def relative(actual: Tensor, expected: Tensor) -> float:
    error = (actual.double() - expected.double()).abs().max() / expected.double().abs().max()
    return error.item()


def tap_error(out: models.Outputs, fixture: dict[str, Any]) -> float:
    """The largest error of a summary of a map, relative to its largest (or summed) size."""
    worst = 0.0
    for kind, maps in ("feat", out.features or ()), ("preact", out.preacts or ()):
        shapes = [s for s in fixture["meta"]["feature_lists"].get(kind, []) if len(s) == 4]
        skip = len(maps) - len(shapes) if shapes else len(maps)  # mdistiller's MobileNetV1: no stem
        for i, x in enumerate(maps[skip:]):
            if kind == "preact" and skip + i == 0:
                continue  # preacts[0] is features[0]
            flat = x.double().contiguous().flatten()
            for part, size in summary(flat).items():
                difference = (size[0] - fixture[f"{kind}/{i}/{part}"].double()).abs().max()
                worst = max(worst, (difference / size[1]).item())
    return worst


def summary(flat: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """A flattened map's summary as fixtures keep it, each with the size that errors relate to."""
    largest = flat.abs().max()
    wave = torch.cos(0.013 * torch.arange(len(flat), dtype=torch.float64))
    stats = [flat.mean(), flat.std(correction=0), flat.min(), flat.max(), flat.abs().mean()]
    return {
        "stats_mean_std_min_max_meanabs": (torch.stack(stats), largest),
        "first8": (flat[:8], largest),
        "last8": (flat[-8:], largest),
        "wsum": ((flat * wave).sum(), flat.abs().sum()),
    }


if __name__ == "__main__":
    sys.exit(main())
