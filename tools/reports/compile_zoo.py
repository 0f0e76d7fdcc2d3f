#!/usr/bin/env python3
"""torch.compile over the whole zoo: does it make one graph, and the same numbers?

    tools/reports/compile_zoo.py --only 'resnet8*'            the networks whose names fit
    tools/reports/compile_zoo.py --backend inductor --train   generated kernels, both passes

Per network: seconds to compile and run once, and the largest difference of logits, embedding and
features to eager mode, relative to the largest value. A graph break or an error fills the last
column. Exit codes: 0, 1 where a network failed, 2 where no name fits.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from tabulate import tabulate
from torch import Tensor

import models
from experiments.commands.entry import entry_point
from models import Classifier, Outputs
from tools.reports import shared

HEADER = ("network", "image", "seconds", "difference", "failure")
# The smallest images that the few nets take which do not take 64×64.
SIZES = {"torchvision/vit_*": 224, "torchvision/maxvit_t": 224, "torchvision/inception_v3": 96}


@entry_point
def main(arguments: Sequence[str] | None = None) -> int:
    args = parse(arguments)
    names = [name for name in models.names() if any(fnmatchcase(name, p) for p in args.only)]
    if not names:
        return shared.fail(f"--only {' '.join(args.only)}: no such network")
    rows = []
    for name in names:
        rows.append(row(name, args.backend, args.train))
        shared.progress("  ".join(rows[-1]))
    table = tabulate(rows, HEADER, tablefmt="pipe", disable_numparse=True)
    title = f"## torch.compile({args.backend}), torch {torch.__version__}"
    shared.publish(f"{title}\n\n{table}\n", args.output)
    return int(any(failure for *_, failure in rows))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = shared.make_parser(__doc__)
    parser.add_argument("--only", nargs="+", default=["*"], help="patterns of names")
    parser.add_argument("--backend", default="aot_eager", help="aot_eager, inductor, eager, …")
    parser.add_argument("--train", action="store_true", help="train mode, with a backward pass")
    shared.add_output(parser)
    return parser.parse_args(arguments)


def row(name: str, backend: str, train: bool) -> list[str]:
    """One network's line of the table."""
    size = image_size(name)
    try:
        seconds, difference = measure(name, size, backend, train)
    except Exception as error:  # noqa: BLE001  (whatever the compiler raises is a finding)
        reason = (str(error).strip().splitlines() or [""])[0]
        return [name, str(size), "", "", f"{type(error).__name__}: {reason[:120]}"]
    return [name, str(size), f"{seconds:.1f}", f"{difference:.0e}", ""]


def image_size(name: str) -> int:
    foreign = next((size for p, size in SIZES.items() if fnmatchcase(name, p)), 64)
    return foreign if "/" in name else 32


def measure(name: str, size: int, backend: str, train: bool) -> tuple[float, float]:
    """Seconds of the first compiled pass, and how far its outputs are from eager mode's."""
    torch.compiler.reset()
    model = models.build(name, num_classes=10).eval()
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    compiled = torch.compile(model.outputs, backend=backend, fullgraph=True)
    with torch.set_grad_enabled(train):
        start = time.perf_counter()
        out = compiled(images)
        if train:
            out.logits.square().mean().backward()
        seconds, worst = time.perf_counter() - start, difference(out, model.outputs(images))
        if train:
            step(model, compiled, images)
        return seconds, worst


def step(model: Classifier, compiled: object, images: Tensor) -> None:
    """A pass in train mode too, whose numbers dropout makes incomparable."""
    assert callable(compiled)
    model.train()
    compiled(images).logits.square().mean().backward()
    model.eval()


def difference(actual: Outputs, expected: Outputs) -> float:
    """The largest relative difference between all tensors of the two."""
    pairs = zip(tensors(actual), tensors(expected), strict=True)
    return max(((a - b).abs().max() / b.abs().max().clamp_min(1e-12)).item() for a, b in pairs)


def tensors(out: Outputs) -> list[Tensor]:
    collected: list[Tensor] = []
    out.map(lambda tensor: collected.append(tensor.detach()) or tensor)  # type: ignore[func-returns-value]
    return collected


if __name__ == "__main__":
    sys.exit(main())
