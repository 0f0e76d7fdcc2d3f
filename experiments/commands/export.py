"""`export`: a finished run's student as a file for others."""

from __future__ import annotations

import argparse

from experiments.commands.arguments import output_file
from experiments.commands.common import Verbs, add_runs_flag, add_verb


def export(args: argparse.Namespace) -> int:
    """Write a finished run's student as a file that RepDistiller or we can read."""
    import distillers
    from experiments.rundir.export import export as write
    from experiments.rundir.layout import find

    for plugin in args.plugin:
        distillers.load_plugin(plugin)
    directory = find("export", args.runs, args.run)
    for line in write(args.run, directory, args.format, args.output):
        print(line)
    return 0


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    verb = add_verb(verbs, "export", export)
    verb.add_argument(
        "run", help="a finished run's id (as status shows it), its directory or the name of that"
    )
    add_runs_flag(verb)
    verb.add_argument(
        "--format",
        choices=["repdistiller", "ours"],
        default="repdistiller",
        help="write a file that this code can load (default: repdistiller)",
    )
    verb.add_argument(
        "--output",
        type=output_file,
        help="write to this file (default: a name that says what it is, in this directory)",
    )
