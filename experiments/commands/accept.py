"""`accept`: keep finished runs although the plugin that made them has changed."""

from __future__ import annotations

import argparse

from experiments.commands.common import Verbs, add_matrix_verb, add_yes_flag, confirm, planned


def accept(args: argparse.Namespace) -> int:
    """Keep results that an earlier version of a plugin made, where the change alters no number."""
    from experiments.plan.earlier_code import accept as put_on_record

    plan = planned(args, strict=False)
    if not plan.stale:
        print("nothing to accept: no finished run was made by other code of its plugin")
        return 0
    specs = plan.expansion.runs
    for spec in specs:
        if spec.id in plan.stale:
            print(f"{spec}: {plan.stale[spec.id].detail}")
    if not confirm(args, f"do these {len(plan.stale)} results stand for today's code?"):
        return 1
    put_on_record(plan.stale.values(), plan.workspace.runs)
    print(f"accepted {len(plan.stale)}; tables say so")
    return 0


def register(verbs: Verbs) -> None:
    """Add the verb and its flags to the command line."""
    add_yes_flag(add_matrix_verb(verbs, "accept", accept))
