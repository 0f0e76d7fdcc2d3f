"""`check`: try a method or a network of one's own before anything is trained with it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.activity import activity
from experiments.commands.common import Verbs, add_data_flags, add_verb

if TYPE_CHECKING:
    from experiments.check.proofs import Laboratory

Check = tuple[str, Callable[[], list[str]]]


def check(args: argparse.Namespace) -> int:
    """Try what a plugin registers: one step, small batches, company, resuming."""
    import tempfile

    import torch

    import distillers
    from experiments.errors import InputError

    torch.set_num_threads(1)
    for plugin in args.plugin:
        distillers.load_plugin(plugin)
    methods, networks = _registered_by(args)
    if not methods and not networks:
        raise InputError(f"{args.plugin_file}: registers no method and no network")
    with tempfile.TemporaryDirectory(prefix="kd-check-") as folder:
        failed = 0
        for name in networks:
            print(f"{name}: network")
            failed += _report(_of_network(args, name))
        for name in methods or (["kd"] if networks else []):
            for number, pair in enumerate(args.pair or ["resnet20 -> resnet8"]):
                failed += _check_method(args, name, pair, Path(folder) / f"{name}-{number}")
    print("all well" if not failed else f"{failed} of the checks above failed")
    return 1 if failed else 0


def _registered_by(args: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The methods and networks of the plugin; "WRAPPER+kd" for a wrapper; or a built-in method."""
    import distillers
    import models
    from distillers import plugins
    from experiments.errors import InputError, beside
    from models.base import REGISTRY as NETWORKS

    file = Path(args.plugin_file)
    if not (file.exists() or file.suffix or file.parent != Path()):
        distillers.find(args.plugin_file)
        return [args.plugin_file], []
    if not file.exists():
        raise InputError(f"{file}: no such file{beside(file)}")
    digest = distillers.load_plugin(file)

    def is_its(module: str) -> bool:
        return any(plugin.digest == digest for plugin in plugins.of_modules([module]))

    methods = [n for n in distillers.names() if is_its(distillers.find(n).__module__)]
    methods += [
        f"{name}+kd"
        for name in distillers.wrappers()
        if is_its(distillers.find_wrapper(name).__module__)
    ]
    return methods, [name for name in models.names() if is_its(NETWORKS.source(name))]


def _of_network(args: argparse.Namespace, name: str) -> Iterator[Check]:
    from experiments.check import network

    yield "outputs", lambda: network.findings(name, 10, args.image_size)


def _check_method(args: argparse.Namespace, method: str, pair: str, folder: Path) -> int:
    """Run all checks of a method on one pair; returns how many failed."""
    import distillers

    print(f"{method}, {pair}")
    folder.mkdir()
    try:
        lab = _laboratory(args, pair, folder)
        return _report(_of_method(lab, method))
    except distillers.Unsupported as reason:
        print(f"  n/a   {reason}")
        return 0


def _laboratory(args: argparse.Namespace, pair: str, folder: Path) -> Laboratory:
    import datasets
    from experiments.check.proofs import RECIPE, SIZE, Laboratory
    from experiments.matrix.pairs import parse_pair

    entry = parse_pair(pair, "--pair")
    own = {} if args.dataset else {"image_size": args.image_size, "test_size": 32}
    data = datasets.build(
        args.dataset or "fake",
        root=args.data,
        subset=SIZE,
        batch_size=RECIPE.batch_size,
        epochs=RECIPE.epochs,
        **own,
    )
    return Laboratory.furnish(data, entry.teacher, entry.student, folder)


def _of_method(lab: Laboratory, method: str) -> Iterator[Check]:
    """The checks of a method, each with what it proves; a later one assumes the earlier."""
    from experiments.check import dry_step, proofs

    spec, info = lab.spec(method), lab.data.info
    yield "one step: loss, gradients, state", lambda: dry_step.findings(spec, info)
    yield "small batches, no two of a class", lambda: dry_step.small_batches(spec, info)
    yield "outputs in bfloat16", lambda: dry_step.half_precision(spec, info)
    yield "alone and in company the same", lambda: proofs.company(lab, method)
    yield "interrupted and resumed the same", lambda: proofs.resume(lab, method)


def _report(checks: Iterable[Check]) -> int:
    """Run checks and print how each went; stops at the first failure, which others would repeat."""
    for what, run in checks:
        with activity(f"checking {what}"):
            found = run()
        print(f"  {'FAIL' if found else 'ok  '}  {what}", flush=True)
        for sentence in found:
            print(f"        {sentence}")
        if found:
            return 1
    return 0


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    verb = add_verb(verbs, "check", check)
    verb.add_argument(
        "plugin_file", metavar="PLUGIN", help="a Python file or a folder; or a built-in method"
    )
    verb.add_argument(
        "--pair",
        action="append",
        default=None,
        help='try it on this pair (default: "resnet20 -> resnet8"; repeatable)',
    )
    verb.add_argument(
        "--dataset", help="train the proofs on some images of this data set (default: noise)"
    )
    verb.add_argument(
        "--image-size", type=int, default=32, help="side of the noise images (default: 32)"
    )
    add_data_flags(verb)
