"""Where runs, data and devices are, and the files that a matrix names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import distillers
from experiments.activity import activity
from experiments.errors import InputError, beside
from experiments.matrix.schema import Matrix
from models.checkpoints.hashing import sha256


@dataclass(frozen=True)
class Selection:
    """The part of a matrix to work on; empty means all."""

    methods: Sequence[str] = ()
    pairs: Sequence[str] = ()
    trials: Sequence[int] = ()


@dataclass(frozen=True)
class Workspace:
    """Where runs and data are, and which device trains."""

    runs: Path
    data: Path
    device: str = "auto"
    plugins: tuple[Path, ...] = ()
    here: bool = True  # False: other machines train
    processes: int | None = None  # overrides the matrix's

    def resolved(self, looks: bool = False) -> Workspace:
        """With absolute paths and "auto" replaced: a GPU if there is one, else the CPU.

        looks  nothing is to compute: "auto" may stay, which spares the import of PyTorch
        Raises InputError if "cuda" is asked for and this machine, which is to train, has none.
        """
        device = self.device if looks and self.device != "cuda" else self._usable_device()
        plugins = tuple(Path(os.path.expanduser(plugin)).absolute() for plugin in self.plugins)
        runs, data = self.runs.absolute(), self.data.absolute()
        return replace(self, device=device, runs=runs, data=data, plugins=plugins)

    def _usable_device(self) -> str:
        import torch

        available = torch.cuda.is_available()
        device = ("cuda" if available else "cpu") if self.device == "auto" else self.device
        if device == "cuda" and not available and self.here:
            raise InputError("--device cuda: this machine has no usable CUDA device; try cpu")
        return device


def load_plugins(
    source: str, plugins: Sequence[Path], of_matrix: int, strict: bool = True
) -> dict[Path, str]:
    """Import users' files; the first ``of_matrix`` of them are named in the matrix.

    Returns what is wrong with those that cannot be imported, a line each. Raises InputError instead
    if such a file was named on the command line and the plan is ``strict``.
    """
    broken: dict[Path, str] = {}
    for i, plugin in enumerate(plugins):
        where = f"{source}: plugins.{i}" if i < of_matrix else "--plugin"
        problem = _load(plugin)
        if problem and strict and i >= of_matrix:
            raise InputError(f"{where}: {problem}")
        broken |= {plugin: f"{where}: {problem}"} if problem else {}
    return broken


def _load(plugin: Path) -> str | None:
    """Import one user's file; what is wrong with it, in one line."""
    try:
        if not plugin.exists():
            return f"no file at {plugin}{beside(plugin)}"
        distillers.load_plugin(plugin)
    except (distillers.MethodError, OSError) as error:  # OSError: its folder may not be read
        return " ".join(str(error).split())
    return None


def resolve(folder: Path, path: Path) -> Path:
    """``path``, which is relative to ``folder`` unless it is absolute."""
    return path if path.is_absolute() else folder / path


def teacher_path(name: str, matrix: Matrix, workspace: Workspace) -> Path:
    """The weights file of a given teacher; relative paths start at the data root."""
    return resolve(workspace.data, Path(os.path.expanduser(matrix.teachers[name].file)))


def teacher_hash(source: str, name: str, matrix: Matrix, path: Path, strict: bool) -> str:
    """The sha256 of a given teacher's file.

    Unless ``strict``, the hash that the matrix states is enough: to look at results, the file
    need not be there.
    """
    stated = matrix.teachers[name].sha256
    if stated and not strict:
        return stated
    if not path.is_file():
        raise InputError(
            f"{source}: teachers.{name}.file: no file at {path} (relative paths start at --data)"
            + (beside(path) or "; without the entry the harness trains the teacher itself")
        )
    with activity(f"hashing {path.name}"):
        actual = sha256(path)
    if stated and actual != stated:
        raise InputError(
            f"{source}: teachers.{name}.sha256: expected {stated}, but {path} has {actual}"
        )
    return actual
