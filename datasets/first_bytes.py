"""What a file that cannot be read probably is, from its first bytes."""

from __future__ import annotations

from pathlib import Path

LENGTH = 512
KINDS = (  # first bytes -> what such a file is, and what to do
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: git lfs pull"),
    (b"\x93NUMPY", "a single array (.npy)"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"\x80\x02", "a pickle"),
    (b"\x80\x03", "a pickle"),
    (b"\x80\x04", "a pickle"),
    (b"\x80\x05", "a pickle"),
    (b"MATLAB ", "a MATLAB file (.mat)"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"BZh", "a bzip2 archive: unpack it first"),
    (b"\xfd7zXZ", "an xz archive: unpack it first"),
)
PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml")


def foreign(path: Path) -> str | None:
    """E.g. "a web page"; None where the first bytes tell nothing. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(LENGTH)
    if not head:
        return "empty"
    for start, kind in KINDS:
        if head.startswith(start):
            return kind
    if head[257:262] == b"ustar":
        return "a tar archive: unpack it first"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(PAGES):
        return "a web page: the download went wrong"
    return None
