"""`list`: what can be named in a matrix."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from experiments.commands.common import Verbs, add_verb
from experiments.wording import as_yaml, plural

COSTS = ("extra parameters", "step / KD")


def list_names(args: argparse.Namespace) -> int:
    """List what can be named in a matrix, or describe what is named here."""
    import distillers
    from experiments.errors import InputError

    for plugin in args.plugin:
        distillers.load_plugin(plugin)
    if args.pair is not None and args.what != "methods":
        raise InputError(f"--pair {args.pair!r}: only for `list methods`")
    if args.what == "methods" and (args.pair is not None or not args.names):
        _list_methods(args.names, args.pair)
    elif args.names:
        _describe(args.what, args.names)
    elif args.what == "published":
        print("\n".join(_sources()))
    else:
        print("\n".join(_known(args.what)))
    return 0


def _known(what: str) -> list[str]:
    import datasets
    import models

    return models.names() if what == "models" else datasets.names()


# ---- all methods ---------------------------------------------------------------------------------


def _list_methods(names: Sequence[str], pair: str | None) -> None:
    import distillers

    rows = [_about(name) for name in names or distillers.names()]
    if pair is None:
        print("\n".join(_table(rows)))
    else:
        _print_costs(rows, pair)
    if not names:
        _print_wrappers()


def _about(name: str) -> list[str]:
    import distillers
    from distillers import catalogue

    cls, options = distillers.find(name), distillers.defaults(name)
    reads = ", ".join(catalogue.reads(name, options)) or "no teacher"
    extra = ", ".join(catalogue.extra_compute(name, options))
    venue = catalogue.venue_and_year(name)
    return [name, distillers.title(name), *venue, reads, extra, ", ".join(cls.presets)]


def _table(rows: list[list[str]]) -> list[str]:
    """The table's lines: two of heading, then one per row."""
    from tabulate import tabulate

    header = ["name", "title", "venue", "year", "reads", "beyond the recipe", "presets"]
    return tabulate(rows, header, disable_numparse=True).splitlines()


def _print_costs(rows: list[list[str]], pair: str) -> None:
    """The table with what each method costs on a pair, row by row as they are measured."""
    from experiments.plan.summary import duration
    from experiments.train import method_costs

    bench = method_costs.Bench(pair)
    print(
        f"measuring {plural(len(rows), 'method')} on {pair}: forward and backward pass of the "
        f"student, {method_costs.BATCH} images of {method_costs.SIZE}×{method_costs.SIZE}, one "
        f"thread, each in turns with KD; about {duration(bench.estimate(len(rows)))}",
        flush=True,
    )
    header, rule, *lines = _table(rows)
    widths = [len(title) for title in COSTS]
    print("  ".join([header, *COSTS]))
    print("  ".join([rule, *("-" * width for width in widths)]))
    for row, line in zip(rows, lines, strict=True):
        parameters, ratio = bench.cost(row[0])
        print(f"{line:<{len(rule)}}  {parameters:>{widths[0]}}  {ratio:>{widths[1]}}", flush=True)


def _print_wrappers() -> None:
    from tabulate import tabulate

    import distillers

    print(
        '\n"+kd" after a name adds Hinton\'s term with weight 1, as in crd+kd. '
        "Wrappers that go before a name:"
    )
    classes = [distillers.find_wrapper(name) for name in distillers.wrappers()]
    wrappers = [[f"{cls.name}+", cls.title, cls.paper] for cls in classes]
    print(tabulate(wrappers, tablefmt="plain", disable_numparse=True))


# ---- one of them ---------------------------------------------------------------------------------


def _describe(what: str, names: Sequence[str]) -> None:
    """Print what each method, model or data set is: facts, options, presets."""
    describe = {
        "methods": _method,
        "models": _model,
        "datasets": _dataset,
        "published": _source,
    }[what]
    for number, name in enumerate(names):
        if number:
            print()
        for line in describe(name):
            print(line)


def _method(name: str) -> Iterator[str]:
    import inspect

    import distillers
    from distillers import catalogue, search

    cls, options = distillers.find(name), distillers.defaults(name)
    space = search.space_of(name)
    yield f"{name}: {distillers.title(name)}. {cls.paper}"
    yield ""
    yield inspect.getdoc(cls) or ""
    yield ""
    yield f"reads      {', '.join(catalogue.reads(name, options)) or 'no teacher'}"
    for heading, text in catalogue.demands(name, options):
        yield f"{heading:<10} {text}"
    yield ""
    rows = [
        [key, as_yaml(value), catalogue.expected(name, key), str(space.get(key, ""))]
        for key, value in options.items()
    ]
    yield from _grid(rows, ["option", "default", "expected", "tuning searches"])
    for preset, values in cls.presets.items():
        listed = ", ".join(f"{key} {as_yaml(value)}" for key, value in values.items())
        yield f"preset {preset}: {listed or 'the defaults'}"


def _dataset(name: str) -> Iterator[str]:
    import datasets

    yield f"{name}: {datasets.describe(name)}"
    yield ""
    facts = datasets.facts(name)
    if facts:
        yield f"classes    {facts.classes:,}"
        yield f"images     {facts.image_size}×{facts.image_size}"
        yield f"training   {facts.train:,}"
        yield f"test       {facts.test:,}"
    else:
        yield "classes, image size and numbers of images follow from the options"
    yield ""
    options: dict[str, object] = {**datasets.options(name), "subset": None, "validation": None}
    rows = [[key, as_yaml(value), _effect(name, key)] for key, value in options.items()]
    yield from _grid(rows, ["option", "default", "part of a run's identity"])


def _effect(name: str, option: str) -> str:
    import datasets

    if datasets.is_own_data(option):
        return "its content"
    return "no" if datasets.is_placement(name, option) else "yes"


def _model(name: str) -> Iterator[str]:
    from models.describe import facts

    known = facts(name)
    size = known.image_size
    yield f"{name}: for images of {size}×{size}"
    yield ""
    yield f"parameters  {known.parameters:,} with {known.num_classes:,} classes"
    linear = "linear, {:,} → {:,}".format(*known.classifier) if known.classifier else "not linear"
    yield f"classifier  {linear}"
    yield f"embedding   {known.embedding or 'none'}"
    if known.aliases:
        yield f"aliases     {', '.join(known.aliases)}"
    yield ""
    rows = [[str(i), "×".join(map(str, shape))] for i, shape in enumerate(known.features)]
    yield from _grid(rows, ["feature", "channels×height×width"])


def _sources() -> list[str]:
    from experiments.commands.published import sources_table

    return sources_table()


def _source(key: str) -> Iterator[str]:
    from experiments.commands.published import describe

    yield from describe(key)


def _grid(rows: list[list[str]], header: list[str]) -> list[str]:
    from tabulate import tabulate

    return tabulate(rows, header, disable_numparse=True).splitlines() if rows else []


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    verb = add_verb(verbs, "list", list_names)
    verb.add_argument("what", choices=["methods", "models", "datasets", "published"])
    verb.add_argument(
        "names",
        nargs="*",
        default=[],  # otherwise argparse calls them required
        metavar="NAME",
        help="describe these, with options and presets",
    )
    verb.add_argument(
        "--pair",
        help='measure what all methods, or those named, cost on this pair, e.g. "resnet32x4 -> '
        'resnet8x4"',
    )
