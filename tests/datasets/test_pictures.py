"""What an image file's pixels become: every mode is scaled by its rule, or refused."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from datasets import DataError, pictures
from datasets.pictures import FORMATS, differs_from_plain, fitted, opened, orientation, read
from tests.datasets import image_files

RAMP = np.tile(np.arange(0, 240, 6, dtype=np.uint8)[:, None], (1, 60))  # 40 rows, 60 columns
COLORS = Image.fromarray(np.stack([RAMP, RAMP // 2, 255 - RAMP], axis=-1))
BEHIND = np.where(RAMP > 120, 255, 0).astype(np.uint8)  # alpha: the upper half is transparent


def pixels(path, **how):
    return np.asarray(read(path, **how))


def is_grey(image, expected=RAMP):
    return np.array_equal(image, np.stack([expected] * 3, axis=-1))


def tiff(bits, data, photometric=1, sample_format=1):
    """A grey TIFF of 60 × 40, of kinds that Pillow reads and does not write."""
    tags = [(256, 60), (257, 40), (258, bits), (259, 1), (262, photometric), (273, 0), (277, 1)]
    tags += [(278, 40), (279, len(data)), (339, sample_format)]
    start = 8 + 2 + 12 * len(tags) + 4
    found = b"II*\0" + struct.pack("<IH", 8, len(tags))
    for tag, value in tags:
        found += struct.pack("<HHII", tag, 4, 1, start if tag == 273 else value)
    return found + struct.pack("<I", 0) + data


def packed(values, bits):
    text = "".join(f"{value:0{bits}b}" for value in values.ravel().tolist())
    return int(text, 2).to_bytes(len(text) // 8, "big")


# ---- more than eight bits ------------------------------------------------------------------------

WIDE = RAMP.astype(np.uint16) * 257
DEEP = {
    "16.png": lambda file: Image.fromarray(WIDE).save(file, "PNG"),
    "16.tif": lambda file: Image.fromarray(WIDE).save(file, "TIFF"),
    "16b.tif": lambda file: Image.fromarray(WIDE.astype(">u2")).save(file, "TIFF"),
    "16.jp2": lambda file: Image.fromarray(WIDE).save(file, "JPEG2000"),
    "16.pgm": lambda file: file.write(b"P5 60 40 65535\n" + WIDE.astype(">u2").tobytes()),
    "10.pgm": lambda file: file.write(
        b"P5 60 40 1020\n" + (RAMP.astype(np.uint16) * 4).astype(">u2").tobytes()
    ),
    "12.tif": lambda file: file.write(
        tiff(12, packed(np.rint(RAMP * (4095 / 255)).astype(int), 12))
    ),
    "inverted.tif": lambda file: file.write(
        tiff(16, (65535 - WIDE).astype("<u2").tobytes(), photometric=0)
    ),
    "float.tif": lambda file: Image.fromarray(RAMP / np.float32(255)).save(file, "TIFF"),
}


@pytest.mark.parametrize("kind", DEEP)
@pytest.mark.parametrize("as_shown", [True, False])
def test_deep_grey_is_scaled_to_eight_bits(tmp_path, kind, as_shown):
    with (tmp_path / kind).open("wb") as file:
        DEEP[kind](file)
    assert is_grey(pixels(tmp_path / kind, as_shown=as_shown))
    with opened(tmp_path / kind) as picture:
        assert differs_from_plain(picture)


def test_every_sixteen_bit_value_is_rounded(tmp_path):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(values).save(tmp_path / "x.png")
    rounded = (values.astype(int) + 128) // 257
    assert is_grey(pixels(tmp_path / "x.png"), rounded.astype(np.uint8))


def test_a_transparent_value_of_sixteen_bits(tmp_path):
    Image.fromarray(WIDE).save(tmp_path / "x.png", transparency=0)
    assert is_grey(pixels(tmp_path / "x.png"), np.where(RAMP == 0, 255, RAMP).astype(np.uint8))
    assert is_grey(pixels(tmp_path / "x.png", as_shown=False))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (tiff(32, RAMP.astype("<u4").tobytes()), "mode I, 32-bit or signed integers"),
        (tiff(16, RAMP.astype("<i2").tobytes(), sample_format=2), "mode I, 32-bit or signed"),
        (tiff(8, RAMP.tobytes(), sample_format=2), "mode L with signed samples"),
        (tiff(32, RAMP.astype("<f4").tobytes(), sample_format=3), r"mode F, floats: .* 0…234"),
        (tiff(32, (RAMP - np.float32("nan")).tobytes(), sample_format=3), "mode F.* nan"),
    ],
)
def test_values_of_unknown_range_are_refused(tmp_path, content, words):
    (tmp_path / "x.tif").write_bytes(content)
    with pytest.raises(DataError, match=rf"x\.tif: cannot be read as an image \({words}"):
        read(tmp_path / "x.tif")


# ---- colors, transparency, frames, orientation ---------------------------------------------------


def save(path, image, **options):
    image.save(path, **options)
    return path


def test_eight_bit_modes_are_converted_as_ever(tmp_path):
    """So the numbers of sets of ordinary files stay."""
    lab = ImageCms.profileToProfile(
        COLORS,
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    opaque = COLORS.copy()
    opaque.putalpha(255)
    paths = [
        save(tmp_path / "1.png", COLORS.convert("1")),
        save(tmp_path / "l.jpg", COLORS.convert("L")),
        save(tmp_path / "p.png", COLORS.quantize(16)),
        save(tmp_path / "cmyk.jpg", COLORS.convert("CMYK")),  # stored inverted, as Adobe does
        save(tmp_path / "ycc.tif", COLORS.convert("YCbCr")),
        save(tmp_path / "lab.tif", lab),
        save(tmp_path / "opaque.png", opaque),
        save(tmp_path / "profile.png", COLORS, icc_profile=profile),
        save(tmp_path / "dot.png", COLORS.resize((1, 1))),
    ]
    for path in paths:
        plain = np.asarray(Image.open(path).convert("RGB"))
        assert np.array_equal(pixels(path), plain), path
        assert np.array_equal(pixels(path, as_shown=False), plain), path
        with opened(path) as picture:
            assert not differs_from_plain(picture), path
    error = np.abs(pixels(tmp_path / "cmyk.jpg").astype(int) - np.asarray(COLORS))
    assert error.mean() < 3


def test_transparency_is_shown_on_white(tmp_path):
    clear = COLORS.copy()
    clear.putalpha(Image.fromarray(BEHIND))
    on_white = np.where(BEHIND[:, :, None] == 0, 255, np.asarray(COLORS))
    for name in ("x.png", "x.tif", "x.webp"):
        path = save(tmp_path / name, clear, **({"lossless": True} if name == "x.webp" else {}))
        assert np.array_equal(pixels(path), on_white)
    plain = np.asarray(Image.open(tmp_path / "x.png").convert("RGB"))
    assert np.array_equal(pixels(tmp_path / "x.png", as_shown=False), plain)
    grey = save(tmp_path / "la.png", clear.convert("LA"))
    assert (pixels(grey)[BEHIND == 0] == 255).all()
    key = save(tmp_path / "key.png", Image.fromarray(RAMP), transparency=0)
    assert is_grey(pixels(key), np.where(RAMP == 0, 255, RAMP).astype(np.uint8))
    palette = COLORS.quantize(16)
    index = np.asarray(palette)
    table = save(tmp_path / "p.png", palette, transparency=bytes([0] + [255] * 15))
    assert (pixels(table)[index == 0] == 255).all()
    half = Image.new("RGBA", (2, 2), (0, 0, 0, 127))
    assert pixels(save(tmp_path / "half.png", half))[0, 0].tolist() == [128] * 3


def test_the_first_of_several_frames_is_read(tmp_path):
    more = {"save_all": True, "append_images": [COLORS.rotate(180)]}
    for name, kind in (("x.gif", "GIF"), ("x.png", "PNG"), ("x.tif", "TIFF"), ("x.webp", "WEBP")):
        path = save(tmp_path / name, COLORS, format=kind, **more)
        assert np.abs(pixels(path).astype(int) - np.asarray(COLORS)).mean() < 4
    path = save(tmp_path / "x.jpg", COLORS, format="MPO", **more)  # two views of a camera
    assert np.abs(pixels(path).astype(int) - np.asarray(COLORS)).mean() < 4


@pytest.mark.parametrize("turn", range(1, 9))
def test_an_exif_orientation_turns_the_picture(tmp_path, turn):
    shown = image_files.picture(1, 40, 60)
    back = pictures.TURNS.get({6: 8, 8: 6}.get(turn, turn))
    stored = shown if back is None else shown.transpose(back)
    exif = Image.Exif()
    exif[0x0112] = turn
    path = save(tmp_path / "x.png", stored, exif=exif)
    assert np.array_equal(pixels(path), np.asarray(shown))
    assert np.array_equal(pixels(path, as_shown=False), np.asarray(stored))
    with opened(path) as picture:
        found = orientation(picture), differs_from_plain(picture)
    assert found == (turn, turn != 1)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_turns_nothing(tmp_path):
    buffer = io.BytesIO()
    COLORS.save(buffer, "JPEG")
    jpeg = buffer.getvalue()
    broken = b"\xff\xe1\x00\x10Exif\0\0MM\0\x2a\xff\xff\xff\xff"
    (tmp_path / "x.jpg").write_bytes(jpeg[:2] + broken + jpeg[2:])
    (tmp_path / "y.jpg").write_bytes(jpeg)
    assert np.array_equal(pixels(tmp_path / "x.jpg"), pixels(tmp_path / "y.jpg"))


def test_a_very_long_picture_is_cropped_before_it_is_enlarged():
    for size in ((1, 10_000), (10_000, 1)):
        assert fitted(Image.new("RGB", size, "red"), 224, 32).size == (224, 224)
    middle = Image.fromarray(np.arange(10_000, dtype=np.uint16)[None].astype(np.uint8))
    assert abs(int(np.asarray(fitted(middle, 8))[4, 4]) - 5_000 % 256) < 3


# ---- what cannot be read -------------------------------------------------------------------------


def encoded(kind, size=(40, 40)):
    buffer = io.BytesIO()
    image_files.picture(3, *size).save(buffer, kind)
    return buffer.getvalue()


def chunk(name, data, good=True):
    check = zlib.crc32(name + data) ^ (0 if good else 1)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)


def header(width, height):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


PNG, JPEG, TIFF = encoded("PNG"), encoded("JPEG"), encoded("TIFF")
COMPRESSION = TIFF.index(struct.pack("<HHI", 259, 3, 1))
DAMAGED = {
    "cut.jpg": (JPEG[: len(JPEG) // 2], "cut off"),
    "cut_in_header.jpg": (JPEG[:300], "cut off"),
    "cut.webp": (encoded("WEBP")[:200], "cut off"),
    "cut.bmp": (encoded("BMP")[:100], "cut off"),
    "cut.ppm": (b"P6\n40 40\n255\n" + b"\0" * 100, "cut off"),
    "cut.png": (PNG[:400], "cut off"),
    "cut.tif": (TIFF[: len(TIFF) // 2], ""),
    "compression.tif": (
        TIFF[:COMPRESSION] + struct.pack("<HHIHH", 259, 3, 1, 34999, 0) + TIFF[COMPRESSION + 12 :],
        "",
    ),
    "second.png": (PNG[:33] + chunk(b"IHDR", b"\0\0\0\x28") + PNG[33:], ""),
    "checksum.png": (PNG[:33] + chunk(b"tEXt", b"a\0b", good=False) + PNG[33:], ""),
    "data.png": (PNG[:60] + b"\0" * 200 + PNG[260:], ""),
    "lfs.jpg": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
    "page.jpg": (b"\n<!DOCTYPE html><html>not found</html>", "a web page"),
    "empty.png": (b"", "empty"),
    "zeros.jpg": (bytes(3000), "zeros: its content was never written"),
    "bomb.png": (PNG[:8] + header(40_000, 40_000) + PNG[33:], "a gigantic header"),
    "none.png": (PNG[:8] + header(0, 0) + PNG[33:], "not an image in a format that is read"),
    "heic.jpg": (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC"),
    "pdf.jpg": (b"%PDF-1.7\n", "a PDF, no raster format"),
    "svg.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG, no raster format"),
    "gz.png": (b"\x1f\x8b\x08" + bytes(30), "a gzip archive"),
    "text.jpg": (b"hello", "not an image in a format that is read"),
    "line\nbreak\x1b.jpg": (b"hello", "not an image in a format that is read"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_whatever_pillow_raises_the_file_and_the_cause_are_named(tmp_path, name):
    content, words = DAMAGED[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as raised:
        read(tmp_path / name)
    message = str(raised.value)
    shown = name.replace("\n", "\\n").replace("\x1b", "\\x1b")
    assert message.startswith(f"{tmp_path}/{shown}: cannot be read as an image ({words}")
    assert message.isprintable()
    assert "MPO" not in message


def test_what_is_no_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")  # to open it would wait for a writer
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to("nowhere")
    for name, words in (
        ("pipe.jpg", "no regular file"),
        ("folder.jpg", "a folder"),
        ("link.jpg", ".*No such file"),
    ):
        with pytest.raises(DataError, match=rf"{name}: cannot be read as an image \({words}"):
            read(tmp_path / name)


@pytest.mark.parametrize("error", [struct.error("x"), SyntaxError(), MemoryError(), OverflowError])
def test_errors_of_any_type_name_the_file(tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(Image.Image, "convert", fail)
    path = save(tmp_path / "x.png", COLORS)
    with pytest.raises(DataError, match=r"x\.png: cannot be read as an image \(\w+\)"):
        read(path)


def test_postscript_starts_no_program(tmp_path, monkeypatch):
    """Pillow goes by content, and would run Ghostscript on it."""

    def start(*arguments, **_):
        raise AssertionError(f"started {arguments}")

    monkeypatch.setattr(subprocess, "check_call", start)
    monkeypatch.setattr(subprocess, "Popen", start)
    (tmp_path / "x.jpg").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n%%EOF\n"
    )
    with pytest.raises(DataError, match=r"x\.jpg: .*\(PostScript, a program and no raster format"):
        read(tmp_path / "x.jpg")
    assert not {"EPS", "PDF", "WMF", "FITS", "GRIB", "HDF5", "BUFR"} & set(FORMATS)
