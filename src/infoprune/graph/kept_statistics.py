"""Let the masked original take its statistics over what is kept, as the pruned network must."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from infoprune.graph.labels import Marks, varying
from infoprune.graph.rules import find_rule
from infoprune.graph.rules.base import newer
from infoprune.graph.rules.reduction import reduced_axes
from infoprune.graph.slicing import Removal
from infoprune.graph.tape import Tape, paused

aten = torch.ops.aten
NORMS = (aten.native_layer_norm, newer("_fused_rms_norm"), aten.native_group_norm)


class KeptStatistics(TorchDispatchMode):
    """Follow the labels through the masked original, and leave what is masked out of every statistic on the way.

    Averages, variances and norms, of library layers or written by hand, and the scale of attention where it follows
    from the dimensions of a head. Sums are taken as they are: there a zero is as good as an absence, or it shows.
    """

    def __init__(self, model: nn.Module, removal: Removal):
        super().__init__()
        self.tape = Tape.of(model)
        self.removal = removal
        self.gone = torch.zeros(1, dtype=torch.bool)
        self.known = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        statistic = STATISTICS.get(func.overloadpacket)
        out = statistic(self, func, args, kwargs) if statistic else None
        if out is None:
            out = func(*args, **(kwargs | self._scale(func, args, kwargs)))
        with paused():
            self._follow(func, args, kwargs, out)
        return out

    def _follow(self, func: Any, args: tuple, kwargs: dict, out: Any) -> None:
        """Nothing is tied here, so that labels go through a norm as they came."""
        marks = self.tape.marks(args[0]) if func.overloadpacket in NORMS else Marks()
        if marks.planes:
            self.tape.mark(out[0], marks)
        else:
            find_rule(func)(self.tape, func, args, kwargs, out)

    def kept(self, tensor: Tensor, axes: Sequence[int]) -> Tensor | None:
        """Which elements count, where along these axes some do and some don't; broadcasts to the tensor's shape."""
        mask = None
        with paused():
            for plane in self.tape.marks(tensor).planes:
                if set(varying(plane)) & set(axes):
                    stays = ~self._gone(plane)
                    mask = stays if mask is None else mask & stays
            if mask is None or bool((mask.amax(tuple(axes), True) == mask.amin(tuple(axes), True)).all()):
                return None
        return mask.to(tensor.device)

    def _gone(self, plane: Tensor) -> Tensor:
        for axis in set(range(plane.dim())) - set(varying(plane)):
            plane = plane.narrow(axis, 0, 1)
        self._look_up()
        return self.gone[plane]

    def _look_up(self) -> None:
        """Mark the labels that the removal takes, of the parameters met since the last look."""
        self.gone = torch.cat([self.gone, self.gone.new_zeros(self.tape.ledger.size - len(self.gone))])
        for (name, axis), labels in list(self.tape.axes.items())[self.known :]:
            indices = self.removal.indices.get(name, {}).get(axis)
            if indices is not None:
                self.gone[labels[torch.from_numpy(indices)]] = True
        self.known = len(self.tape.axes)

    def _scale(self, func: Any, args: tuple, kwargs: dict) -> dict[str, float]:
        """1 / sqrt(dimensions of a head that stay), unless a scale is given."""
        if not func.overloadpacket.__name__.startswith("_scaled_dot_product") or kwargs.get("scale") is not None:
            return {}
        kept = self.kept(args[0], [args[0].dim() - 1])
        return {} if kept is None else {"scale": int(kept.flatten(0, -2).sum(-1).max()) ** -0.5}


# ------------------------------------------------------------------------------------------------------ moments


def _moments(x: Tensor, kept: Tensor, axes: Sequence[int], correction: float = 0) -> tuple[Tensor, Tensor]:
    """Mean and variance over what counts, with the axes kept; zero where nothing does."""
    axes = tuple(axes)
    count = kept.expand(x.shape).sum(axes, keepdim=True)
    mean = torch.where(kept, x, 0).sum(axes, keepdim=True) / count.clamp(min=1)
    squares = torch.where(kept, (x - mean) ** 2, 0).sum(axes, keepdim=True)
    return mean, squares / (count - correction).clamp(min=1)


def _normalised(x: Tensor, kept: Tensor, axes: Sequence[int], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """(x - mean) / sqrt(variance + eps) where it counts and 0 elsewhere, the mean, and what it was multiplied by."""
    mean, variance = _moments(x, kept, axes)
    scale = (variance + eps).rsqrt()
    return torch.where(kept, (x - mean) * scale, 0), mean, scale


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


# --------------------------------------------------------------- each answers None where all that it is over stays


def _mean(mode: KeptStatistics, func: Any, args: tuple, kwargs: dict) -> Tensor | None:
    x = args[0]
    axes = reduced_axes(args, kwargs, x.dim())
    kept = mode.kept(x, axes)
    if kept is None:
        return None
    mean, _ = _moments(x, kept, axes)
    keep_axes = kwargs.get("keepdim", args[2] if len(args) > 2 else False)
    return (mean if keep_axes else mean.squeeze(axes)).to(kwargs.get("dtype") or x.dtype)


def _spread(finish: Callable[[Tensor, Tensor], Any]) -> Callable[..., Any]:
    """Of variances and standard deviations, alone or beside the mean."""

    def statistic(mode: KeptStatistics, func: Any, args: tuple, kwargs: dict) -> Any:
        x = args[0]
        axes = reduced_axes(args, kwargs, x.dim())
        kept = mode.kept(x, axes)
        if kept is None:
            return None
        arguments = {a.name: v for a, v in zip(func._schema.arguments, args, strict=False)} | kwargs
        correction = arguments.get("correction")
        if correction is None:
            correction = int(arguments.get("unbiased", True))
        moments = _moments(x, kept, axes, correction)
        return finish(*(m if arguments.get("keepdim") else m.squeeze(axes) for m in moments))

    return statistic


def _layer_norm(mode: KeptStatistics, func: Any, args: tuple, kwargs: dict) -> tuple | None:
    x, shape, weight, bias, eps = args
    axes = list(range(x.dim() - len(shape), x.dim()))
    kept = _kept_in_norm(mode, x, axes, weight)
    if kept is None:
        return None
    out, mean, scale = _normalised(x, kept, axes, eps)
    return _affine(out, weight, bias), mean, scale


def _rms_norm(mode: KeptStatistics, func: Any, args: tuple, kwargs: dict) -> tuple | None:
    x, shape, weight, eps = args
    axes = list(range(x.dim() - len(shape), x.dim()))
    kept = _kept_in_norm(mode, x, axes, weight)
    if kept is None:
        return None
    square, _ = _moments(x**2, kept, axes)
    scale = (square + (torch.finfo(x.dtype).eps if eps is None else eps)).rsqrt()
    return _affine(torch.where(kept, x * scale, 0), weight, None), scale


def _kept_in_norm(mode: KeptStatistics, x: Tensor, axes: Sequence[int], weight: Tensor | None) -> Tensor | None:
    """Where the labels of what is normalised were lost on the way, the norm's own weight knows them."""
    kept = mode.kept(x, axes)
    return kept if kept is not None or weight is None else mode.kept(weight, list(range(weight.dim())))


