"""Readers of what left: the layers of a pruned network whose weights lost inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from infoprune.compensation.attention import InProjection
from infoprune.compensation.survivors import Survivors
from infoprune.graph.slicing import SitePart
from infoprune.observe.reader_layers import columns_of, groups_of, input_axis, is_conv1d, reads
from infoprune.surgery.plan import Edit

MOST_COLUMNS = 8192  # 8192^2 moments are 512 MiB


@dataclass(frozen=True, eq=False)
class Reader:
    """A layer of the pruned network that lost inputs, and what it was in the dense one.

    `target` is what the outputs that stayed read of all inputs, groups x outputs x taps x columns, and `bias` theirs;
    `kept` says which columns of each group stayed, groups x k. A linear layer reads flattened maps of `pixels` pixels.
    `norm` names the batch norm right behind, which takes constants in the place of a bias. A forward pass of the
    network has `calls` of it.
    """

    name: str
    layer: Any
    target: Tensor
    bias: Tensor | None
    kept: Tensor
    rows: Tensor
    pixels: int = 1
    norm: str | None = None
    calls: int = 1

    @property
    def weight(self) -> Tensor:
        """The layer's weight as it stands."""
        return columns_of(self.layer, self.layer.weight.detach(), self.pixels)

    @property
    def lost(self) -> bool:
        """Whether any of its inputs left; otherwise only what they say has changed."""
        return self.kept.shape[1] < self.target.shape[-1]

    @property
    def shiftable(self) -> bool:
        """Whether there is a place for a constant."""
        return self.norm is not None or self.layer.bias is not None

    @property
    def centrings(self) -> list[bool]:
        """Which refits are tried: with a constant, through the origin.

        A constant is the same at every place of an output, but at borders, and between the strides of a transposed
        convolution, only some taps read. There a refit through the origin may be the better one.
        """
        return [False] if not self.shiftable else [True, False] if self.target.shape[2] > 1 else [True]

    def selected(self, x: Tensor) -> Tensor:
        """The inputs that stayed, of the dense layer's input x."""
        groups, columns = self.kept.shape[0], self.target.shape[-1]
        index = (self.kept + columns * torch.arange(groups)[:, None]).flatten()
        if self.pixels > 1:
            index = (index[:, None] * self.pixels + torch.arange(self.pixels)).flatten()
        return x.index_select(channel_axis(self.layer, x), index.to(x.device))

    def outputs(self, y: Tensor) -> Tensor:
        """The outputs that stayed, of what the dense layer gives out."""
        return y.index_select(channel_axis(self.layer, y), self.rows.to(y.device))


def held_as(name: str, layer: Any, leaf: str) -> str:
    """The model's name for a tensor of this layer."""
    return f"{name}_{leaf}" if isinstance(layer, InProjection) else f"{name}.{leaf}"


