"""Tensors that the runs of a cohort share, watched for changes in place.

A method that writes into one of them would change the numbers of every run that comes after it.
PyTorch counts the in-place changes of a tensor and its views (``Tensor._version``), so a change is
noticed at the cost of reading a few integers. Writes that bypass the counter (``.data``,
``.numpy()``) are found when planning, by the dry step of `check.dry_step`, which compares values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor

from datasets import Batch
from distillers import MethodError
from experiments.train.teachers import Teacher
from models import Outputs

Named = tuple[str, Tensor]


class ChangedInPlaceError(MethodError):
    """A method wrote into a tensor that is not its own."""

    known_to_all = False  # see `distributed.is_known_to_all`

    def __init__(self, method: str, names: Iterable[str]) -> None:
        super().__init__(message(method, names))


class Watch:
    """Remembers the state of some tensors; `changed` names those written into since."""

    def __init__(self, named: Iterable[Named]) -> None:
        self.named = list(named)
        self.versions = [tensor._version for _, tensor in self.named]

    def changed(self) -> list[str]:
        now = zip(self.named, self.versions, strict=True)
        return [name for (name, tensor), version in now if tensor._version != version]

    def check(self, method: str) -> None:
        """Raise ChangedInPlaceError if ``method`` wrote into any of them."""
        names = self.changed()
        if names:
            raise ChangedInPlaceError(method, names)


def message(method: str, names: Iterable[str]) -> str:
    """One line about tensors that ``method`` must leave alone."""
    listed = list(names)
    more = f" and {len(listed) - 3} others" if len(listed) > 3 else ""
    return (
        f"{method} changes {', '.join(listed[:3])}{more} in place, which others read too: compute "
        "a new tensor (x * 2 instead of x.mul_(2)), or clone it first"
    )


def of_batch(batch: Batch, teacher: Outputs | None) -> Iterator[Named]:
    """What members read in one step: the batch and the teacher's outputs."""
    yield from (
        ("batch.images", batch.images),
        ("batch.labels", batch.labels),
        ("batch.indices", batch.indices),
        *((f"batch.views[{i}]", view) for i, view in enumerate(batch.views)),
    )
    if teacher is not None:
        yield from of_outputs("teacher", teacher)


def of_outputs(name: str, outputs: Outputs) -> Iterator[Named]:
    """Every tensor of some outputs: "teacher.features[2]", "teacher.views[0].logits"."""
    for field, value in vars(outputs).items():
        yield from _flat(f"{name}.{field}", value)


def _flat(name: str, value: Any) -> Iterator[Named]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Outputs):
        yield from of_outputs(name, value)
    elif isinstance(value, tuple):
        for i, item in enumerate(value):
            yield from _flat(f"{name}[{i}]", item)


class Permanent:
    """What a cohort shares from its first step to its last: the teacher and the labels."""

    def __init__(self, teacher: Teacher | None, train_labels: Tensor) -> None:
        self.teacher, self.train_labels = teacher, train_labels
        self.original_labels = train_labels.clone()
        self._watch()

    def _watch(self) -> None:
        module = self.teacher.module if self.teacher else None
        named = [] if module is None else [*module.named_parameters(), *module.named_buffers()]
        self.watch = Watch(
            [
                *((f"the teacher's {name}", tensor) for name, tensor in named),
                ("info.train_labels", self.train_labels),
            ]
        )

    def restore(self) -> None:
        """Undo every change: the labels from a copy, the teacher from its file."""
        changed = self.watch.changed()
        if "info.train_labels" in changed:
            self.train_labels.copy_(self.original_labels)
        if self.teacher is not None and set(changed) - {"info.train_labels"}:
            self.teacher.reload()
        self._watch()
