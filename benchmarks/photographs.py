"""The labelled ImageNet photographs that the foolbox wheel carries (`pip download --no-deps -d wheels foolbox`)."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def photographs(wheels: Path) -> Iterator[Image.Image]:
    """In the order of their names; from the wheel that `pip download` put into the folder."""
    found = sorted(wheels.glob("foolbox-*.whl"))
    if not found:
        raise SystemExit(f"no foolbox wheel in {wheels}; run: pip download --no-deps -d {wheels} foolbox")
    with zipfile.ZipFile(found[-1]) as archive:
        for name in sorted(archive.namelist()):
            if "imagenet_" in name and name.endswith(".jpg"):
                yield Image.open(io.BytesIO(archive.read(name))).convert("RGB")


def prepared(photo: Image.Image, size: int = 224) -> Tensor:
    """The middle of the photograph, [3, size, size] between 0 and 1, after the usual resize to size / 0.875."""
    scale = size / 0.875 / min(photo.size)
    photo = photo.resize([max(size, round(side * scale)) for side in photo.size], Image.Resampling.BICUBIC)
    left, top = (photo.width - size) // 2, (photo.height - size) // 2
    pixels = np.asarray(photo.crop((left, top, left + size, top + size)), dtype=np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1) / 255