def answer(layer: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What a layer makes of x with this weight and bias; none of its hooks runs."""
    own = dict(layer._parameters)
    parameters = {"weight": nn.Parameter(weight, False), "bias": None if bias is None else nn.Parameter(bias, False)}
    layer._parameters.update({name: parameters[name] for name in parameters if name in own})
    try:
        return layer.forward(x)
    finally:
        layer._parameters.update(own)


def channel_axis(layer: Any, x: Tensor) -> int:
    """Where the channels of an input or output lie."""
    return x.dim() - 1 - len(layer.kernel_size) if isinstance(layer, nn.modules.conv._ConvNd) else x.dim() - 1


def readers_of(pruned: nn.Module, dense: nn.Module, survivors: Survivors) -> tuple[list[Reader], dict[str, str]]:
    """The layers that lost inputs, and why some of them can't be refitted.

    Where blocks left, every layer may read what such a block said before, and so all are readers.
    """
    held, dense_modules = _holders(pruned), dict(dense.named_modules())
    readers, alone = [], {}
    for name, layer in pruned.named_modules():
        if not reads(layer) or name not in dense_modules or not reads(dense_modules[name]):
            continue
        reader = _reader(name, layer, dense_modules[name], survivors)
        if reader is None or (isinstance(reader, Reader) and not (reader.lost or survivors.blocks)):
            continue
        why = _unfit(reader) if isinstance(reader, Reader) else reader
        why = "other layers hold its weight too" if held[id(layer.weight)] > 1 else why
        if why:
            alone[name] = why
        else:
            readers.append(reader)
    return readers, alone


def _is_depthwise(layer: Any) -> bool:
    """Each output reads one input, so that the layer behind has to make up for it."""
    return isinstance(layer, nn.modules.conv._ConvNd) and 1 < layer.groups == layer.in_channels


def _reader(name: str, layer: Any, whole: Any, survivors: Survivors) -> Reader | str | None:
    """None for what has no choice of inputs; a word on why not where it can't be refitted."""
    if _is_depthwise(whole):
        return None
    if groups_of(layer) != groups_of(whole):
        return "whole groups of it left"
    axis, shape, weight = input_axis(layer), whole.weight.shape, held_as(name, layer, "weight")
    left = survivors.along(weight, axis, shape[axis])
    pixels = 1
    if not isinstance(layer, nn.modules.conv._ConvNd) and len(left) < shape[axis]:
        pixels = _pixels(survivors.edits, weight, axis, left, shape[axis])
    rows = survivors.along(weight, 1 - axis, shape[1 - axis])
    target = columns_of(layer, whole.weight.detach().index_select(1 - axis, rows.to(whole.weight.device)), pixels)
    kept = _per_group(layer, left[::pixels] // pixels, target.shape[-1])
    if kept is None:
        return "its groups lost unequal numbers of inputs"
    bias = layer._parameters.get("bias")
    bias = None if bias is None else bias.detach()
    return Reader(name, layer, target, bias, kept, _outputs(layer, rows, shape[1 - axis]), pixels)


def _per_group(layer: Any, left: Tensor, columns: int) -> Tensor | None:
    """Which columns of each group stay, groups x k."""
    groups = groups_of(layer)
    if not getattr(layer, "transposed", False):
        return left.expand(groups, -1)
    counts = torch.bincount(left // columns, minlength=groups)
    return (left % columns).view(groups, -1) if bool((counts == counts[0]).all()) else None


def _outputs(layer: Any, rows: Tensor, size: int) -> Tensor:
    """The rows as channels of what the layer gives out: a transposed weight shows one group's."""
    if not getattr(layer, "transposed", False):
        return rows
    return (rows + size * torch.arange(groups_of(layer))[:, None]).flatten()


def _pixels(edits: Iterable[Edit], tensor: str, axis: int, left: Tensor, size: int) -> int:
    """How many inputs in a row are one channel's pixels: more than its first layer makes of it (heads are no maps)."""
    by_edit = [_pixels_of(part, tensor, axis, edit.site.step) for edit in edits for part in edit.parts()]
    counts = {pixels for pixels in by_edit if pixels is not None}
    if len(counts) != 1:
        return 1
    [pixels] = counts
    whole = size % pixels == 0 and len(left) % pixels == 0
    if not whole or not torch.equal(
        left.view(-1, pixels) % pixels, torch.arange(pixels).expand(len(left) // pixels, -1)
    ):
        return 1
    return pixels


def _pixels_of(part: SitePart, tensor: str, axis: int, step: int) -> int | None:
    runs = [run for slot in part[0] if slot.tensor == tensor and slot.axis == axis for run in slot.runs]
    if not runs:
        return None
    repeat = runs[0].repeat
    in_rows = all(run.repeat == repeat and run.start % repeat == 0 for run in runs)
    return repeat if in_rows and repeat > step else 1


def _unfit(reader: Reader) -> str | None:
    columns = reader.target.shape[-1]
    if columns > MOST_COLUMNS:
        return f"it reads {columns} columns, and moments of at most {MOST_COLUMNS} are kept"
    return None if is_linear(reader.layer) else "its answer is not linear in its weight"


def is_linear(layer: Any) -> bool:
    """Whether twice the weight gives twice the answer: standardised or quantised weights don't."""
    stock = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    if type(layer).forward in [kind.forward for kind in stock] or is_conv1d(layer):
        return True
    weight = layer.weight.detach()
    x = weight.new_ones(_small_input(layer))
    try:
        zero, one, two = (answer(layer, x, scale * weight, layer.bias) for scale in (0, 1, 2))
    except (RuntimeError, TypeError, ValueError):
        return False
    slope = one - zero
    if not bool((slope.sum() + two.sum()).isfinite()):
        return False
    return torch.allclose(two - zero, 2 * slope, rtol=1e-3, atol=1e-5 * float(slope.abs().max()))


def _small_input(layer: Any) -> list[int]:
    if not isinstance(layer, nn.modules.conv._ConvNd):
        return [1, layer.weight.shape[input_axis(layer)]]
    return [1, layer.in_channels, *(d * (k - 1) + 1 for k, d in zip(layer.kernel_size, layer.dilation, strict=True))]


def _holders(model: nn.Module) -> Mapping[int, int]:
    """How many places hold a parameter."""
    modules = [module for module in model.modules() if not isinstance(module, InProjection)]
    return Counter(id(p) for module in modules for p in module._parameters.values() if p is not None)
