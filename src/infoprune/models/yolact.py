"""YOLACT (Bolya et al. 2019): masks as linear combinations of prototypes, on a residual network with a pyramid.

Written from the paper, with torchvision's residual networks as backbone. With a ResNet-50, 550 x 550 pixels and 80
classes plus background, the convolutions take 59.14 G multiply-adds for an image:

| backbone | pyramid P3-P7 | prototypes | shared head | all |
|---|---|---|---|---|
| 25.46 G | 4.90 G | 19.81 G | 8.97 G | 59.14 G |

The 59.29 G of the capacity and independence paper (table VI) count one operation more for every biased output (0.02 G)
and two for every element that a batch norm puts out (0.14 G), as counters by layer do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter

from infoprune.models.base import made_for, models
from infoprune.models.yolact_boxes import anchors_of, decode, fast_nms
from infoprune.models.yolact_losses import losses

ASPECT_RATIOS = (1.0, 0.5, 2.0)
SCALES = (24, 48, 96, 192, 384)  # pixels of an anchor's side at 550 x 550, for P3 to P7
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Heads(NamedTuple):
    """Of n images with a anchors: box deltas n x a x 4, class logits n x a x c, mask coefficients n x a x k,
    prototypes n x k x h x w."""

    deltas: Tensor
    logits: Tensor
    coefficients: Tensor
    prototypes: Tensor


class Pyramid(nn.Module):
    """C3-C5 to P3-P7 with `width` channels each: lateral 1 x 1, top-down sum, 3 x 3; two more by strides."""

    def __init__(self, channels: Sequence[int], width: int):
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in channels)
        self.down = nn.ModuleList(nn.Conv2d(width, width, 3, stride=2, padding=1) for _ in range(2))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        merged = [lateral(x) for lateral, x in zip(self.lateral, features, strict=True)]
        for level in reversed(range(len(merged) - 1)):
            size = merged[level].shape[-2:]
            above = F.interpolate(merged[level + 1], size=size, mode="bilinear", align_corners=False)
            merged[level] = merged[level] + above
        levels = [torch.relu(smooth(x)) for smooth, x in zip(self.smooth, merged, strict=True)]
        for down in self.down:
            levels.append(down(levels[-1]))
        return levels


class Protonet(nn.Module):
    """P3 to `prototypes` maps of twice its size, none negative."""

    def __init__(self, width: int, prototypes: int):
        super().__init__()
        self.before = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(3))
        self.after = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, prototypes, 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.before:
            x = torch.relu(layer(x))
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        return torch.relu(self.last(torch.relu(self.after(x))))


class SharedHead(nn.Module):
    """One for all levels: a 3 x 3 layer, then box deltas, class logits and mask coefficients of every anchor."""

    def __init__(self, width: int, classes: int, prototypes: int, anchors: int = len(ASPECT_RATIOS)):
        super().__init__()
        self.shared = nn.Conv2d(width, width, 3, padding=1)
        self.outputs = nn.ModuleDict(
            {name: nn.Conv2d(width, anchors * n, 3, padding=1)
             for name, n in (("deltas", 4), ("logits", classes), ("coefficients", prototypes))}
        )  # fmt: skip
        self.per_anchor = {"deltas": 4, "logits": classes, "coefficients": prototypes}

    def forward(self, levels: Sequence[Tensor]) -> dict[str, Tensor]:
        shared = [torch.relu(self.shared(x)) for x in levels]
        return {
            name: torch.cat([_by_anchor(layer(x), self.per_anchor[name]) for x in shared], 1)
            for name, layer in self.outputs.items()
        }


def _by_anchor(maps: Tensor, values: int) -> Tensor:
    """n x (anchors * values) x h x w to n x (h * w * anchors) x values."""
    return maps.permute(0, 2, 3, 1).reshape(maps.shape[0], -1, values)


class Yolact(nn.Module):
    """Pictures n x 3 x h x w in [0, 1] to what torchvision's Mask R-CNN gives.

    In evaluation mode a list with one dict an image: boxes (corners in pixels, k x 4), labels from 1 (k), scores (k)
    and masks (probabilities, k x 1 x h x w). In training mode the losses if `targets` (dicts of boxes, labels and
    masks k x h x w) are given, otherwise the raw outputs of the heads.

    Args:
        body: A ResNet, whose `layer2`, `layer3` and `layer4` are read.
        channels: What these three give out.
        num_classes: With the background.
        width: Channels of the pyramid.
        prototypes: How many masks are mixed.
        score_thresh: Less certain boxes are left out.
        nms_thresh: Of two boxes that overlap more, the less certain is left out.
        detections_per_img: The most boxes.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, body: nn.Module, channels: Sequence[int], *, num_classes: int = 81, width: int = 256,
        prototypes: int = 32, score_thresh: float = 0.05, nms_thresh: float = 0.5, detections_per_img: int = 100,
    ):  # fmt: skip
        super().__init__()
        self.body = IntermediateLayerGetter(body, {"layer2": "c3", "layer3": "c4", "layer4": "c5"})
        self.pyramid = Pyramid(channels, width)
        self.protonet = Protonet(width, prototypes)
        self.head = SharedHead(width, num_classes, prototypes)
        self.num_classes = num_classes
        self.score_thresh, self.nms_thresh, self.detections_per_img = score_thresh, nms_thresh, detections_per_img
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))
        for layer in (m for part in (self.pyramid, self.protonet, self.head) for m in part.modules()):
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(
        self, images: Tensor, targets: Sequence[Mapping[str, Tensor]] | None = None
    ) -> list[dict[str, Tensor]] | dict[str, Tensor]:
        levels, heads = self.raw(images)
        if self.training and targets is None:
            return heads._asdict()
        height, width = images.shape[-2:]
        sizes = [(x.shape[-2], x.shape[-1]) for x in levels]
        anchors = anchors_of(sizes, (height, width), SCALES, ASPECT_RATIOS, like=images)
        if self.training and targets is not None:
            return losses(*heads, anchors, targets)
        return self.postprocess_detections(heads, anchors, (height, width))

    def raw(self, images: Tensor) -> tuple[list[Tensor], Heads]:
        """The pyramid's levels, and what the heads give out."""
        levels = self.pyramid(list(self.body((images - self.mean) / self.std).values()))
        return levels, Heads(**self.head(levels), prototypes=self.protonet(levels[0]))

    def postprocess_detections(self, heads: Heads, anchors: Tensor, size: tuple[int, int]) -> list[dict[str, Tensor]]:
        """Boxes that survive fast non-maximum suppression, with their masks."""
        detections = []
        for deltas, logits, coefficients, prototypes in zip(*heads, strict=True):
            boxes = torchvision.ops.clip_boxes_to_image(decode(deltas, anchors), size)
            scores = logits.softmax(-1)[:, 1:]
            chosen = fast_nms(boxes, scores, self.score_thresh, self.nms_thresh, self.detections_per_img)
            kept = boxes[chosen.rows]
            masks = assembled(prototypes, coefficients[chosen.rows], kept, size)
            detections.append({"boxes": kept, "labels": chosen.columns + 1, "scores": chosen.scores, "masks": masks})
        return detections


