"""Damaged image files: a picture, or one line that names the file; no harm, no hang."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from datasets import DataError
from datasets.pictures import read
from tests.datasets import image_files
from tests.fuzz.guard import harmless

SECONDS = 30.0  # a header may say 178 million pixels, which take a few seconds on a busy machine
KINDS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "EPS")


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    more = {"exif": exif} if kind in ("JPEG", "PNG", "TIFF", "WEBP") else {}
    image_files.picture(1, 24, 20).save(buffer, kind, **more)
    return buffer.getvalue()


WHOLE = {kind: encoded(kind) for kind in KINDS}


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A file of some format with bytes changed, cut out or put in, most of them in its header."""
    content = bytearray(WHOLE[draw(st.sampled_from(KINDS))])
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, min(len(content), draw(st.sampled_from([64, 4096]))) - 1))
        change = draw(st.sampled_from(["set", "cut", "put"]))
        if change == "set":
            content[place] = draw(st.integers(0, 255))
        elif change == "put":
            content[place:place] = draw(st.binary(min_size=1, max_size=8))
        elif len(content) > 16:
            del content[place : place + draw(st.integers(1, 8))]
    return bytes(content)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@given(damaged())
def test_a_damaged_file_is_a_picture_or_one_line(tmp_path_factory, content: bytes) -> None:
    path = folder(tmp_path_factory) / "x.jpg"
    path.write_bytes(content)
    with harmless(seconds=SECONDS):
        try:
            found = read(path)
        except DataError as error:
            assert str(error).startswith(f"{path}: cannot be read as an image (")
            assert str(error).isprintable()
        else:
            assert found.mode == "RGB"


_FOLDERS: list[Path] = []


def folder(factory: pytest.TempPathFactory) -> Path:
    """One for all examples."""
    if not _FOLDERS:
        _FOLDERS.append(factory.mktemp("pictures"))
    return _FOLDERS[0]
