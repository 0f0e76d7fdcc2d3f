"""Small image sets made of real files, for the tests."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("n01443537", "n02124075", "n04067472")
DATA = Path(os.environ.get("KD_DATA", Path(__file__).parents[2] / "data"))


def picture(number, width, height, mode="RGB"):
    """A gradient with some noise, different for every number."""
    noise = np.random.default_rng(number).integers(0, 60, (height, width, 3))
    y, x = np.mgrid[:height, :width]
    ramps = np.stack((x * 3 + number * 11, y * 3 + number * 5, x + y + number), axis=-1)
    return Image.fromarray(((ramps % 190) + noise).astype(np.uint8)).convert(mode)


def save(path, image, kind="JPEG"):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, kind)


def imagenet(root, train=8, test=3):
    """ROOT/train/<wnid>/*.JPEG and ROOT/val, of all kinds that ImageNet has."""
    for part, count in (("train", train), ("val", test)):
        for c, wnid in enumerate(CLASSES):
            for k in range(count):
                number = 100 * c + k + (50 if part == "val" else 0)
                mode = {0: "L", 1: "CMYK"}.get(k, "RGB") if c == 0 else "RGB"
                kind = "PNG" if (c, k) == (1, 0) else "JPEG"  # ImageNet has one PNG named JPEG
                image = picture(number, 40 + 3 * k, 56 - 2 * k + c, mode)
                save(root / part / wnid / f"{wnid}_{k}.JPEG", image, kind)
    return root


def tiny_imagenet(root, raw, train=4, test=2, size=64):
    """ROOT as it is distributed (``raw``), or with class folders in both parts."""
    lines = []
    for c, wnid in enumerate(CLASSES):
        for k in range(train):
            folder = root / "train" / wnid / ("images" if raw else ".")
            mode = "L" if k == 0 else "RGB"
            save(folder / f"{wnid}_{k}.JPEG", picture(100 * c + k, size, size, mode))
        for k in range(test):
            number = k * len(CLASSES) + c
            image = picture(1000 + number, size, size)
            if raw:
                save(root / "val" / "images" / f"val_{number}.JPEG", image)
                lines.append(f"val_{number}.JPEG\t{wnid}\t0\t0\t62\t62")
            else:
                save(root / "val" / wnid / f"val_{number}.JPEG", image)
    if raw:
        (root / "val" / "val_annotations.txt").write_text("\n".join(sorted(lines)) + "\n")
        (root / "wnids.txt").write_text("\n".join(CLASSES) + "\n")
    return root
