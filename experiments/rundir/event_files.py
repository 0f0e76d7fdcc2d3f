"""Histories of runs in the files that TensorBoard reads, written by its own writer.

The package is optional: it is imported only where somebody asks for these files. One directory per
run holds one event file, with a scalar per column of ``history.csv`` and epoch, and the run's spec
as a text. The time of an event is that of writing it.
"""

from __future__ import annotations

import contextlib
import csv
import importlib
import io
import os
import re
import secrets
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.errors import InputError

Row = Mapping[str, Any]  # of a history: numbers, or their texts
PARTS, SCORES = ("train", "validation", "test"), ("top1", "top5")
NO_VALUES = ("stage", "epoch", "seconds")  # columns that are no curves
_EPOCH = re.compile("[0-9]{1,18}")  # a step of an event has 64 bits
_PATTERN = "*tfevents*"  # what TensorBoard takes for an event file


def require() -> None:
    """Raise InputError where the package is missing or cannot be imported."""
    try:
        importlib.import_module("torch.utils.tensorboard")
    except ImportError as error:
        raise InputError(
            f"--tensorboard: the package tensorboard cannot be imported ({error}): "
            "pip install tensorboard"
        ) from error


@contextlib.contextmanager
def errors_once() -> Iterator[None]:
    """Inside, the threads of TensorBoard's writer print no traceback.

    Their errors are raised again where a file is written, so nothing is lost.
    """
    before = threading.excepthook

    def report(args: threading.ExceptHookArgs) -> None:
        if not type(args.thread).__module__.startswith("tensorboard."):
            before(args)

    threading.excepthook = report
    try:
        yield
    finally:
        threading.excepthook = before


# ---- what is written -----------------------------------------------------------------------------


def rows(history: str) -> list[dict[str, Any]]:
    """The rows of a ``history.csv``, as texts; lines without a number of an epoch are left out.

    ValueError where the text is no table.
    """
    try:
        lines = list(csv.DictReader(io.StringIO(history, newline="")))
    except csv.Error as error:  # e.g. a field of a megabyte; no ValueError
        raise ValueError(f"no table: {error}") from error
    return [row for row in lines if _EPOCH.fullmatch(row.get("epoch") or "")]


def scalars(row: Row) -> Iterator[tuple[str, float]]:
    """The tag and the value of every curve in a row; what is no number is left out."""
    prefix = "" if row.get("stage", "main") == "main" else f"{row['stage']}/"
    for column, value in row.items():
        number = None if column in NO_VALUES else _number(value)
        if number is not None:
            yield prefix + _tag(column), number


def _tag(column: str) -> str:
    """TensorBoard shows tags in groups, by their first part."""
    column = column.encode("utf-8", "replace").decode()  # protocol buffers take nothing else
    part, _, score = column.partition("_")
    if part in PARTS and score in SCORES:
        return f"accuracy/{column}"
    if part in PARTS and score == "loss":
        return f"loss/{part}"
    return column if column == "lr" else f"loss/{column}"  # one of the method's terms


def _number(value: Any) -> float | None:
    """A text of a number, or a number; None for anything else."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


# ---- files ---------------------------------------------------------------------------------------


class EventFile:
    """The event file of a run, for TensorBoard to read while it grows.

    It takes the place of those that were in ``folder``, so that every epoch is there once. OSError
    where the disk refuses.
    """

    def __init__(self, folder: Path, spec: str, history: Iterable[Row]) -> None:
        """``spec`` is the text of a ``spec.yaml``; ``history`` has the epochs done so far."""
        from torch.utils.tensorboard import SummaryWriter

        earlier = set(folder.glob(_PATTERN))
        # A TensorBoard that runs drops the epochs that it has read in an earlier file.
        self._writer: Any = SummaryWriter(str(folder), purge_step=0)
        self._writer.add_text("spec", _verbatim(spec))
        self.add(*history)
        (self.path,) = set(folder.glob(_PATTERN)) - earlier
        for path in earlier:
            path.unlink(missing_ok=True)

    def add(self, *rows: Row) -> None:
        """Add finished epochs: one event for each, then one flush."""
        from tensorboard.compat.proto.summary_pb2 import Summary
        from torch.utils.tensorboard.summary import scalar

        for row in rows:
            values = [part for tag, value in scalars(row) for part in scalar(tag, value).value]
            self._writer.file_writer.add_summary(Summary(value=values), int(row["epoch"]))
        self._writer.flush()

    def is_there(self) -> bool:
        """Whether nobody has removed or replaced the file."""
        return self.path.exists()

    def close(self) -> None:
        self._writer.close()


def _verbatim(text: str) -> str:
    """A text as Markdown that is shown as it is."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def write(folder: Path, spec: str, history: str) -> None:
    """Replace what TensorBoard shows of the run in ``folder`` by the whole of ``history``.

    The file is made elsewhere and gets its name when it is whole. OSError where the disk refuses.
    """
    with tempfile.TemporaryDirectory(prefix="kd-events-") as place:
        with contextlib.closing(EventFile(Path(place), spec, rows(history))) as file:
            pass
        content = file.path.read_bytes()
    folder.mkdir(parents=True, exist_ok=True)
    earlier = set(folder.glob(_PATTERN))
    target, part = folder / file.path.name, folder / f"part.{secrets.token_hex(8)}"
    with part.open("xb") as new:  # TensorBoard does not read a file of this name
        new.write(content)
    os.replace(part, target)
    for path in earlier - {target}:
        path.unlink(missing_ok=True)
