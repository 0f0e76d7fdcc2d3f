"""Where things are and what computes; the files that a matrix names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

import distillers
import models
from datasets import Data
from experiments.errors import InputError, beside
from experiments.matrix.schema import Matrix
from models.checkpoints.files import sha256


@dataclass(frozen=True)
class Selection:
    """The part of a matrix to work on; empty means all."""

    methods: Sequence[str] = ()
    pairs: Sequence[str] = ()
    trials: Sequence[int] = ()


@dataclass(frozen=True)
class Workspace:
    """Where things are and what computes. Paths are the caller's."""

    runs: Path
    data: Path
    device: str = "auto"
    plugins: tuple[Path, ...] = ()
    here: bool = True  # False: other machines compute
    processes: int | None = None  # in place of the matrix's

    def resolved(self) -> Workspace:
        """ "auto" decided: the GPU where there is one."""
        available = torch.cuda.is_available()
        device = ("cuda" if available else "cpu") if self.device == "auto" else self.device
        if device == "cuda" and not available and self.here:
            raise InputError("--device cuda: this machine has no usable CUDA device; try cpu")
        plugins = tuple(plugin.expanduser().absolute() for plugin in self.plugins)
        runs, data = self.runs.absolute(), self.data.absolute()
        return replace(self, device=device, runs=runs, data=data, plugins=plugins)


def _load_plugins(source: str, plugins: Sequence[Path], of_matrix: int) -> None:
    """Import users' files; the first ``of_matrix`` of them stand in the matrix."""
    for i, plugin in enumerate(plugins):
        where = f"{source}: plugins.{i}" if i < of_matrix else "--plugin"
        if not plugin.is_file():
            raise InputError(f"{where}: no file at {plugin}{beside(plugin)}")
        try:
            distillers.load_plugin(plugin)
        except distillers.MethodError as error:
            raise InputError(f"{where}: {error}") from error


def _from(folder: Path, path: Path) -> Path:
    return path if path.is_absolute() else folder / path


def _teacher_file(source: str, name: str, table: Matrix, workspace: Workspace) -> Path:
    return _from(workspace.data, table.teachers[name].file.expanduser())


def _teacher_hash(source: str, name: str, table: Matrix, path: Path, strict: bool) -> str:
    """The sha256 of a given teacher; the matrix's word for it suffices to look at results."""
    stated = table.teachers[name].sha256
    if stated and not strict:
        return stated
    if not path.is_file():
        raise InputError(
            f"{source}: teachers.{name}.file: no file at {path} (relative paths start at --data)"
            + (beside(path) or "; without the entry the harness trains the teacher itself")
        )
    found = sha256(path)
    if stated and found != stated:
        raise InputError(
            f"{source}: teachers.{name}.sha256: expected {stated}, but {path} has {found}"
        )
    return found


def _check_fit(source: str, name: str, path: Path, data: Data) -> None:
    """A checkpoint of another architecture or class count is found out now, not in a job."""
    with torch.random.fork_rng(devices=[]):
        model = models.build(name, data.info.num_classes)
    try:
        models.load_checkpoint(model, path)
    except models.ModelError as error:
        raise InputError(f"{source}: teachers.{name}.file: {error}") from error