def _group_norm(mode: KeptStatistics, func: Any, args: tuple, kwargs: dict) -> tuple | None:
    x, weight, bias, batch, channels, _, groups, eps = args
    kept = _kept_in_norm(mode, x, [1], weight)
    if kept is None:
        return None
    kept = kept.reshape(1, groups, -1, 1)
    out, mean, scale = _normalised(x.reshape(batch, groups, channels // groups, -1), kept, [2, 3], eps)
    affine = [None if t is None else t.view(-1, *(1,) * (x.dim() - 2)) for t in (weight, bias)]
    return _affine(out.view(x.shape), *affine), mean.flatten(1), scale.flatten(1)


def _batch_norm(mode: KeptStatistics, func: Any, args: tuple, kwargs: dict) -> tuple | None:
    """In training it takes statistics over all axes but the second: of a weight, to standardise it."""
    x, weight, bias, _, _, training, _, eps = args
    axes = [axis for axis in range(x.dim()) if axis != 1]
    kept = mode.kept(x, axes) if training else None
    if kept is None:
        return None
    out, mean, scale = _normalised(x, kept, axes, eps)
    affine = [None if t is None else t.view(-1, *(1,) * (x.dim() - 2)) for t in (weight, bias)]
    return _affine(out, *affine), mean.flatten(), scale.flatten()


STATISTICS: dict[object, Callable[..., Any]] = {
    aten.mean: _mean,
    aten.var: _spread(lambda mean, variance: variance),
    aten.std: _spread(lambda mean, variance: variance.sqrt()),
    aten.var_mean: _spread(lambda mean, variance: (variance, mean)),
    aten.std_mean: _spread(lambda mean, variance: (variance.sqrt(), mean)),
    aten.native_layer_norm: _layer_norm,
    newer("_fused_rms_norm"): _rms_norm,
    aten.native_group_norm: _group_norm,
    aten.native_batch_norm: _batch_norm,
}
