"""`list`: what can be named in a matrix."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from experiments.commands.common import Verbs, add_verb


def list_names(args: argparse.Namespace) -> int:
    """List what can be named in a matrix."""
    import distillers

    for plugin in args.plugin:
        distillers.load_plugin(plugin)
    if args.name:
        _describe(args.what, args.name)
    elif args.what == "methods":
        _list_methods(args.pair)
    elif args.what == "models":
        import models

        print("\n".join(models.names()))
    else:
        import datasets

        print("\n".join(datasets.names()))
    return 0


def _list_methods(pair: str | None) -> None:
    from tabulate import tabulate

    import distillers
    from distillers import catalogue

    header = ["name", "title", "venue", "year", "reads", "beyond the recipe", "presets"]
    rows = {}
    for name in distillers.names():
        cls, options = distillers.find(name), distillers.defaults(name)
        reads = ", ".join(catalogue.reads(name, options)) or "no teacher"
        extra = ", ".join(catalogue.extra_compute(name, options))
        about = (*catalogue.venue_and_year(name), reads, extra, ", ".join(cls.presets))
        rows[name] = [name, cls.title, *about]
    if pair:
        from experiments.train import method_costs

        header += ["extra parameters", "step / KD"]
        for name, cost in method_costs.measure(pair).items():
            rows[name] += cost
    print(tabulate(list(rows.values()), header, disable_numparse=True))
    print(
        '\n"+kd" after a name adds Hinton\'s term with weight 1, as in crd+kd. '
        "Wrappers that go before a name:"
    )
    classes = [distillers.find_wrapper(name) for name in distillers.wrappers()]
    wrappers = [[f"{cls.name}+", cls.title, cls.paper] for cls in classes]
    print(tabulate(wrappers, tablefmt="plain", disable_numparse=True))


def _describe(what: str, name: str) -> None:
    """Print one method, model or data set: what it is, its options, its presets."""
    import inspect

    import yaml

    import datasets
    import distillers
    import models

    options: Mapping[str, Any]
    presets: Mapping[str, Any] = {}
    if what == "methods":
        cls = distillers.find(name)
        print(f"{name}: {cls.title}. {cls.paper}\n\n{inspect.getdoc(cls)}\n")
        options, presets = distillers.defaults(name), cls.presets
    elif what == "datasets":
        options = datasets.options(name)
    else:
        model = models.build(name, num_classes=100)
        options = {"parameters": sum(p.numel() for p in model.parameters())}
    print(yaml.safe_dump({"options": options}, sort_keys=False), end="")
    for preset, values in presets.items():
        print(f"preset {preset}: {dict(values)}")


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    verb = add_verb(verbs, "list", list_names)
    verb.add_argument("what", choices=["methods", "models", "datasets"])
    verb.add_argument("name", nargs="?", help="show this one, with its options and presets")
    verb.add_argument(
        "--pair", help='measure what methods cost on this pair, e.g. "resnet32x4 -> resnet8x4"'
    )
