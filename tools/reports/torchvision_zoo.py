#!/usr/bin/env python3
"""Which part of the contract every torchvision network keeps, found by running it.

    tools/reports/torchvision_zoo.py                                    the whole table (minutes)
    tools/reports/torchvision_zoo.py --only 'resnet*' --output FILE

Each network is built, run in eval mode on one small image and compared with the library's own
forward pass; shapes are those of a 224×224 image (299 for Inception), read on the meta device.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from tabulate import tabulate
from torch import Tensor, nn

import models
from experiments.commands.entry import entry_point
from models import Outputs
from models.torchvision_nets import NAMES, PREFIX
from models.wrapped import skeleton
from tools.reports import shared

HEADER = ("torchvision/", "parameters", "features", "embedding", "final map", "also", "error")
ABOUT = """\
parameters: with ten classes. features: channels@height, stem first. final map: yes where
classifier(mean over h, w) == logits. also: what is there besides. Whatever is not mentioned is
None. error: largest difference of the logits to the library's own forward pass, relative to the
largest. Made by `tools/reports/torchvision_zoo.py`."""
FIXED_SIZE = ("vit_", "maxvit")  # these take 224×224 only; other nets are run on a small image
SMALL = 96


@entry_point
def main(arguments: Sequence[str] | None = None) -> int:
    parser = shared.make_parser(__doc__)
    parser.add_argument("--only", default="*", help="a pattern of names, without torchvision/")
    shared.add_output(parser)
    args = parser.parse_args(arguments)
    rows = []
    for name in NAMES:
        if fnmatchcase(name, args.only):
            rows.append(row(name))
            shared.progress("  ".join(rows[-1]))
    table = tabulate(rows, HEADER, tablefmt="pipe", disable_numparse=True)
    text = f"## torchvision's networks behind the contract\n\n{ABOUT}\n\n{table}\n"
    shared.publish(text, args.output)
    return 0


@torch.no_grad()
def row(name: str) -> list[str]:
    """One network's line. Raises ValueError where an identity of the contract does not hold."""
    model: Any = models.build(PREFIX + name, num_classes=10).eval()
    if name.startswith("vit_"):
        nn.init.normal_(model.classifier.weight, std=0.05)  # torchvision starts it at zero
    size = 224 if name.startswith(FIXED_SIZE) else SMALL
    x = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    out = model.outputs(x, preacts=True, blocks=True)
    if out.final_map is not None:
        check(f"{name}: pooled map", model.classifier(out.final_map.mean((2, 3))), out.logits)
    if out.embedding is not None:
        check(f"{name}: embedding", model.classifier(out.embedding), out.logits)
    size = 299 if name == "inception_v3" else 224
    shadow: Any = skeleton(model)
    shapes = shadow.outputs(torch.empty(1, 3, size, size, device="meta"))
    return [
        name,
        f"{sum(p.numel() for p in model.parameters()):,}",
        " ".join(f"{f.shape[1]}@{f.shape[2]}" for f in shapes.features or ()) or "–",
        str(out.embedding.shape[1]) if out.embedding is not None else "–",
        "yes" if out.final_map is not None else "–",
        also(out),
        f"{error(model.net(x), out.logits):.0e}",
    ]


def also(out: Outputs) -> str:
    parts = []
    if out.preacts and out.blocks:
        parts.append(f"preacts, blocks {' '.join(str(len(b)) for b in out.blocks)}")
    if out.tokens and out.cls:
        count, width = out.tokens[0].shape[1:]
        parts.append(f"cls and {count} tokens of {width} in {len(out.tokens)} layers")
    return ", ".join(parts) or "–"


def error(actual: Tensor, expected: Tensor) -> float:
    return ((actual - expected).abs().max() / expected.abs().max()).item()


def check(what: str, actual: Tensor, expected: Tensor) -> None:
    if not error(actual, expected) < 1e-3:
        raise ValueError(
            f"{what} does not lead to the logits: off by {error(actual, expected):.1e}"
        )


if __name__ == "__main__":
    sys.exit(main())
