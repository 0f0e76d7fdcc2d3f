"""`completion`: let the shell complete commands, flags and files."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from experiments.commands.common import Verbs, add_verb

HOW = {
    "bash": "# for this shell: source <(./benchmark.py completion bash)",
    "zsh": '# for this shell: eval "$(./benchmark.py completion zsh)"',
}


def register(verbs: Verbs, parser: Callable[[], argparse.ArgumentParser]) -> None:
    """Add the verb; ``parser`` makes the whole command line, which the script describes."""

    def completion(args: argparse.Namespace) -> int:
        """Print a script that completes ./benchmark.py in bash or zsh: commands, flags, files."""
        import shtab

        print(f"{shtab.complete(parser(), args.shell).rstrip()}\n{HOW[args.shell]}")
        return 0

    verb = add_verb(verbs, "completion", completion)
    verb.set_defaults(loads_torch=False)
    verb.add_argument("shell", choices=list(HOW), help="the shell that is to complete")
