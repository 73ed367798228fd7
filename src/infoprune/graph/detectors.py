"""Run a detector without what depends on values: proposals, non-maximum suppression, pasting.

How many boxes a detector finds depends on its weights, and with it the shapes, the prices and the outputs of all that
runs on boxes. While a model is `settled`

- a region proposal network gives a fixed grid of boxes, as many as it may ever give (1000 an image in torchvision),
- the box head keeps the first of them, as many as it may ever detect (100 an image), and masks run on these,
- the model gives back the raw tensors of its heads instead of detections,

so that MACs are those of a full house, the same for all weights, and a comparison covers every head. Other models run
as in `evaluating`. Everything is put back afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from infoprune.graph.evaluating import as_it_was, evaluating, replaced, uncompiled

FEW_BOXES = 4  # enough to reach each of a pyramid's four levels
BOX_SIZES = (64, 128, 256, 512)  # pixels; a pyramid sends each to another level (Lin et al. 2017, eq. 1)
HEADS = ("head", "box_predictor", "mask_predictor", "keypoint_predictor")


@contextmanager
def settled(model: nn.Module, *, boxes: int | None = None) -> Iterator[None]:
    """`evaluating`, with detection post-processing left out; `boxes` caps the boxes of an image."""
    raw: list[Any] = []
    with ExitStack() as stack:
        stack.enter_context(evaluating(model))
        stack.enter_context(as_it_was(model))
        stack.enter_context(uncompiled(model))
        stack.enter_context(_FourAxes())
        methods = [(m, name) for m in model.modules() for name in STAND_INS if _has(m, name)]
        for module, name in methods:
            stack.enter_context(replaced(module, name, STAND_INS[name](module, raw, boxes)))
            for head in (h for h in HEADS if isinstance(getattr(module, h, None), nn.Module)):
                stack.enter_context(getattr(module, head).register_forward_hook(_collecting(raw)))
        if methods:
            stack.enter_context(model.register_forward_pre_hook(lambda *_: raw.clear()))
            stack.enter_context(model.register_forward_hook(lambda *_: list(raw)))
            stack.enter_context(_unset_levels(model))
        yield


class _FourAxes(TorchFunctionMode):
    """Attention over three or five axes is run over four, which torch has an operation for.

    Otherwise it is taken apart, and the scale that follows from the number of dimensions is a number like any other.
    """

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        func = _on_meta if args and args[0].is_meta else func
        if not _is_plain(*args, **(kwargs or {})):
            return func(*args, **(kwargs or {}))
        lead = args[0].shape[:-2]
        four = [t.reshape(math.prod(lead[:-1]), lead[-1], *t.shape[-2:]) for t in args[:3]]
        out = func(*four, *args[3:], **(kwargs or {}))
        return out.reshape(*lead, *out.shape[-2:])


def _on_meta(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """One operation, as it is where there are values; taken apart, heads and batch would be one axis on the way."""
    if query.dim() != 4:
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    if attn_mask is not None:
        attn_mask = attn_mask.to(query)
    whole = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return whole(query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale)[0]


def _is_plain(*args: Any, attn_mask: Tensor | None = None, **_: Any) -> bool:
    if len(args) < 3:
        return False
    masks = [attn_mask, *args[3:4]]
    alike = args[0].shape[:-2] == args[1].shape[:-2] == args[2].shape[:-2]
    return alike and args[0].dim() in (3, 5, 6) and all(m is None or m.dim() == 2 for m in masks)


def grid(count: int, height: int, width: int, *, like: Tensor) -> Tensor:
    """`count` boxes (x1, y1, x2, y2) whose centres walk over the image and whose sizes take turns.

    >>> grid(2, 100, 100, like=torch.zeros(())).tolist()
    [[-7.0, -7.0, 57.0, 57.0], [11.0, 22.79999542236328, 139.0, 150.79998779296875]]
    """
    step = torch.arange(count, dtype=like.dtype, device=like.device)
    side = torch.tensor(BOX_SIZES, dtype=like.dtype, device=like.device)[step.long() % len(BOX_SIZES)]
    x, y = width * ((step + 0.5) / count), height * ((step * 0.618 + 0.25) % 1)
    return torch.stack([x - side / 2, y - side / 2, x + side / 2, y + side / 2], 1)


# ------------------------------------------------------------------------------------------------------- stand-ins


def _proposals(module: nn.Module, raw: list[Any], boxes: int | None) -> Callable[..., Any]:
    def filter_proposals(proposals: Tensor, objectness: Tensor, image_shapes: list, _: Any = None) -> tuple:
        most = module.post_nms_top_n() if boxes is None else boxes  # type: ignore[operator]
        proposed = [grid(most, height, width, like=proposals) for height, width in image_shapes]
        return proposed, [box.new_zeros(len(box)) for box in proposed]

    return filter_proposals


def _detections(module: nn.Module, raw: list[Any], boxes: int | None) -> Callable[..., Any]:
    """Of a box head: its first proposals as detections. Of a one-stage detector: nothing, its raw outputs are noted."""
    limit = getattr(module, "detections_per_img", None)
    if limit is None or getattr(module, "box_predictor", None) is None:
        return lambda outputs, *_, **__: raw.append(outputs) or []

    def postprocess_detections(logits: Tensor, deltas: Tensor, proposals: list[Tensor], _: Any = None) -> tuple:
        kept = [box[: limit if boxes is None else boxes] for box in proposals]
        return kept, [b.new_zeros(len(b)) for b in kept], [b.new_zeros(len(b), dtype=torch.long) for b in kept]

    return postprocess_detections


def _untouched(module: nn.Module, raw: list[Any], boxes: int | None) -> Callable[..., Any]:
    return lambda detections, *_, **__: detections


STAND_INS = {"filter_proposals": _proposals, "postprocess_detections": _detections, "postprocess": _untouched}


def _has(module: nn.Module, name: str) -> bool:
    """`postprocess` is a common word, so it must be the one of torchvision's detectors."""
    method = getattr(type(module), name, None)
    return callable(method) and (name != "postprocess" or method.__module__.startswith("torchvision.models.detection"))


# ---------------------------------------------------------------------------------------------- put in, and put back


def _collecting(raw: list[Any]) -> Callable[..., None]:
    return lambda module, inputs, output: raw.append(output)


@contextmanager
def _unset_levels(model: nn.Module) -> Iterator[None]:
    """torchvision's ROI pooling remembers the scales of the first image it sees; that one is for the user to choose."""
    with ExitStack() as stack:
        for module in (m for m in model.modules() if type(m).__name__ == "MultiScaleRoIAlign"):
            for name in ("scales", "map_levels"):
                stack.enter_context(replaced(module, name, vars(module).get(name)))
        yield
