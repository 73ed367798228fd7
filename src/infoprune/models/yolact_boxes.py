"""YOLACT's anchors, boxes and fast non-maximum suppression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_convert, box_iou

DESIGN_SIZE = 550  # pixels of the picture that anchor scales are given for
VARIANCES = (0.1, 0.2)  # of centres and of logarithms of sizes: deltas are divided by them
CANDIDATES = 200  # of each class, before suppression


def anchors_of(
    shapes: Sequence[tuple[int, int]], size: tuple[int, int], scales: Sequence[float], ratios: Sequence[float],
    *, like: Tensor,
) -> Tensor:  # fmt: skip
    """Corners of one anchor for each level, row, column and aspect ratio, in this order: a x 4."""
    height, width = size
    levels = []
    for (rows, columns), scale in zip(shapes, scales, strict=True):
        y = (torch.arange(rows, dtype=like.dtype, device=like.device) + 0.5) * (height / rows)
        x = (torch.arange(columns, dtype=like.dtype, device=like.device) + 0.5) * (width / columns)
        roots = torch.tensor(ratios, dtype=like.dtype, device=like.device).sqrt()
        w, h = scale * width / DESIGN_SIZE * roots, scale * height / DESIGN_SIZE / roots
        grid = (rows, columns, len(ratios))
        parts = [x[None, :, None], y[:, None, None], w[None, None, :], h[None, None, :]]
        levels.append(torch.stack([part.expand(grid) for part in parts], -1).reshape(-1, 4))
    return box_convert(torch.cat(levels), "cxcywh", "xyxy")


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Deltas that `decode` turns into these boxes."""
    box, anchor = box_convert(boxes, "xyxy", "cxcywh"), box_convert(anchors, "xyxy", "cxcywh")
    centre = (box[:, :2] - anchor[:, :2]) / anchor[:, 2:] / VARIANCES[0]
    return torch.cat([centre, (box[:, 2:] / anchor[:, 2:]).log() / VARIANCES[1]], 1)


def decode(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Corners of boxes: anchors moved by a part of their size, and scaled; deltas far off are held at e^4."""
    anchor = box_convert(anchors, "xyxy", "cxcywh")
    centre = anchor[:, :2] + deltas[:, :2] * VARIANCES[0] * anchor[:, 2:]
    size = anchor[:, 2:] * (deltas[:, 2:] * VARIANCES[1]).clamp(max=4).exp()
    return box_convert(torch.cat([centre, size], 1), "cxcywh", "xyxy")


class Chosen(NamedTuple):
    """Detections by falling score: row (anchor) and column (class without background) of each."""

    rows: Tensor
    columns: Tensor
    scores: Tensor


def fast_nms(boxes: Tensor, scores: Tensor, at_least: float, overlap: float, most: int) -> Chosen:
    """Drop a box if any better one of its class overlaps it by more than `overlap`, itself dropped or not.

    That is what sets it apart from ordinary suppression (Bolya et al. 2019, section 5). `scores` are anchors x classes.
    """
    count = min(CANDIDATES, len(scores))
    best, rows = scores.topk(count, dim=0)
    best, rows = best.T, rows.T  # classes x candidates
    candidates = boxes[rows]
    met = torch.stack([box_iou(one, one) for one in candidates]).triu(diagonal=1).amax(1)
    keep = (met <= overlap) & (best > at_least)
    columns = torch.arange(len(best), device=boxes.device)[:, None].expand_as(best)
    order = best[keep].argsort(descending=True)[:most]
    return Chosen(rows[keep][order], columns[keep][order], best[keep][order])
