"""`clean`: remove what nobody needs any more."""

from __future__ import annotations

import argparse
import sys

from experiments.activity import activity
from experiments.commands.common import (
    Verbs,
    add_matrix_verb,
    add_yes_flag,
    confirm,
    is_filtered,
    planned,
)
from experiments.wording import plural


def clean(args: argparse.Namespace) -> int:
    """List what nobody needs any more, and remove it after confirmation.

    What cannot be removed is named with the reason, and the exit code is 1.
    """
    from experiments.cluster import cleanup, removal

    plan = planned(args, strict=False, looks=True)
    with activity(f"looking for what can be removed in {plan.workspace.runs}"):
        whole = not is_filtered(args)
        paths = cleanup.left_over(plan, whole)
        gone_runs = cleanup.of_removed(plan).intersection(paths) if whole and paths else set()
        sizes = [cleanup.size(path) for path in paths]
    if not paths:
        print("nothing to remove")
        return 0
    for path, size in zip(paths, sizes, strict=True):
        print(f"{size / 1e6:10.2f} MB  {path}")
    print(f"{sum(sizes) / 1e6:10.2f} MB in all; results, weights and histories of the runs stay")
    if gone_runs:
        print(f"{plural(len(gone_runs), 'folder')} of jobs of runs no longer in the matrix")
    if not confirm(args, "remove?"):
        return 1
    with cleanup.no_submit(plan.workspace.runs):
        # Look again: a submit may have begun to need something while the question was open.
        unneeded = set(cleanup.left_over(plan, whole)).intersection(paths)
        with activity("removing"):
            kept = {path: removal.remove(path) for path in paths if path in unneeded}
    for line in (line for lines in kept.values() for line in lines):
        print(line, file=sys.stderr)
    gone = sum(not lines for lines in kept.values())
    print(f"removed {plural(gone, 'file or folder', 'files and folders')}")
    return 0 if gone == len(kept) else 1


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    verb = add_matrix_verb(verbs, "clean", clean)
    verb.set_defaults(loads_torch=False)
    add_yes_flag(verb)