class RawHeads(nn.Module):
    """A YOLACT without post-processing: box deltas, class logits, mask coefficients and prototypes, for `export`."""

    def __init__(self, yolact: Yolact):
        super().__init__()
        self.yolact = yolact

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.yolact.raw(images)[1])


def assembled(prototypes: Tensor, coefficients: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """sigmoid(tanh(coefficients) . prototypes), as large as the picture, zero outside each one's box: k x 1 x h x w."""
    small = torch.sigmoid(torch.einsum("bk,khw->bhw", coefficients.tanh(), prototypes))
    masks = F.interpolate(small[:, None], size=size, mode="bilinear", align_corners=False)
    height, width = size
    x, y = torch.arange(width, device=boxes.device) + 0.5, torch.arange(height, device=boxes.device) + 0.5
    left, top, right, bottom = boxes[:, :, None].unbind(1)
    inside = ((x > left) & (x < right))[:, None, None, :] & ((y > top) & (y < bottom))[:, None, :, None]
    return masks * inside


@models.register("yolact_resnet50_fpn")
@made_for(3, 550, 550)
def yolact_resnet50_fpn(num_classes: int = 81) -> Yolact:
    """YOLACT on a ResNet-50; `num_classes` counts the background, as in torchvision."""
    return Yolact(torchvision.models.resnet50(weights=None), (512, 1024, 2048), num_classes=num_classes)


@models.register("yolact_resnet18_fpn")
@made_for(3, 550, 550)
def yolact_resnet18_fpn(num_classes: int = 81) -> Yolact:
    """The same on a ResNet-18, to try things out."""
    return Yolact(torchvision.models.resnet18(weights=None), (128, 256, 512), num_classes=num_classes)
