"""One ``result.json`` per run: written once, whole, and never overwritten (see `schema`).

A number that is not finite (a test loss may overflow) is stored as null.
"""

from __future__ import annotations

import errno
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from results import aside, exclusive, files, schema
from results.schema import Record

RESULT = "result.json"
HISTORY = "history.csv"  # beside it: a row per epoch
MEASURES, PREDICTIONS = "measures.json", "predictions.safetensors"  # beside it, see `predictions`
_TEMPORARY = ".tmp"
_LONGEST = 240  # bytes of a temporary name; file systems allow 255, or a little less
_ATTEMPTS = 8  # to replace a broken result while others do the same


class RecordError(ValueError):
    """A record that cannot be written or read; the message is one line with the path."""


def publish(directory: Path, record: Record) -> bool:
    """Make ``record`` the result of ``directory``, durably; whoever comes first wins.

    Returns False, and changes nothing, when a readable result is already there; a broken one is
    set aside. RecordError when the record cannot be stored as JSON, or the disk refuses.
    """
    target = directory / RESULT
    data = _encode(record, target)
    if read(directory) is not None:
        return False
    for _ in range(_ATTEMPTS):
        if _give(target, data):
            _sync_directory(directory)
            return True
        if read(directory) is not None:
            return False
    raise RecordError(f"{target}: cannot be published: broken results keep appearing there")


def read(directory: Path) -> Record | None:
    """The record of ``directory``; None when there is none, or none that can be understood.

    Moves nothing. RecordError when the disk does not say (permission, stale handle): not being
    allowed to look must never pass for "not done yet".
    """
    return _load(os.path.join(directory, RESULT))  # pathlib takes as long as reading the file


def finish(directory: Path) -> None:
    """Publish the result of which a killed process had only decided that it is one, if any.

    Only where there are no links, see `exclusive`. RecordError where the disk refuses.
    """
    try:
        exclusive.finish(directory / RESULT, _is_broken)
    except OSError as error:
        raise refused(directory / RESULT, "published", error) from error


def problem(directory: Path) -> str:
    """What is wrong with the result of ``directory``, in one line; empty if it can be understood.

    RecordError as `read`.
    """
    try:
        _parsed(directory / RESULT)
    except RecordError:
        raise
    except (files.OddFile, ValueError) as error:
        return why(error)
    return ""


def why(error: Exception) -> str:
    """What an error says without its number and the path: "is a directory, expected a file"."""
    return " ".join(str(getattr(error, "strerror", None) or error).split())


def set_aside(path: Path) -> Path:
    """Rename what is broken to NAME.broken, NAME.broken-2, …, the first free; returns that path."""
    try:
        return aside.move(path)
    except OSError as error:
        raise refused(path, "set aside", error) from error


def write_atomic(path: Path, data: bytes | str | Iterable[bytes]) -> None:
    """Replace ``path`` by ``data``: after any crash it is the old file or the new one, whole.

    Parts of what is too large to hold in memory are written one by one.
    """
    with _temporary(path, data) as temporary:
        try:
            os.replace(temporary, path)
        except OSError as error:
            raise refused(path, "written", error) from error
    _sync_directory(path.parent)


def remove_temporaries(directory: Path) -> int:
    """Delete what killed writers left in ``directory``; only for whoever holds its claim."""
    finish(directory)
    left = list(directory.glob(f".*{_TEMPORARY}"))
    for path in left:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return len(left)


def scan(root: Path) -> list[tuple[Path, Record]]:
    """Every directory under ``root`` with a readable result, and the record, sorted by path."""
    loaded = ((path.parent, _load(path)) for path in _results(root))
    return [(directory, record) for directory, record in loaded if record is not None]


def _results(root: Path) -> list[Path]:
    """The result files under ``root``, sorted."""
    return sorted(directory / RESULT for directory, files in walk(root) if RESULT in files)


def walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every directory under ``root`` with its files; linked directories are entered, each once."""
    seen: set[str] = set()
    for directory, below, names in os.walk(root, onerror=_unlisted, followlinks=True):
        below.sort()
        real = os.path.realpath(directory)
        if real in seen:
            below.clear()
            continue
        seen.add(real)
        yield Path(directory), names


def _unlisted(error: OSError) -> None:
    """A directory that is not there (any more) holds nothing; one that is closed is an error."""
    if not isinstance(error, FileNotFoundError):
        raise refused(Path(error.filename), "listed", error) from error


def _load(path: Path | str) -> Record | None:
    try:
        return _parsed(path)
    except RecordError:
        raise
    except (files.OddFile, ValueError):  # half a file, not UTF-8, not JSON, another format
        return None


def _parsed(path: Path | str) -> Record | None:
    """None where there is no file; OddFile, ValueError for one that cannot be understood."""
    try:
        data = files.read_bytes(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except files.OddFile:
        raise
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ELOOP):  # a socket, a link to itself
            return None
        raise refused(Path(path), "read", error) from error
    return schema.parse(data)


def _is_broken(path: Path) -> bool:
    """Whether there is something that is no readable record."""
    return os.path.lexists(path) and _load(path) is None


def _encode(record: Record, target: Path) -> bytes:
    content = record.model_dump(exclude_unset=True)
    try:
        json.dumps(record.spec, allow_nan=False)  # null would no longer match the run's spec
        text = json.dumps(finite(content), indent=1, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise RecordError(f"{target}: cannot be published: {error}") from error
    # A file name may hold bytes that are no text; their backslash form is a JSON escape too.
    return f"{text}\n".encode("utf-8", "backslashreplace")


def finite(value: Any) -> Any:
    """Plain data with None in place of numbers that are not finite, which JSON cannot hold."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def _temporary(path: Path, data: bytes | str | Iterable[bytes]) -> Iterator[Path]:
    """``data``, on disk, beside ``path`` under a name of its own; gone afterwards.

    The random part keeps apart equal process ids on the hosts that share a file system.
    """
    end = f".{os.getpid()}-{secrets.token_hex(4)}{_TEMPORARY}"
    begin = os.fsencode(path.name)[: _LONGEST - len(end)].decode(errors="ignore")
    temporary = path.with_name(f".{begin}{end}")
    try:
        try:
            text = data.encode() if isinstance(data, str) else data
            _write(temporary, [text] if isinstance(text, bytes) else text)
        except OSError as error:
            raise refused(path, "written", error) from error
        yield temporary
    finally:
        if os.path.lexists(temporary):
            temporary.unlink(missing_ok=True)


def _write(path: Path, parts: Iterable[bytes]) -> None:
    with path.open("xb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())


def _give(target: Path, data: bytes) -> bool:
    """Make a file of ``data`` that is named ``target``; False if a record has that name."""
    with _temporary(target, data) as temporary:
        try:
            exclusive.finish(target, _is_broken)
            return exclusive.give(temporary, target, _is_broken)
        except OSError as error:
            raise refused(target, "published", error) from error


def _sync_directory(directory: Path) -> None:
    try:
        exclusive.sync_directory(directory)
    except OSError as error:
        raise refused(directory, "synced", error) from error


def refused(path: Path, verb: str, error: OSError) -> RecordError:
    return RecordError(f"{path}: cannot be {verb}: {error.strerror or error}")
