"""What YOLACT is trained on: classes with hard negatives, boxes, and masks inside their boxes.

The paper's fourth term, a semantic segmentation that exists in training alone, is left out: its layer would hang on
channels that tracing in evaluation mode never sees it use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from infoprune.models.yolact_boxes import encode

WEIGHTS = {"loss_classifier": 1.0, "loss_box_reg": 1.5, "loss_mask": 6.125}
MATCHED, UNMATCHED = 0.5, 0.4  # overlap from which an anchor is an object, and below which it is background
NEGATIVES = 3  # background anchors for every object
MASKS = 100  # positive anchors of an image whose masks are compared


def losses(
    deltas: Tensor, logits: Tensor, coefficients: Tensor, prototypes: Tensor, anchors: Tensor,
    targets: Sequence[Mapping[str, Tensor]],
) -> dict[str, Tensor]:  # fmt: skip
    """Each term over the number of matched anchors of the batch."""
    matcher = Matcher(MATCHED, UNMATCHED, allow_low_quality_matches=True)
    matches = [_matched(matcher, target, anchors) for target in targets]
    count = max(1, sum(int((match >= 0).sum()) for match in matches))
    rows = zip(matches, targets, deltas, logits, coefficients, prototypes, strict=True)
    terms = [_of_image(match, target, anchors, *heads) for match, target, *heads in rows]
    total = {name: reduce(torch.add, (term[name] for term in terms)) for name in WEIGHTS}
    return {name: weight * total[name] / count for name, weight in WEIGHTS.items()}


def _matched(matcher: Matcher, target: Mapping[str, Tensor], anchors: Tensor) -> Tensor:
    """For every anchor the number of its object, -1 for background, -2 for neither."""
    if len(target["boxes"]) == 0:
        return torch.full((len(anchors),), Matcher.BELOW_LOW_THRESHOLD, device=anchors.device)
    return matcher(box_iou(target["boxes"], anchors))


def _of_image(
    match: Tensor, target: Mapping[str, Tensor], anchors: Tensor, deltas: Tensor, logits: Tensor,
    coefficients: Tensor, prototypes: Tensor,
) -> dict[str, Tensor]:  # fmt: skip
    positive = torch.where(match >= 0)[0]
    objects = match[positive]
    boxes = encode(target["boxes"][objects], anchors[positive])
    return {
        "loss_classifier": _classes(match, target["labels"], logits),
        "loss_box_reg": F.smooth_l1_loss(deltas[positive], boxes, reduction="sum"),
        "loss_mask": _masks(target, objects[:MASKS], coefficients[positive[:MASKS]], prototypes),
    }


def _classes(match: Tensor, labels: Tensor, logits: Tensor) -> Tensor:
    """Cross entropy of the objects and of the background anchors that look least like background."""
    wanted = torch.zeros_like(match)
    positive = match >= 0
    wanted[positive] = labels[match[positive]]
    each = F.cross_entropy(logits, wanted, reduction="none")
    background = each.detach().masked_fill(match != Matcher.BELOW_LOW_THRESHOLD, -1.0)
    hard = background.topk(min(NEGATIVES * max(1, int(positive.sum())), int((background >= 0).sum()))).indices
    return each[positive].sum() + each[hard].sum()


def _masks(target: Mapping[str, Tensor], objects: Tensor, coefficients: Tensor, prototypes: Tensor) -> Tensor:
    """Binary cross entropy inside each object's box, as a mean over its area."""
    if len(objects) == 0:
        return prototypes.sum() * 0.0
    height, width = target["masks"].shape[-2:]
    shape = prototypes.shape[-2:]
    wanted = F.interpolate(target["masks"][:, None].to(prototypes), size=shape, mode="bilinear", align_corners=False)
    wanted = (wanted[objects, 0] > 0.5).to(prototypes)
    drawn = torch.einsum("bk,khw->bhw", coefficients.tanh(), prototypes)
    scale = prototypes.new_tensor([shape[1] / width, shape[0] / height]).repeat(2)
    boxes = target["boxes"][objects] * scale
    inside = _inside(boxes, shape)
    each = F.binary_cross_entropy_with_logits(drawn, wanted, reduction="none") * inside
    return (each.sum((1, 2)) / inside.sum((1, 2)).clamp(min=1)).sum()


def _inside(boxes: Tensor, shape: Sequence[int]) -> Tensor:
    """1 where the centre of a pixel lies in the box: k x h x w."""
    y = torch.arange(shape[0], device=boxes.device)[None, :, None] + 0.5
    x = torch.arange(shape[1], device=boxes.device)[None, None, :] + 0.5
    left, top, right, bottom = boxes[:, :, None, None].unbind(1)
    return ((x > left) & (x < right) & (y > top) & (y < bottom)).to(boxes)
