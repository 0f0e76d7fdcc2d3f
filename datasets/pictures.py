"""Read an image file as 8-bit RGB, whatever it holds, and resize it.

Pixels never change silently. Modes that 8-bit RGB cannot hold are scaled by a stated rule or
refused; README.md has the table. Only raster formats are opened: Pillow runs Ghostscript for a
PostScript file, whatever its name ends in.
"""

from __future__ import annotations

import functools
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin, TiffTags

from .errors import DataError, printable
from .unreadable import cause

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")
TIFF_NAMES = {tag.name: number for number, tag in TiffTags.TAGS_V2.items()}
PLAIN = (
    "1",
    "L",
    "P",
    "RGB",
    "RGBX",
    "CMYK",
    "YCbCr",
    "HSV",
    "LAB",
)  # Pillow's own conversion is right
WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
LONGEST = 100  # times the shorter side
TURNS = {  # EXIF orientation -> what shows the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow's warnings (a large picture, a damaged EXIF block) do not name the file; `inspection` does.
warnings.filterwarnings("ignore", module=r"PIL\.")


def read(path: str | Path, as_shown: bool = True) -> Image.Image:
    """An image file as RGB; of several frames the first.

    as_shown  turned as its EXIF orientation says, and transparency on white; otherwise as
              torchvision's loader reads ImageNet: neither is looked at

    16-bit grey is divided by 257, floats in 0…1 are multiplied by 255, both rounded.
    Raises DataError, which names the file and the cause, if it cannot be read or scaled.
    """
    with opened(path) as picture:
        return converted(picture, as_shown)


@contextmanager
def opened(path: str | Path) -> Iterator[Image.Image]:
    """An image file whose header is read, within which anything Pillow raises names the file."""
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):  # opening a FIFO would wait for a writer
            raise OSError("no regular file")
        with Image.open(path, formats=_formats()) as picture:
            yield picture
    except Exception as error:  # Pillow's plugins raise anything on damaged files
        shown = printable(str(path), most=1000)
        raise DataError(f"{shown}: cannot be read as an image ({cause(path, error)})") from error


@functools.cache
def _formats() -> list[str]:
    """FORMATS as far as this Pillow has them."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def converted(picture: Image.Image, as_shown: bool) -> Image.Image:
    """An open picture as RGB, see `read`. Raises ValueError for modes without a rule."""
    picture.load()
    turn = TURNS.get(orientation(picture)) if as_shown else None
    rgb = _rgb(picture, as_shown)
    return rgb if turn is None else rgb.transpose(turn)


def orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 (as stored) where the file says nothing readable."""
    try:
        return int(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001  (a damaged EXIF block, which no pixel depends on)
        return 1


def differs_from_plain(picture: Image.Image) -> bool:
    """Whether any pixel is not what ``picture.convert("RGB")`` gives, as everything was read once.

    Only pictures that may differ are decoded.
    """
    is_plain = picture.mode in PLAIN and not picture.has_transparency_data
    if is_plain and orientation(picture) == 1:
        return False
    shown, plain = converted(picture, as_shown=True), picture.convert("RGB")
    return plain.size != shown.size or plain.tobytes() != shown.tobytes()


def _rgb(picture: Image.Image, as_shown: bool) -> Image.Image:
    mode = picture.mode
    if mode.startswith("I;16") or mode in ("I", "F"):
        return _scaled(picture, as_shown).convert("RGB")
    if mode not in PLAIN + WITH_ALPHA:
        raise ValueError(f"mode {mode}: save it as RGB")
    if _tiff(picture, "SampleFormat") == 2:
        raise ValueError(f"mode {mode} with signed samples: save it with unsigned ones")
    if as_shown and picture.has_transparency_data:
        layer = picture.convert("RGBA")
        page = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(page, layer).convert("RGB")
    return picture.convert("RGB")


# ---- more than 8 bits ----------------------------------------------------------------------------


def _scaled(picture: Image.Image, as_shown: bool) -> Image.Image:
    """A grey picture of 16 bits or floats as 8 bits (mode L)."""
    values = np.asarray(picture)
    grey = np.rint(values.astype(np.float64) * (255 / _white(picture, values))).astype(np.uint8)
    if _tiff(picture, "PhotometricInterpretation") == 0:  # white is zero
        grey = 255 - grey
    if as_shown and "transparency" in picture.info:  # the value that a PNG declares transparent
        grey = np.where(values == picture.info["transparency"], 255, grey).astype(np.uint8)
    return Image.fromarray(grey)


def _white(picture: Image.Image, values: np.ndarray) -> int:
    """The value that stands for white. Raises ValueError where the mode does not tell."""
    if picture.mode.startswith("I;16"):
        bits = _tiff(picture, "BitsPerSample")
        return 2 ** (bits or 16) - 1  # Pillow keeps the values of 12-bit TIFF
    if picture.mode == "I" and picture.format in ("PPM", "PNG"):
        return 2**16 - 1  # Pillow scales PPM to 16 bits whatever its greatest value
    if picture.mode == "I":
        raise ValueError("mode I, 32-bit or signed integers: their range is unknown; save 16 bits")
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # also for NaN
        raise ValueError(f"mode F, floats: expected 0…1, found {low:g}…{high:g}")
    return 1


def _tiff(picture: Image.Image, name: str) -> int | None:
    """The first value of a TIFF tag; None for other formats and without it."""
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return None
    value = picture.tag_v2.get(TIFF_NAMES[name])
    return int(value[0] if isinstance(value, tuple) else value) if value is not None else None


# ---- size ----------------------------------------------------------------------------------------


def fitted(picture: Image.Image, size: int, margin: int = 0) -> Image.Image:
    """The central ``size``² pixels, after resizing the shorter side to ``size`` + ``margin``.

    Interpolates and rounds like torchvision's ``Resize`` and ``CenterCrop``.
    """
    goal = size + margin
    picture = _not_too_long(picture)
    width, height = picture.size
    short = min(width, height)
    if short != goal:
        # One side becomes exactly `goal`; the other is rounded down, as in torchvision.
        width, height = (goal * side // short for side in (width, height))
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    # round() takes halves to the even neighbour, and torchvision uses it too.
    left, top = (round((side - size) / 2) for side in (width, height))
    return picture.crop((left, top, left + size, top + size))


def _not_too_long(picture: Image.Image) -> Image.Image:
    """The central part of a picture over 100 times as long as wide, whose sides cost gigabytes."""
    width, height = picture.size
    longest = LONGEST * min(width, height)
    left, top = (max(0, side - longest) // 2 for side in (width, height))
    if not left and not top:
        return picture
    return picture.crop((left, top, left + min(width, longest), top + min(height, longest)))


def pixels(picture: Image.Image) -> np.ndarray:
    """The pixels (3, H, W) uint8."""
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))
