"""What a file is that is no checkpoint, told by its first bytes, and what to do about it."""

from __future__ import annotations

import codecs
import tarfile
import zipfile
from pathlib import Path

LFS = b"version https://git-lfs.github.com/spec/"
UNPACK = "unpack it and give the file inside"
# First bytes -> what the file is, and what helps.
MAGIC = (
    (LFS, "a Git LFS pointer, not the file itself; run `git lfs pull` where it was cloned"),
    (b"\x1f\x8b", "compressed with gzip; unpack it: gunzip -k FILE"),
    (b"BZh", "compressed with bzip2; unpack it: bunzip2 -k FILE"),
    (b"\xfd7zXZ\0", "compressed with xz; unpack it: unxz -k FILE"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd; unpack it: unzstd FILE"),
    (b"7z\xbc\xaf\x27\x1c", f"a 7z archive; {UNPACK}"),
    (b"Rar!", f"a RAR archive; {UNPACK}"),
    (b"\x89HDF", "an HDF5 file (Keras, MATLAB); expected weights of PyTorch"),
    (b"\x93NUMPY", "a NumPy array; expected weights of PyTorch"),
    (b"GGUF", "a GGUF file of a language model; expected weights of PyTorch"),
    (b"%PDF", "a PDF document, not weights"),
    (b"\x89PNG", "a picture, not weights"),
    (b"\xff\xd8\xff", "a picture, not weights"),
)
PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head")
AGAIN = "download it again"
MERGE = "merge it: python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER OUT.pth"
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")
SHOWN = 60  # characters of a text


def named(path: Path) -> str | None:
    """What the file ``path`` is, if it is certainly no checkpoint; None if it may be one."""
    with path.open("rb") as file:
        head = file.read(4096)
        file.seek(-1 if head else 0, 2)
        last = file.read()
    if not head:
        return f"empty: 0 bytes; {AGAIN}"
    for magic, meaning in MAGIC:
        if head.startswith(magic):
            return meaning
    if not head.strip(b"\0"):
        return f"corrupt: its first {len(head):,} bytes are zero (unfinished download); {AGAIN}"
    text = head.lstrip().lower()
    if text.startswith(PAGES):
        return f"a web page, not weights (a login, or an error of the server); {AGAIN}"
    if text.startswith(b"{") and b'"weight_map"' in head:
        return "the index of weights in several files; expected one file with all of them"
    if text.startswith((b"{", b"[")) and not _is_safetensors(head):
        return f"JSON text, not weights: {_shown(head)}; {AGAIN}"
    if head[257:262] == b"ustar" and tarfile.is_tarfile(path):
        return f"a tar archive; {UNPACK}"
    if _is_text(head) and last != b".":  # which ends a pickle; protocol 0 is text, too
        return f"text, not weights: {_shown(head)}"
    return _archive(path) if head.startswith(b"PK\x03\x04") else None


def no_file(path: Path) -> str:
    """What is at ``path``, where no file is; for a folder of a known kind, what to give instead."""
    try:
        inside = sorted(one.name for one in path.iterdir()) if path.is_dir() else []
    except OSError as error:
        return f"is not a file but a folder that cannot be read: {error.strerror}"
    if not path.is_dir():
        return "is not a file" if path.exists() else "does not exist"
    if any(name.endswith(".distcp") for name in inside):
        return f"is not a file but a folder of torch.distributed; {MERGE}"
    if any(name.endswith(".index.json") for name in inside):
        return "is not a file but a folder of weights in several files; expected one with all"
    weights = [name for name in inside if name.lower().endswith(SUFFIXES)]
    shown = ", ".join(repr(name)[:SHOWN] for name in weights[:3]) or "no weights"
    return f"is not a file but a folder; it holds {shown}" + "; give the file" * bool(weights)


def _is_safetensors(head: bytes) -> bool:
    """Eight bytes of a length that is not plausible as text, then the header."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 40


def _is_text(head: bytes) -> bool:
    """Whether the first bytes are UTF-8 without control characters; a last letter may be cut."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return all(letter.isprintable() or letter.isspace() for letter in text.removeprefix("\ufeff"))


def _shown(head: bytes) -> str:
    text = " ".join(head.decode("utf-8", "replace").split())
    return repr(text[:SHOWN] + "…" * (len(text) > SHOWN))


def _archive(path: Path) -> str | None:
    """A zip archive: torch.save writes them, too, with a member data.pkl."""
    if not zipfile.is_zipfile(path):
        return f"cut off after {path.stat().st_size:,} bytes; {AGAIN}"
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError):
        return None  # torch says what is wrong with it
    if any(name.endswith(("/data.pkl", "/constants.pkl")) for name in names):
        return None
    inside = ", ".join(repr(name)[:SHOWN] for name in names[:2])
    return f"a zip archive with {inside or 'nothing'} inside; {UNPACK}"
