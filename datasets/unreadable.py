"""Why an image file cannot be read, in words that say what to do."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from PIL import Image

from .errors import DataError, printable
from .first_bytes import foreign

NO_RASTER = (  # first bytes -> formats that are no pixels, or that are not read
    (b"%!PS", "PostScript, a program and no raster format"),
    (b"\xc5\xd0\xd3\xc6", "PostScript, a program and no raster format"),
    (b"%PDF", "a PDF, no raster format"),
    (b"<svg", "SVG, no raster format"),
    (b"PK\x03\x04", "a zip archive: unpack it first"),
    (b"8BPS", "a Photoshop file: export it as PNG"),
    (b"SIMPLE  =", "a FITS file: save it as 16-bit PNG or TIFF"),
)
HEIF = (b"heic", b"heix", b"mif1", b"msf1", b"hevc")
CUT_OFF = ("truncated", "unexpected end", "not enough", "could not create decoder object")
ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND"}  # JPEG and PNG: start -> end
TAIL = 64  # bytes at the end of a file among which the marker is
MOST = 10  # files that one message lists


def cause(path: str | Path, error: Exception) -> str:
    """What is wrong with a file that raised ``error``, e.g. "empty" or "cut off: …"."""
    if isinstance(error, DataError):
        return str(error)
    if isinstance(error, Image.DecompressionBombError):
        return f"a gigantic header: {_text(error)}"
    try:
        return _kind(Path(path)) or _said(path, error)
    except OSError as unreadable:
        return _text(unreadable)


def _kind(path: Path) -> str | None:
    """What a file is, if it is no image. Raises OSError."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        return "a folder" if stat.S_ISDIR(mode) else "no regular file but a pipe, socket or device"
    kind = foreign(path)
    if kind and not kind.endswith(" image"):
        return kind
    with path.open("rb") as file:
        head = file.read(64)
    for start, name in NO_RASTER:
        if head.startswith(start):
            return name
    if head[4:8] == b"ftyp" and head[8:12] in HEIF:
        return "HEIC, as phones save photos: convert it to JPEG or PNG"
    return "zeros: its content was never written" if not head.strip(b"\0") else None


def is_cut_off(path: str | Path) -> bool:
    """Whether a JPEG or PNG lacks the marker of its end; some that can be read do, too."""
    with open(path, "rb") as file:
        start = file.read(2)
        file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
        return start in ENDS and ENDS[start] not in file.read()


def _said(path: str | Path, error: Exception) -> str:
    """Pillow's words; it names every file again that it cannot identify."""
    is_unknown, text = isinstance(error, Image.UnidentifiedImageError), _text(error)
    if is_cut_off(path) or any(word in text.lower() for word in CUT_OFF):
        return "cut off in its header" if is_unknown else f"cut off: {text}"
    return "not an image in a format that is read, or its header is damaged" if is_unknown else text


def _text(error: Exception) -> str:
    first = str(error).split("\n", maxsplit=1)[0]
    return printable(first) or type(error).__name__


def together(name: str, files: int, problems: list[str]) -> DataError:
    """One error about all ``problems`` found in so many files of a set."""
    more = f"; and {len(problems) - MOST} more" if len(problems) > MOST else ""
    count = f"{len(problems)} of {files} files"
    hint = "doctor with --images lists everything that is odd about the files"
    return DataError(f"{name}: {count}: {'; '.join(problems[:MOST])}{more} ({hint})")
