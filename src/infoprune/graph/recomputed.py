"""Weights that are computed anew before every call: by masks and norms, as hooks or as parametrisations."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _WeightNorm
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm


@torch.no_grad()
def recompute(module: nn.Module) -> None:
    """Let hooks compute the weight that the next call would use, from parameters that have changed."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, BasePruningMethod):
            setattr(module, hook._tensor_name, hook.apply_mask(module))
        elif isinstance(hook, WeightNorm):
            setattr(module, hook.name, hook.compute_weight(module))
        elif isinstance(hook, SpectralNorm):
            setattr(module, hook.name, hook.compute_weight(module, do_power_iteration=False))


def normed_axes(model: nn.Module) -> dict[str, int]:
    """The directions of weight norms, each with the axis whose slices are divided by norms of their own.

    A slice of zeros has no direction; zero in its gain is enough for it to be nothing.
    """
    axes = {}
    for name, module in model.named_modules():
        for hook in (h for h in module._forward_pre_hooks.values() if isinstance(h, WeightNorm)):
            axes[f"{name}.{hook.name}_v".lstrip(".")] = hook.dim
        if isinstance(module, parametrize.ParametrizationList) and isinstance(module[0], _WeightNorm):
            axes[f"{name}.original1"] = module[0].dim
    return {name: axis for name, axis in axes.items() if axis is not None and axis >= 0}


@torch.no_grad()
def weight_of(module: nn.Module) -> Tensor:
    """The weight as the layer would use it in evaluation: asking for it in training would move a spectral norm."""
    if not parametrize.is_parametrized(module, "weight"):
        return module.weight  # type: ignore[return-value]
    held = module.get_submodule("parametrizations.weight")
    modes = {part: part.training for part in held.modules()}
    held.eval()
    try:
        return module.weight  # type: ignore[return-value]
    finally:
        for part, mode in modes.items():
            part.training = mode
