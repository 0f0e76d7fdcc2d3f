"""The identity of a file of weights."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def sha256(path: str | os.PathLike[str]) -> str:
    """The file's SHA-256 in hexadecimal: it identifies given weights independently of their path.

    Raises ModelError if there is no such file.
    """
    digest, path = hashlib.sha256(), Path(path)
    if not path.is_file():
        from .reading import require_file  # imports torch; says what is there instead

        require_file(path)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
