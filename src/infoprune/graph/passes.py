"""A pass: one way in which a model is run, on which arguments and in which mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from infoprune.graph.arguments import Arguments
from infoprune.graph.detectors import settled

aten = torch.ops.aten
KNOWN = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)
DROPOUTS = frozenset({
    torch.dropout, torch.alpha_dropout, torch.feature_dropout, torch.feature_alpha_dropout,
    F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout,
})  # fmt: skip
ATTENTION = ("dropout_p", "is_causal")  # the last arguments of attention that may be given without their names
DRAWN = {
    **dict.fromkeys((aten.bernoulli, aten.bernoulli_), 1.0),
    **dict.fromkeys((aten.rand, aten.rand_like, aten.randn, aten.randn_like, aten.normal, aten.normal_), 0.5),
    **dict.fromkeys((aten.uniform, aten.uniform_, aten.exponential, aten.exponential_, aten.log_normal_), 0.5),
}


@dataclass(frozen=True)
class Pass:
    """A call in evaluation mode, or in the mode that training uses."""

    inputs: Arguments
    training: bool = False

    @contextmanager
    def ready(self, model: nn.Module, *, boxes: int | None = None) -> Iterator[None]:
        """The model in this mode, with the same chance at every call; `boxes` caps those of a detector.

        Everything is put back afterwards.
        """
        with settled(model, boxes=boxes), learning(model) if self.training else nullcontext():
            yield


def smaller(shown: Pass) -> Pass:
    """The same call on every second pixel of large pictures."""
    return replace(shown, inputs=shown.inputs.map(_every_second_pixel))


def _every_second_pixel(x: Tensor) -> Tensor:
    is_large_image = x.dim() == 4 and min(x.shape[2:]) >= 128
    return x[:, :, ::2, ::2].contiguous() if is_large_image else x


@contextmanager
def learning(model: nn.Module) -> Iterator[None]:
    """Training mode that teaches nothing and leaves nothing to chance, of a model that is `settled`.

    What the packages' own layers do in training is known, and left out: norms keep their statistics and nothing is
    dropped.
    """
    model.train()
    for layer in filter(_is_known, model.modules()):
        layer.training = False
    with _NothingDropped(), _NoChance():
        yield


def _is_known(module: nn.Module) -> bool:
    """Whether all that it does in training is to drop something, or to take statistics."""
    home, kind = type(module).__module__.partition(".")[0], type(module).__name__
    drops_paths = home in ("timm", "torchvision", "transformers") and kind.endswith(("DropPath", "StochasticDepth"))
    return drops_paths or isinstance(module, KNOWN) or type(module).__module__.startswith("torch.nn.")


class _NothingDropped(TorchFunctionMode):
    """Dropout keeps everything, as if it were not there."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func in DROPOUTS:
            return args[0] if args else kwargs["input"]
        if func is F.scaled_dot_product_attention:
            args, kwargs = args[:4], {**kwargs, **dict(zip(ATTENTION, args[4:], strict=False)), "dropout_p": 0.0}
        return func(*args, **kwargs)


class _NoChance(TorchDispatchMode):
    """What is drawn is the same everywhere, so that two networks of other widths draw alike; masks keep everything."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket is aten.native_dropout:
            return args[0].clone(), torch.ones_like(args[0], dtype=torch.bool)
        if func.overloadpacket in DRAWN:
            out.fill_(DRAWN[func.overloadpacket])
        return out
