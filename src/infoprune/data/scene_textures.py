"""Photographs that installed packages carry, as textures for scenes.

scikit-learn is always there (two photographs); scikit-image adds seven and the close-ups of grass, gravel and brick,
foolbox twenty. Every third photograph is kept for testing, so that test scenes wear what was never trained on.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from infoprune.data.packaged import folder_of, packaged_photographs, square_parts
from infoprune.data.scene_surfaces import Materials

PHOTOGRAPHS = (
    ("sklearn", "datasets/images/*.jpg"),
    *(("skimage", f"data/{name}.*") for name in ("astronaut", "camera", "chelsea", "coffee", "coins", "rocket")),
    ("skimage", "data/motorcycle_left.png"),
    ("foolbox", "data/imagenet_*"),
)
SURFACES = {  # how many crops, their tint, and the range of their sides in pixels
    "grass": (4, (0.35, 0.55, 0.22), (200, 400)),
    "gravel": (4, (0.5, 0.5, 0.52), (200, 400)),
    "brick": (8, (0.72, 0.48, 0.38), (150, 400)),
}
LEVELS = (1, 2, 4, 8, 16)  # each level of detail is this much coarser than the first
MATERIALS = Materials(grass=4, gravel=8, wall=16, count=48)


def photographs(*, train: bool) -> list[Image.Image]:
    """The installed photographs of one side, in a fixed order."""
    return [photograph for i, photograph in enumerate(packaged_photographs(PHOTOGRAPHS)) if bool(i % 3) == train]


def textures(*, train: bool, size: int = 64) -> Tensor:
    """Levels of detail x textures x size x size x 3, in [0, 1]: grass, gravel, brick, then crops of photographs."""
    pictures, seed = photographs(train=train), 0 if train else 1000
    parts = [
        _tinted(_cropped([_close_up(name, pictures)], count, size, sides, seed + i), tint)
        for i, (name, (count, tint, sides)) in enumerate(SURFACES.items())
    ]
    parts.append(_cropped(pictures, MATERIALS.count - MATERIALS.wall, size, (64, 200), seed + len(SURFACES)))
    finest = torch.cat(parts).clamp(0, 1)
    return torch.stack([_coarser(finest, factor) for factor in LEVELS]).permute(0, 1, 3, 4, 2).contiguous()


def _close_up(name: str, pictures: list[Image.Image]) -> Image.Image:
    """The photograph of this surface, or, where scikit-image is missing, any other."""
    paths = list(folder_of("skimage").glob(f"data/{name}.png"))
    return Image.open(paths[0]).convert("RGB") if paths else pictures[0]


def _cropped(pictures: list[Image.Image], count: int, size: int, sides: tuple[int, int], seed: int) -> Tensor:
    return square_parts(pictures, count, size, sides, seed).float() / 255


def _tinted(parts: Tensor, tint: tuple[float, float, float]) -> Tensor:
    return parts.mean(1, keepdim=True) * 1.6 * torch.tensor(tint).view(1, 3, 1, 1)


def _coarser(images: Tensor, factor: int) -> Tensor:
    small = F.avg_pool2d(images, factor)
    return F.interpolate(small, size=images.shape[-2:], mode="bilinear", align_corners=False)
