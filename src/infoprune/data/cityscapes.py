"""Cityscapes as its owners have it on disk: pictures with labels and disparities, for three tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from infoprune.data.base import existing
from infoprune.errors import MissingData

IGNORED = 255
TRAIN_IDS = {  # label ids of gtFine that are trained on, in the order of the 19 classes
    identity: place
    for place, identity in enumerate((7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33))
}
LAYOUT = "leftImg8bit, gtFine and disparity, each with train/<city>/*.png"
SOURCE = "cityscapes-dataset.com, packages leftImg8bit_trainvaltest, gtFine_trainvaltest and disparity_trainvaltest"


class Cityscapes(Dataset):
    """(image, {"segmentation", "disparity", "reconstruction"}) of one split of a Cityscapes folder.

    Images are 3 x height x width in [0, 1]; labels 0 to 18, 255 where they are not evaluated; disparity 1 x height x
    width in pixels of the given width, 0 where it is unknown. The paper's size is 256 x 512.
    """

    def __init__(
        self, root: str | Path, split: Literal["train", "val", "test"] = "train", *, height: int = 256, width: int = 512
    ):
        folder = existing(Path(root) / "leftImg8bit" / split, "Cityscapes split", LAYOUT, SOURCE)
        self.root, self.split, self.size = Path(root), split, (height, width)
        self.images = sorted(folder.glob("*/*_leftImg8bit.png"))
        if not self.images:
            raise MissingData(f"{folder} holds no */*_leftImg8bit.png; needed: {LAYOUT}; get it from {SOURCE}")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        picture = np.array(Image.open(self.images[index]).convert("RGB"))
        image = self._resized(torch.from_numpy(picture).permute(2, 0, 1) / 255, "bilinear")
        labels = self._resized(self._read(index, "gtFine", "gtFine_labelIds"), "nearest")
        disparity = self._read(index, "disparity", "disparity")
        in_pixels = self._resized(pixels(disparity) * self.size[1] / disparity.shape[-1], "nearest")
        targets = {"segmentation": classes(labels[0].long()), "disparity": in_pixels}
        return image, targets | {"reconstruction": image}

    def _read(self, index: int, package: str, ending: str) -> Tensor:
        """One of the files that belong to a picture, 1 x h x w."""
        city, name = self.images[index].parts[-2:]
        path = self.root / package / self.split / city / name.replace("leftImg8bit", ending)
        stored = Image.open(existing(path, f"file of {package}", LAYOUT, SOURCE))
        return torch.from_numpy(np.array(stored).astype("float32"))[None]

    def _resized(self, values: Tensor, mode: str) -> Tensor:
        options = {"align_corners": False, "antialias": True} if mode == "bilinear" else {}
        return F.interpolate(values[None].float(), size=self.size, mode=mode, **options)[0]


def pixels(stored: Tensor) -> Tensor:
    """Disparity in pixels of the file's own width: (p - 1) / 256 for stored numbers p > 0, else 0 (unknown)."""
    return ((stored - 1) / 256).where(stored > 0, 0.0)


def classes(identities: Tensor) -> Tensor:
    """Label ids as classes 0 to 18, all others as 255."""
    table = torch.full((256,), IGNORED)
    for identity, place in TRAIN_IDS.items():
        table[identity] = place
    return table[identities.clamp(0, 255)]
