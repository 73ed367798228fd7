"""YOLOv3's maps as boxes, and boxes as what its maps should say."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import batched_nms

SMALLEST = 1e-6


class Scale(NamedTuple):
    """Pixels from cell to cell, and width and height in pixels of the three anchors."""

    stride: int
    anchors: tuple[tuple[int, int], ...]


class Detections(NamedTuple):
    """Of one picture: boxes k x 4 (corners in pixels), scores k, labels k."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def split(level: Tensor, scale: Scale) -> Tensor:
    """n x 3 (5 + c) x h x w to n x 3 x h x w x (5 + c)."""
    n, _, h, w = level.shape
    return level.view(n, len(scale.anchors), -1, h, w).permute(0, 1, 3, 4, 2)


def decode(level: Tensor, scale: Scale) -> tuple[Tensor, Tensor]:
    """Boxes n x a x 4 and class scores n x a x c of all cells: b = sigmoid(t) + cell, size = anchor exp(t)."""
    t = split(level, scale)
    h, w = t.shape[2:4]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    centre = (t[..., :2].sigmoid() + torch.stack([x, y], -1).to(t)) * scale.stride
    size = t[..., 2:4].exp() * t.new_tensor(scale.anchors)[None, :, None, None]
    boxes = torch.cat([centre - size / 2, centre + size / 2], -1)
    scores = t[..., 4:5].sigmoid() * t[..., 5:].sigmoid()
    return boxes.flatten(1, 3), scores.flatten(1, 3)


def detections(levels: Sequence[Tensor], scales: Sequence[Scale], *, score: float, overlap: float) -> list[Detections]:
    parts = [decode(level, scale) for level, scale in zip(levels, scales, strict=True)]
    boxes, scores = (torch.cat(part, 1) for part in zip(*parts, strict=True))
    return [_suppressed(b, s, score, overlap) for b, s in zip(boxes, scores, strict=True)]


def _suppressed(boxes: Tensor, scores: Tensor, least: float, overlap: float) -> Detections:
    at, labels = (scores > least).nonzero(as_tuple=True)
    kept = batched_nms(boxes[at], scores[at, labels], labels, overlap)
    return Detections(boxes[at][kept], scores[at, labels][kept], labels[kept])


def losses(
    levels: Sequence[Tensor], scales: Sequence[Scale], targets: Sequence[dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Sums over cells by the paper, divided by the number of pictures: each box is told to the anchor of its shape."""
    maps = [split(level, scale) for level, scale in zip(levels, scales, strict=True)]
    wanted = [torch.zeros_like(t[..., 4]) for t in maps]
    box = classes = sum(t.sum() * 0 for t in maps)
    for picture, target in enumerate(targets):
        for corners, label in zip(target["boxes"], target["labels"], strict=True):
            level, anchor = _best(corners, scales)
            scale, t = scales[level], maps[level]
            size = (corners[2:] - corners[:2]).clamp(min=1)
            place = (corners[:2] + corners[2:]) / 2 / scale.stride
            column, row = (int(min(v, m - 1)) for v, m in zip(place.tolist(), (t.shape[3], t.shape[2]), strict=True))
            said = t[picture, anchor, row, column]
            offset = (place - place.new_tensor([column, row])).clamp(SMALLEST, 1 - SMALLEST)
            shape = (size / size.new_tensor(scale.anchors[anchor])).log()
            box = box + F.binary_cross_entropy_with_logits(said[:2], offset, reduction="sum")
            box = box + F.mse_loss(said[2:4], shape, reduction="sum") / 2
            one = F.one_hot(label, len(said) - 5).to(said)
            classes = classes + F.binary_cross_entropy_with_logits(said[5:], one, reduction="sum")
            wanted[level][picture, anchor, row, column] = 1
    pairs = zip(maps, wanted, strict=True)
    objects = reduce(torch.add, (F.binary_cross_entropy_with_logits(t[..., 4], w, reduction="sum") for t, w in pairs))
    terms = {"loss_box": box, "loss_object": objects, "loss_class": classes}
    return {name: value / len(targets) for name, value in terms.items()}


def _best(corners: Tensor, scales: Sequence[Scale]) -> tuple[int, int]:
    """The scale and anchor whose shape overlaps most with the box's, both at one corner."""
    size = corners[2:] - corners[:2]
    best, place = -1.0, (0, 0)
    for level, scale in enumerate(scales):
        for number, anchor in enumerate(scale.anchors):
            shape = size.new_tensor(anchor)
            shared = torch.minimum(size, shape).prod()
            ratio = float(shared / (size.prod() + shape.prod() - shared))
            if ratio > best:
                best, place = ratio, (level, number)
    return place
