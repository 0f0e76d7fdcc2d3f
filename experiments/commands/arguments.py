"""The parser of all programs here, and the values that flags take: wrong ones are one line."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NoReturn

_OTHERS = 3  # commands named where a flag is none of the one that is asked
_LONGEST = 500  # characters of a message of argparse, which quotes the whole argument
FILES = {"bash": "_shtab_compgen_files", "zsh": "_files"}  # what shtab calls to list files


class _StoreOnce(argparse.Action):
    """Stores a flag's value; given twice, argparse would silently use the last one alone."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        args: argparse.Namespace,
        value: Any,
        flag: Any = None,
    ) -> None:
        given = vars(args).setdefault("flags_given", set())
        if flag is not None and self.dest in given:
            several = f": give all values after one {flag}" if self.nargs in ("+", "*") else ""
            raise argparse.ArgumentError(self, f"given twice{several or ', expected once'}")
        given.add(self.dest)
        setattr(args, self.dest, value)


class Parser(argparse.ArgumentParser):
    """Reports wrong arguments in one line, like all other bad input."""

    flags: ClassVar[dict[str, dict[str, None]]] = {}  # each with the commands that have it
    add_all: ClassVar[Callable[[], object]] = lambda: None  # fills them, where not all are made yet
    asked: ClassVar[Parser | None] = None  # of the command; argparse calls its parent's `error`

    def __init__(self, *positional: Any, **settings: Any) -> None:
        super().__init__(*positional, **settings)
        for name in (None, "store"):
            self.register("action", name, _StoreOnce)
        self.register("type", Path, _path)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse, but no argument has a null byte: no system call would take it."""
        Parser.asked = self
        words = sys.argv[1:] if args is None else args
        for word in words:
            if word.startswith("--") and word.endswith("=--"):  # argparse would make it a list
                self.error(f"argument {word!r:.60}: expected a value")
            if "\0" in word:
                self.error(
                    f"argument {word!r:.60}: a null byte, which nothing can have in its name"
                )
        return super().parse_known_args(words, namespace)

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        for name in (name for name in names if name.startswith("--")):
            self.flags.setdefault(name, {})[self.prog.rpartition(" ")[2]] = None
        action = super().add_argument(*names, **settings)
        if settings.get("type") in (Path, output_file):
            action.complete = FILES  # type: ignore[attr-defined]
        return action

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ")
        parser, hint = self, ""
        if unknown != message:
            parser = Parser.asked or self
            hint = parser._about(unknown.split()[0].partition("=")[0])
        if len(message) > _LONGEST:
            message = f"{message[:_LONGEST]}…"
        self.exit(2, f"error: {message}{hint} (see {parser.prog} --help)\n")

    def _about(self, word: str) -> str:
        """What to say of an argument that is none here: a flag of other commands, or near ones."""
        from models.registry import near

        if not word.startswith("--"):
            return ""
        own = [name for name in self._option_string_actions if name.startswith("--")]
        if word in own:
            return f": expected after {self.prog.rpartition(' ')[2]}"
        Parser.add_all()
        others = [name for name in self.flags.get(word, ()) if name != "work"]
        if others:
            return f": a flag of {', '.join(others[:_OTHERS])}{', …' * (len(others) > _OTHERS)}"
        return f": {near(word, own)}"


def _path(text: str) -> Path:
    """Parse a path; pathlib would take an empty one for the working directory."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{text!r}: expected a path")
    return Path(text)


def positive(text: str) -> int:
    """Parse a whole number from 1; of more than 18 digits it counts nothing."""
    if not re.fullmatch("[0-9]{1,18}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1")
    return int(text)


def sharing(text: str) -> int:
    """Parse how many workers share a GPU."""
    from experiments.matrix.slurm_options import MOST_PER_GPU

    if not text.isdigit() or not 1 <= int(text) <= MOST_PER_GPU:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected a whole number from 1 to {MOST_PER_GPU}"
        )
    return int(text)


def output_file(text: str) -> Path:
    """Parse the name of a file to write, which must not be that of a device, link or directory."""
    from results.outputs import obstacle

    path = Path(text)
    why = obstacle(path)
    if why:
        raise argparse.ArgumentTypeError(f"{path}: {why}")
    return path


def minutes(text: str) -> float:
    """Parse a time in minutes."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of minutes")
    return value
