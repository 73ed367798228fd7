"""Photographic cut-outs with known ImageNet classes, pasted on photographs: a small real test for ImageNet networks.

The cut-outs are those of Debian's package tuxpaint-stamps-default (`apt-get download`, `dpkg -x`), which is GPL-2 and
stays outside of this one. Every second one is held out, and so is every third photograph behind them. Several pictures
show the same cut-out, so that they are fewer than they look: intervals that count pictures are too narrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from infoprune.data.base import Examples, Facts, Task, data_set, root_folder
from infoprune.data.files import opened, pictures_under
from infoprune.data.preprocessing import MEAN, STD
from infoprune.data.randomness import uniform_draws
from infoprune.data.scene_textures import photographs
from infoprune.data.stamp_classes import CLASSES
from infoprune.errors import MissingData

LAYOUT = "the stamps of tuxpaint-stamps-default, such as animals/birds/hen.png, at any depth"
SOURCE = "Debian (apt-get download tuxpaint-stamps-default; dpkg -x the file)"
FACTS = Facts(classes=1000, size=224)
SMALLEST, LARGEST = 0.62, 0.95  # longer side of a cut-out over that of the picture
BLUR = 3 / 224  # the strongest blur of the photograph behind, over the size of the picture


@dataclass(frozen=True)
class Stamps(Examples):
    """`each` pictures of every cut-out; all that right answers to a picture are, or the first of them in training."""

    cutouts: Sequence[tuple[Path, tuple[int, ...]]] = field(repr=False)
    behind: Sequence[Image.Image] = field(repr=False)
    each: int
    size: int
    train: bool
    seed: int = 0

    def __len__(self) -> int:
        return self.each * len(self.cutouts)

    def batch(self, epoch: int, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        draws = uniform_draws(self.seed, epoch if self.train else 0, list(indices), 9)
        cutouts = [self.cutouts[int(i) // self.each] for i in indices]
        images = torch.stack([self._picture(path, draw) for (path, _), draw in zip(cutouts, draws, strict=True)])
        if self.train:
            return images, torch.tensor([right[0] for _, right in cutouts])
        most = max(len(right) for _, right in self.cutouts)
        return images, torch.tensor([[*right, *[-1] * (most - len(right))] for _, right in cutouts])

    def _picture(self, path: Path, draw: np.ndarray) -> Tensor:
        image, cutout = self._photograph(draw[:5]), _cutout(path, self.size)
        if draw[5] < 0.5:
            cutout = cutout.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        scale = (SMALLEST + (LARGEST - SMALLEST) * draw[6]) * self.size / max(cutout.size)
        cutout = cutout.resize([max(1, round(side * scale)) for side in cutout.size], Image.Resampling.BICUBIC)
        room = [self.size - side for side in cutout.size]
        image.paste(cutout, (int(draw[7] * (room[0] + 1)), int(draw[8] * (room[1] + 1))), cutout)
        pixels = torch.from_numpy(np.asarray(image, np.float32)).permute(2, 0, 1) / 255
        return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)

    def _photograph(self, draw: np.ndarray) -> Image.Image:
        """A square of one of them, more or less sharp."""
        behind = self.behind[int(draw[0] * len(self.behind))]
        shorter = min(behind.size)
        side = shorter * (0.5 + 0.5 * draw[1])
        x, y = draw[2] * (behind.width - side), draw[3] * (behind.height - side)
        small = behind.resize((self.size, self.size), Image.Resampling.BICUBIC, box=(x, y, x + side, y + side))
        return small.filter(ImageFilter.GaussianBlur(float(BLUR * self.size * draw[4])))


@lru_cache(maxsize=256)
def _cutout(path: Path, size: int) -> Image.Image:
    """Without its empty margin, and not larger than it is ever drawn."""
    with Image.open(path) as image:
        whole = image.convert("RGBA")
    box = whole.getchannel("A").getbbox()
    if box is None:
        raise MissingData(f"{path} is empty; get it again from {SOURCE}")
    cut = whole.crop(box)
    cut.thumbnail((size, size), Image.Resampling.BICUBIC)
    return cut


@data_set("stamps", FACTS)
def stamps(
    root: str | Path | None = None, *, photos: str | None = None, each: int = 6, size: int | None = None, seed: int = 0
) -> Task:
    """Cut-outs of ImageNet classes on photographs at `size` (224), `each` pictures of every one; `photos` is a folder.

    Without `photos` the photographs that installed packages carry are behind them.
    """
    cutouts = _stamps_under(root_folder(root, "stamps", LAYOUT, SOURCE))
    size = FACTS.height(size)
    train, held_out = (
        Stamps(cutouts[not train :: 2], _photographs(photos, train), each, size, train, seed if train else 0)
        for train in (True, False)
    )
    return FACTS.task("stamps", train, held_out, size)


def _stamps_under(root: Path) -> list[tuple[Path, tuple[int, ...]]]:
    """Those with a known class, in the order of their names; folders between the first and the file may differ."""
    paths: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*.png")):
        paths.setdefault(path.stem, []).append(path)
    stamps = []
    for name, right in sorted(CLASSES.items()):
        first, *_, last = name.split("/")
        near = [path for path in paths.get(last, []) if first in path.relative_to(root).parts]
        exact = [path for path in near if path.with_suffix("").as_posix().endswith(f"/{name}")]
        stamps += [(path, right) for path in (exact or near)[:1]]
    if len(stamps) < 2:
        raise MissingData(f"{root} holds {len(stamps)} of the {len(CLASSES)} known stamps; needed: {LAYOUT}")
    return stamps


def _photographs(folder: str | None, train: bool) -> list[Image.Image]:
    if folder is None:
        return photographs(train=train)
    paths = pictures_under(root_folder(folder, "photographs", "*.jpg at any depth", "your own collection"))
    pictures = [opened(path) for i, path in enumerate(paths) if bool(i % 3) == train]
    if not pictures:
        raise MissingData(f"{folder} holds {len(paths)} photographs, too few for both halves; give at least 2")
    return pictures
