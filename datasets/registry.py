"""Register data sets, list them and build them by name."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .base import Data, Settings
from .errors import DataError, near
from .image_files import Listing
from .places import is_own_data

# factory(settings, **options) -> Data; its keyword-only parameters are the data set's options.
Factory = Callable[..., Data]
_FACTORIES: dict[str, Factory] = {}
_PLACEMENT: dict[Factory, frozenset[str]] = {}
_FACTS: dict[str, Facts] = {}
# reader(root, options) -> the names of the classes, without reading an image
NameReader = Callable[[Path, Mapping[str, Any]], Iterable[str]]
_NAME_READERS: dict[str, NameReader] = {}
LARGEST_SIDE = 4096  # pixels of an image: five times what the largest published networks take
# reader(root, options) -> the image files of the training and the test part
FileReader = Callable[[Path, Mapping[str, Any]], tuple[Listing, Listing]]
_FILE_READERS: dict[str, FileReader] = {}


@dataclass(frozen=True)
class Facts:
    """What a complete copy of a data set holds."""

    classes: int
    image_size: int  # pixels a side, as stored or as the literature uses it
    train: int
    test: int


def register(
    name: str,
    placement: Iterable[str] = (),
    facts: Facts | None = None,
    class_names: NameReader | None = None,
    files: FileReader | None = None,
) -> Callable[[Factory], Factory]:
    """Decorator: make ``build(name, …)`` call ``factory(settings, **options)``.

    The factory's keyword-only parameters, which all need defaults, are the data set's options.
    Those named in ``placement`` are paths or affect speed or words only, and change no result.
    ``facts`` are shown in listings, where the same for everyone. ``class_names`` reads the names
    of the classes, where that needs no image; ``files`` lists the files of a set made of images.
    Raises DataError if the name is taken (ignoring case: people type names from papers).
    """

    def add(factory: Factory) -> Factory:
        for option, default in _options(factory).items():
            if default is inspect.Parameter.empty:
                raise DataError(f"data set {name!r}: option {option!r} has no default")
        for option in placement:
            if option not in _options(factory):
                raise DataError(f"data set {name!r}: placement: no option {option!r}")
        taken = {known.lower(): known for known in _FACTORIES}.get(name.lower())
        if taken is not None:
            source = _FACTORIES[taken].__module__
            raise DataError(f"data set {name!r}: the name is taken by {taken!r} of {source}")
        _FACTORIES[name] = factory
        _PLACEMENT[factory] = frozenset(placement)
        if facts:
            _FACTS[name] = facts
        if class_names:
            _NAME_READERS[name] = class_names
        if files:
            _FILE_READERS[name] = files
        return factory

    return add


def names() -> list[str]:
    """All registered data sets, sorted."""
    importlib.import_module("datasets.contents")  # each set registers itself
    return sorted(_FACTORIES)


def options(name: str) -> dict[str, Any]:
    """A data set's own options, without those that all data sets share, and their defaults."""
    return dict(_options(_find(name)))


def facts(name: str) -> Facts | None:
    """What a complete copy holds; None where that depends on the user's files or options."""
    _find(name)
    return _FACTS.get(name)


def class_names(name: str, root: Path, given: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a data set's classes by number, read from what describes its images.

    Empty where the data are not there, or only reading them would tell. ``given`` are options.
    """
    reader = _NAME_READERS.get(name)
    if reader is None:
        return ()
    try:
        return tuple(reader(Path(os.path.expanduser(root)), {**options(name), **given}))
    except (DataError, OSError):  # not here: the names are for display only
        return ()


def files(name: str, root: str | Path, given: Mapping[str, Any]) -> tuple[Listing, Listing] | None:
    """The image files of the training and the test part; None for sets not made of image files.

    ``given`` are options. Raises DataError for an unknown name, and if the set is not there.
    """
    known = options(name)
    reader = _FILE_READERS.get(name)
    return reader(Path(os.path.expanduser(root)), {**known, **given}) if reader else None


def describe(name: str) -> str:
    """What a data set is and what its options mean."""
    return inspect.getdoc(_find(name)) or ""


def is_placement(name: str, option: str) -> bool:
    """Whether an option changes no result, being a path or affecting speed or words only.

    A user's own data is identified by its content, not by its path (see `is_own_data`).
    """
    return is_own_data(option) or option in _PLACEMENT.get(_find(name), ())


def check_label(name: str, label: object) -> None:
    """Raise DataError unless an option ``label`` is one line of text, or not given."""
    if label is not None and not (isinstance(label, str) and label.strip() and label.isprintable()):
        raise DataError(f"{name}: option label = {label!r}: expected a name in one line")


def build(
    name: str,
    root: str | Path = "data",
    *,
    subset: int | None = None,
    validation: int | float | None = None,
    batch_size: int = 64,
    epochs: int = 240,
    device: str | torch.device = "cpu",
    shard: tuple[int, int] = (0, 1),
    scored_on: str = "test",
    **options: Any,
) -> Data:
    """A data set by name, its files under ``root``, its batches on ``device``.

    subset      train on a stratified selection of that many images
    validation  hold out that many images, or that fraction, of the training part, before the subset
    shard       (rank, world): return this process's rows of every batch; batch_size is global
    scored_on   the part that accuracies are of; "validation": the test part is left out
    options     the data set's own, see `options`

    Raises DataError for an unknown name or option (with near matches), an invalid value, and files
    that are missing or malformed.
    """
    factory = _find(name)
    checked = _check_options(name, options)
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise DataError(f"{name}: device {device!r}: expected cpu, cuda or cuda:N") from error
    root = Path(os.path.expanduser(root))
    settings = Settings(name, root, subset, validation, batch_size, epochs, place, shard, scored_on)
    return factory(settings, **checked)


@functools.cache  # a run's id asks for them, and reading a signature is slow
def _options(factory: Factory) -> dict[str, Any]:
    parameters = inspect.signature(factory).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def _find(name: str) -> Factory:
    if name not in _FACTORIES:
        importlib.import_module("datasets.contents")
    if name not in _FACTORIES:
        raise DataError(f"unknown data set {name!r}: {near(name, _FACTORIES)}")
    return _FACTORIES[name]


def _check_options(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return ``given`` if each is an option of the data set with the type of its default."""
    known = options(name)
    for key, value in given.items():
        if key not in known:
            raise DataError(f"{name}: unknown option {key!r}: {near(key, known)}")
        default = known[key]
        if key == "image_size" and isinstance(value, int) and value > LARGEST_SIDE:
            expected = f"expected at most {LARGEST_SIDE} pixels"
            raise DataError(f"{name}: option {key} = {value}: {expected}")
        # Not isinstance: True is an int. A default of None does not tell the type.
        if default is not None and type(value) is not type(default):
            expected = type(default).__name__
            raise DataError(f"{name}: option {key} = {value!r}: expected {expected}")
    return given
