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
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from infoprune.graph.wrapped import is_compiled

FEW_BOXES = 4  # enough to reach each of a pyramid's four levels
BOX_SIZES = (64, 128, 256, 512)  # pixels; a pyramid sends each to another level (Lin et al. 2017, eq. 1)
HOOKS = frozenset(name for name in vars(nn.Module()) if name.startswith("_forward_"))
OF_MODULES = frozenset(vars(nn.Module())) - HOOKS - {"training"}
CONTAINERS = (list, deque, dict, set, OrderedDict)
HEADS = ("head", "box_predictor", "mask_predictor", "keypoint_predictor")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without the fused attention that hides its operations; every module's mode is restored."""
    modes = {module: module.training for module in model.modules()}
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    model.eval()
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module in (module for module, mode in modes.items() if module.training != mode):
            module.training = modes[module]


@contextmanager
def uncompiled(model: nn.Module) -> Iterator[None]:
    """Parts that were compiled run as they are written, so that hooks are called and operations are seen."""
    with ExitStack() as stack:
        for module in model.modules():
            if is_compiled(module):
                stack.enter_context(_instead(module, "forward", _calling(module.get_submodule("_orig_mod"))))
            elif vars(module).get("_compiled_call_impl") is not None:
                stack.enter_context(_instead(module, "_compiled_call_impl", None))
        yield


def _calling(module: nn.Module) -> Callable[..., Any]:
    return lambda *args, **kwargs: module(*args, **kwargs)


@contextmanager
def settled(model: nn.Module, *, boxes: int | None = None) -> Iterator[None]:
    """`evaluating`, with detection post-processing left out; `boxes` caps the boxes of an image."""
    raw: list[Any] = []
    with ExitStack() as stack:
        stack.enter_context(evaluating(model))
        stack.enter_context(as_it_was(model))
        stack.enter_context(uncompiled(model))
        stack.enter_context(_FourAxes())
        found = [(m, name) for m in model.modules() for name in STAND_INS if _has(m, name)]
        for module, name in found:
            stack.enter_context(_instead(module, name, STAND_INS[name](module, raw, boxes)))
            for head in (h for h in HEADS if isinstance(getattr(module, h, None), nn.Module)):
                stack.enter_context(getattr(module, head).register_forward_hook(_collecting(raw)))
        if found:
            stack.enter_context(model.register_forward_pre_hook(lambda *_: raw.clear()))
            stack.enter_context(model.register_forward_hook(lambda *_: list(raw)))
            stack.enter_context(_unset_levels(model))
        yield


class _FourAxes(TorchFunctionMode):
    """Attention over three or five axes is run over four, which torch has an operation for.

    Otherwise it is taken apart, and the scale that follows from the number of dimensions is a number like any other.
    """

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is not F.scaled_dot_product_attention or not _is_plain(*args, **(kwargs or {})):
            return func(*args, **(kwargs or {}))
        lead = args[0].shape[:-2]
        four = [t.reshape(math.prod(lead[:-1]), lead[-1], *t.shape[-2:]) for t in args[:3]]
        out = func(*four, *args[3:], **(kwargs or {}))
        return out.reshape(*lead, *out.shape[-2:])


def _is_plain(*args: Any, attn_mask: Tensor | None = None, **_: Any) -> bool:
    if len(args) < 3:
        return False
    masks = [attn_mask, *args[3:4]]
    alike = args[0].shape[:-2] == args[1].shape[:-2] == args[2].shape[:-2]
    return alike and args[0].dim() in (3, 5, 6) and all(m is None or m.dim() == 2 for m in masks)


@contextmanager
def as_it_was(model: nn.Module) -> Iterator[None]:
    """What the model writes into its buffers and attributes is taken back; it draws the same numbers in every pass."""
    places = {tensor.device for tensor in model.parameters()}
    states = random.getstate(), np.random.get_state()
    buffers = [(buffer, buffer.clone(), buffer._version) for buffer in model.buffers() if not buffer.is_inference()]
    attributes = [(module, type(module), _attributes(module)) for module in model.modules()]
    try:
        with torch.random.fork_rng(devices=sorted(place.index for place in places if place.type == "cuda")):
            _seed(places)
            random.seed(0)
            np.random.seed(0)
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        with torch.no_grad():
            for buffer, before, version in buffers:
                if buffer._version != version:
                    buffer.copy_(before)
        for module, kind, before in attributes:
            if type(module) is kind:  # it may just have found out its own shape
                _put_back(module, before)


def _seed(places: Iterable[torch.device]) -> None:
    """Of the processor alone where the model is there: seeding every kind of device costs as much as a small layer."""
    elsewhere = any(place.type != "cpu" for place in places)
    (torch.manual_seed if elsewhere else torch.default_generator.manual_seed)(0)


def _attributes(module: nn.Module) -> dict[str, tuple[Any, Any]]:
    """What a module keeps of its own: each value, and a copy of what a container of these holds.

    Its hooks are among them: models that hook themselves at their first call keep a note that they have done so.
    """
    own = [(name, value) for name, value in vars(module).items() if name not in OF_MODULES]
    return {name: (value, value.copy() if type(value) in CONTAINERS else None) for name, value in own}


def _put_back(module: nn.Module, before: dict[str, tuple[Any, Any]]) -> None:
    own = vars(module)
    for name in own.keys() - before.keys() - OF_MODULES:
        del own[name]
    for name, (value, held) in before.items():
        own[name] = value
        if held is not None and (held or value):
            value.clear()
            (value.extend if isinstance(value, list | deque) else value.update)(held)


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
        given = [grid(most, height, width, like=proposals) for height, width in image_shapes]
        return given, [box.new_zeros(len(box)) for box in given]

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


@contextmanager
def _instead(module: nn.Module, name: str, value: Any) -> Iterator[None]:
    """The attribute of this one object is `value` for a while."""
    own = vars(module)
    before = {name: own[name]} if name in own else {}
    own[name] = value
    try:
        yield
    finally:
        del own[name]
        own.update(before)


def _collecting(raw: list[Any]) -> Callable[..., None]:
    return lambda module, inputs, output: raw.append(output)


@contextmanager
def _unset_levels(model: nn.Module) -> Iterator[None]:
    """torchvision's ROI pooling remembers the scales of the first image it sees; that one is for the user to choose."""
    with ExitStack() as stack:
        for module in (m for m in model.modules() if type(m).__name__ == "MultiScaleRoIAlign"):
            for name in ("scales", "map_levels"):
                stack.enter_context(_instead(module, name, vars(module).get(name)))
        yield
