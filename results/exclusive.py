"""Give a complete file its final name, unless that name is taken: once, whoever else tries.

The first choice is a hard link, which fails where the name is taken. File systems without links
(vfat, exFAT, many of FUSE and SMB) refuse it; there the name is given in two steps that need only
what POSIX says of ``rename``: it is atomic, and no directory replaces one that has files in it.

1. The file is moved into a directory of its own, which is renamed to ``.NAME.decided``. Of several
   processes one succeeds: its file is *decided*, and no other can be while it is in there.
2. The decided file is moved to the final name, or deleted if that name is taken.

Everybody who finds a decided file does step 2 for it, so a process that is killed holds nobody up.
This is safe however late it happens: the file in that directory has a name that is used once, thus
a second move of it fails, and while it is there nothing else can get the final name. Hence the
final name is never given twice and never replaced, and readers, who look only there, see whole
files. A crash before step 1 leaves a temporary file, one between the steps a decided file, which
whoever comes next (`finish`) publishes.

An exclusively created marker beside a rename of the file itself would not do: of a process that
dies between the two nobody could tell whether it is only slow. ``RENAME_NOREPLACE`` alone would not
do either: where there are no links it is often missing, and Linux's SMB client sends it to the
server as a plain rename. The last move uses it where it is there, against a process elsewhere that
can link. All who publish in a directory must see the same of it; NFS, which caches, has links.

A final name that is taken by something *broken* is given in these two steps everywhere. To move the
broken file away first would not do: whoever saw it late could move a good one that has just taken
its place. As long as a file is decided only its step 2 changes what has the final name, so a name
that is broken then still is when the decided file replaces it, or the move fails.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from results import aside
from results.aside import NO_LINKS

_OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST)
_ATTEMPTS = 100  # to decide: every failed one means that another process has gone on
IsBroken = Callable[[Path], bool]  # whether what has the name may be replaced
_AT_FDCWD, _RENAME_NOREPLACE = -100, 1  # of Linux


def give(temporary: Path, target: Path, is_broken: IsBroken) -> bool:
    """Give ``temporary``, which is beside ``target``, that name; False if the name is taken.

    What has the name, but is broken, is replaced; it stays beside it (see `aside`). After True or
    False the temporary file may be there or not. OSError where the disk refuses.
    """
    try:
        if _link(temporary, target):
            return True
        if not is_broken(target):
            return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
    return _give_by_directory(temporary, target, is_broken)


def finish(target: Path, is_broken: IsBroken) -> None:
    """Give ``target`` to the file that is decided, if a process was killed before it could."""
    decided = _decided(target)
    try:
        names = _listed(decided)
    except FileNotFoundError:
        return
    for name in names:
        _move(decided / name, target, is_broken)
    with contextlib.suppress(OSError):  # it has a file again, or another process was faster
        decided.rmdir()


def why_no_links(directory: Path) -> str:
    """Try what `give` does in ``directory``: "" if links work, else the reason why they do not.

    Nothing stays there, not even a new time. OSError where neither way works, or nothing can be
    written.
    """
    before = os.stat(directory)
    place = Path(tempfile.mkdtemp(prefix=".probe-", dir=directory))
    try:
        try:
            _link(_file(place / "one"), place / "linked")
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            _require_directories(place)
            return error.strerror or str(error)
        return ""
    finally:
        shutil.rmtree(place, ignore_errors=True)
        with contextlib.suppress(OSError):  # a directory of another user
            os.utime(directory, ns=(before.st_atime_ns, before.st_mtime_ns))


def sync_directory(directory: Path) -> None:
    """Make a new name durable, where the file system offers that for directories."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _link(temporary: Path, target: Path) -> bool:
    """Link; False if the name is taken.

    Over NFS the answer can be lost and the repeated request fail although the first one linked,
    so a failure is believed only when both names are not the same file (open(2), O_EXCL).
    """
    try:
        os.link(temporary, target)
    except OSError as error:
        if _are_same(temporary, target):
            return True
        if isinstance(error, FileExistsError):
            return False
        raise
    return True


def _are_same(temporary: Path, target: Path) -> bool:
    try:
        mine = os.stat(temporary)
        return mine.st_nlink == 2 or os.path.samestat(mine, os.lstat(target))
    except FileNotFoundError:
        return False


# ---- without links -------------------------------------------------------------------------------


def _decided(target: Path) -> Path:
    return target.with_name(f".{target.name}.decided")


def _listed(decided: Path) -> list[str]:
    """The files in a directory; of a link to one, which is not ours, not what it leads to."""
    if stat.S_ISDIR(os.lstat(decided).st_mode):
        return os.listdir(decided)
    with contextlib.suppress(OSError):  # another process was faster
        decided.unlink()
    return []


def _give_by_directory(temporary: Path, target: Path, is_broken: IsBroken) -> bool:
    own = temporary.with_name(f"{temporary.name}.d.tmp")
    own.mkdir()
    try:
        os.rename(temporary, own / temporary.name)
        sync_directory(own)
        with (own / temporary.name).open("rb") as file:  # open: its inode cannot be used again
            return _decide_and_move(file, own, target, is_broken)
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _decide_and_move(file: BinaryIO, own: Path, target: Path, is_broken: IsBroken) -> bool:
    decided, name = _decided(target), Path(file.name).name
    for _ in range(_ATTEMPTS):
        if os.path.lexists(target) and not is_broken(target):
            return False
        try:
            os.rename(own, decided)
        except OSError as error:
            if error.errno not in _OCCUPIED and not os.path.lexists(decided):
                raise
            last = error  # where it has another number, another process's file shows what it is
            finish(target, is_broken)
            continue
        moved = _move(decided / name, target, is_broken)
        with contextlib.suppress(OSError):  # another process was faster
            decided.rmdir()
        return _is(file, target) if moved is None else moved
    raise last


def _move(decided: Path, target: Path, is_broken: IsBroken) -> bool | None:
    """Step 2: True if ``decided`` got the name, False if it is taken, None if others did this."""
    try:
        if is_broken(target):
            if not target.is_dir() or target.is_symlink():
                with aside.kept(target):
                    os.replace(decided, target)
                return True
            with contextlib.suppress(NotADirectoryError, IsADirectoryError):  # it is a file now
                aside.move(target, is_folder=True)
        if not os.path.lexists(target):
            with contextlib.suppress(FileExistsError):  # somebody linked
                _rename_new(decided, target)
                return True
        decided.unlink()
    except FileNotFoundError:
        return None
    return False


def _is(file: BinaryIO, target: Path) -> bool:
    """Whether the open file is what has the name now."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.lstat(target))
    except OSError:
        return False


def _rename_new(source: Path, target: Path) -> None:
    """Rename; FileExistsError if there is such a name, where the system can tell."""
    import ctypes

    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is not None:
        names = os.fsencode(source), os.fsencode(target)
        if call(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_NOREPLACE) == 0:
            return
        if ctypes.get_errno() == errno.EEXIST:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    os.rename(source, target)


def _require_directories(place: Path) -> None:
    """OSError if a directory that has a file in it can be replaced by another one."""
    for name in ("decided", "other"):
        (place / name).mkdir()
        _file(place / name / name)
    try:
        os.rename(place / "other", place / "decided")
    except OSError:
        os.rename(place / "decided", place / "free")  # what has to work
    else:
        raise OSError(errno.EOPNOTSUPP, "no hard links, and a directory replaces one with files")


def _file(path: Path) -> Path:
    """A new file with a few bytes, which show a full disk or quota."""
    with path.open("xb") as file:
        file.write(b"probe\n")
        file.flush()
        os.fsync(file.fileno())
    return path
