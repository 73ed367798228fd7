"""Streets with exact answers: pictures, semantic labels and disparity of endless random scenes, ray-cast on the CPU.

Surfaces wear crops of real photographs (see `scene_textures`), so that pictures have natural statistics.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from infoprune.data import scene_surfaces as surfaces
from infoprune.data.scene_surfaces import CLASSES as CLASSES
from infoprune.data.scene_surfaces import FAR, SKY, Draw, Rays, Street, Surface
from infoprune.data.scene_textures import LEVELS, MATERIALS, textures

BASELINE_M = 0.22  # between two cameras, as Cityscapes has it: disparity = BASELINE_M * focal / depth
BOXES, PERSONS, TREES = 6, 2, 4
AT_ONCE = 5  # scenes, so that their surfaces stay in a cache


class Views(NamedTuple):
    """What is seen of n scenes."""

    image: Tensor  # n x 3 x h x w in [0, 1]
    labels: Tensor  # n x h x w, indices into CLASSES
    disparity: Tensor  # n x 1 x h x w in pixels, 0 at the sky
    depth: Tensor  # n x 1 x h x w in metres, infinite at the sky


class Scenes:
    """Endless random scenes of one side: photographs and scenes of `train=False` never occur in training.

    The same seed gives the same scenes, as long as the same packages with photographs are installed.

    >>> views = Scenes(height=32, width=64, train=True, seed=0).sample(2)
    >>> views.image.shape, views.labels.shape, views.disparity.shape
    (torch.Size([2, 3, 32, 64]), torch.Size([2, 32, 64]), torch.Size([2, 1, 32, 64]))
    """

    def __init__(self, *, height: int = 64, width: int = 128, train: bool, seed: int):
        self.height, self.width = height, width
        self.textures = textures(train=train)
        self.generator = torch.Generator().manual_seed(2 * seed + (not train))

    def sample(self, count: int) -> Views:
        """The next `count` scenes."""
        parts = [self._render(min(AT_ONCE, count - start)) for start in range(0, count, AT_ONCE)]
        return Views(*(torch.cat(fields) for fields in zip(*parts, strict=True)))

    def _render(self, count: int) -> Views:
        """Two by two rays a pixel; labels and depths are those of one of them, since they don't average."""
        draw = Draw(count, self.generator)
        rays = camera(2 * self.height, 2 * self.width, draw)
        seen = surfaces.nearest(street(rays, draw))
        sky = seen.depth.isinf()
        noise = 0.015 * torch.randn(count, 3, self.height, self.width, generator=self.generator)
        image = (F.avg_pool2d(colours(seen, rays, self.textures, draw), 2) + noise).clamp(0, 1)
        depth = seen.depth[:, None, 1::2, 1::2]
        disparity = BASELINE_M * (rays.focal / 2)[:, None] / depth
        return Views(image, torch.where(sky, SKY, seen.kind)[:, 1::2, 1::2], disparity, depth)


class SceneSet(Dataset):
    """`count` scenes, rendered once: (image, {"segmentation", "disparity", "reconstruction"}).

    Kept as bytes and half precision, 45 kB a scene of 64 x 128; 1,500 take about a minute on one core.
    """

    def __init__(self, count: int, *, height: int = 64, width: int = 128, train: bool, seed: int):
        views = Scenes(height=height, width=width, train=train, seed=seed).sample(count)
        self.images = (views.image * 255).round().byte()
        self.labels, self.disparity = views.labels.byte(), views.disparity.half()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int | slice | Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        image = self.images[index].float() / 255
        targets = {"segmentation": self.labels[index].long(), "disparity": self.disparity[index].float()}
        return image, targets | {"reconstruction": image}


def camera(height: int, width: int, draw: Draw) -> Rays:
    """One ray a pixel of cameras with random height, pitch and focal length."""
    focal, pitch, eye = width * draw.uniform(0.9, 1.2), draw.uniform(-0.02, 0.10), draw.uniform(1.2, 1.8)
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    x, down = (columns - width / 2) / focal, (rows - height / 2) / focal
    y, z = -down * pitch.cos() - pitch.sin(), pitch.cos() - down * pitch.sin()
    return Rays(x, y, z, eye, focal)


def street(rays: Rays, draw: Draw) -> list[Surface]:
    """Everything that stands in one street."""
    plan = Street(draw.uniform(-1.5, 1.5), draw.uniform(2.5, 5))
    parts = [surfaces.ground(rays, plan, MATERIALS, draw)]
    parts += [surfaces.facade(rays, plan, side, MATERIALS, draw) for side in (-1, 1)]
    parts += [surfaces.box(rays, plan, MATERIALS, draw) for _ in range(BOXES)]
    parts += [surfaces.person(rays, plan, MATERIALS, draw) for _ in range(PERSONS)]
    return parts + [part for _ in range(TREES) for part in surfaces.tree(rays, plan, MATERIALS, draw)]


def colours(seen: Surface, rays: Rays, texture: Tensor, draw: Draw) -> Tensor:
    """Textures in sunlight and fog under a sky, as a camera exposes them: n x 3 x h x w."""
    zenith, horizon = (
        torch.cat([draw.uniform(low, high) for _ in range(3)], -1) for low, high in ((0.3, 0.9), (0.6, 1))
    )
    zenith, horizon = zenith[:, :, None], horizon[:, :, None]
    depth = seen.depth.clamp(max=FAR)
    lit = textured(seen, depth, rays, texture) * sunlight(seen, draw)[..., None]
    clear = torch.exp(-depth * draw.uniform(0.002, 0.03))[..., None]
    high = (2 * rays.y * rays.focal / rays.y.shape[1]).clamp(0, 1)[..., None]
    sky = horizon * (1 - high) + zenith * high
    seen_through = torch.where(seen.depth.isinf()[..., None], sky, lit * clear + horizon * (1 - clear))
    exposed = (seen_through * draw.uniform(0.7, 1.3)[..., None]).clamp(0, 1)
    return (exposed ** draw.uniform(0.8, 1.25)[..., None]).permute(0, 3, 1, 2)


def textured(seen: Surface, depth: Tensor, rays: Rays, texture: Tensor) -> Tensor:
    """The colours of surfaces in white light, n x h x w x 3; far ones from coarser textures."""
    size = texture.shape[2]
    level = (depth / rays.focal * size / 3).clamp(min=1).log2().long().clamp(max=len(LEVELS) - 1)
    row, column = (((each.nan_to_num(0, 0, 0).frac() + 1).frac() * (size - 1)).long() for each in (-seen.v, seen.u))
    plain = texture[level, seen.texture.expand_as(level), row, column]
    return plain * seen.gain[..., None] + seen.lift[..., None]


def sunlight(seen: Surface, draw: Draw) -> Tensor:
    """What ambient and directed light from a random side a surface reflects."""
    sun = torch.stack([draw.uniform(-1, 1), draw.uniform(0.5, 1), draw.uniform(-1, 0.2)])
    sun = sun / sun.norm(dim=0)
    facing = seen.normal_x * sun[0] + seen.normal_y * sun[1] + seen.normal_z * sun[2]
    return 0.45 + 0.65 * facing.clamp(0, 1)
