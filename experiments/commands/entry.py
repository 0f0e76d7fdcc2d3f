"""How every program here ends: bad input is one line per problem and exit code 2."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence

from experiments.commands import streams
from experiments.errors import problems_of

BAD_INPUT = 2
LONGEST = 4000  # characters of a line about an error
INTERRUPTED = 130  # as shells count a process ended by Ctrl-C: 128 + SIGINT
Main = Callable[..., int]  # of the arguments (Sequence[str] | None)


def entry_point(main: Main) -> Main:
    """Decorator of a program's ``main``: errors as `call` reports them, output on `streams`.

    With ``--debug`` among the arguments, tracebacks are shown.
    """

    @functools.wraps(main)
    def guarded(arguments: Sequence[str] | None = None) -> int:
        given = sys.argv[1:] if arguments is None else arguments
        if arguments is None:  # a process of its own; what ends it is printed after this function
            streams.make_safe()
        with streams.safe():
            return call(lambda: main(arguments), debug="--debug" in given)

    return guarded


def call(action: Callable[[], int], debug: bool = False) -> int:
    """What ``action`` returns; bad input, a broken installation and Ctrl-C have exit codes."""
    try:
        return action()
    except BrokenPipeError:  # `benchmark.py table … | head`
        sys.stderr.close()
        return 0
    except (ImportError, OSError, ValueError) as error:
        if debug:
            raise
        if _is_broken_installation(error):
            from experiments.doctor import packages

            return packages.explain(error)
        if isinstance(error, UnicodeEncodeError) and error.encoding == sys.getfilesystemencoding():
            error = _unnamable(error)
        if not _is_bad_input(error):
            raise
        report(error)
        return int(getattr(error, "exit_code", BAD_INPUT))
    except KeyboardInterrupt:  # before any worker was started; those save what they have
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def report(error: Exception) -> None:
    """The error on standard error, one line per problem."""
    for problem in problems_of(error):
        print(f"error: {_cut(' '.join(problem.split()))}", file=sys.stderr)


def _cut(line: str) -> str:
    """A line that repeats a value of a hundred thousand characters tells no more than its ends."""
    if len(line) <= LONGEST:
        return line
    return f"{line[: LONGEST // 2]} … {line[-LONGEST // 2 :]}"


def _unnamable(error: UnicodeEncodeError) -> OSError:
    """A name that no file can have under this locale."""
    fix = "set LC_ALL=C.UTF-8, or PYTHONUTF8=1" if error.encoding != "utf-8" else "not a text"
    return OSError(f"{error.object!r}: no file name in the encoding {error.encoding}: {fix}")


def _is_broken_installation(error: Exception) -> bool:
    """Whether a package is missing, or a shared library of one (an OSError without a number)."""
    is_library = isinstance(error, OSError) and error.errno is None and ".so" in str(error)
    return isinstance(error, ImportError) or is_library


def _is_bad_input(error: Exception) -> bool:
    """Whether the message is meant for the user.

    The families are imported here, after the fact: some of their modules import pydantic.
    """
    from datasets.errors import DataError
    from distillers.errors import MethodError
    from experiments.errors import InputError
    from models.errors import ModelError
    from results.layout import TableError
    from results.records import RecordError

    families = (ModelError, DataError, MethodError)
    return isinstance(error, (OSError, InputError, RecordError, TableError, *families))
