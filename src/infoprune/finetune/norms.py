"""Batch norms: how their statistics are set, and shared between processes where torch does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from infoprune.compensation.norms import agreement_when_renewed as agreement_when_renewed
from infoprune.compensation.norms import reestimate_ as reestimate_
from infoprune.compensation.norms import relative_ as relative_
from infoprune.compensation.norms import tracking_norms


def freeze_norms(model: nn.Module) -> None:
    """Put batch norms in evaluation mode: their weights learn, their statistics stay."""
    for norm in tracking_norms(model).values():
        norm.eval()


class _Shared:
    """What a batch norm computes when its batch is spread over all processes."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:  # type: ignore[attr-defined]
            return super().forward(x)  # type: ignore[misc]
        axes = [a for a in range(x.dim()) if a != 1]
        wide = x if x.dtype == torch.float64 else x.float()
        count = wide.new_tensor([wide.numel() // wide.shape[1]])
        sums = _summed(torch.cat([wide.sum(axes), count]))
        mean = sums[:-1] / sums[-1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        centred = wide - mean.view(shape)
        variance = _summed(centred.square().sum(axes)) / sums[-1]
        self._note(mean.detach(), variance.detach(), float(sums.detach()[-1]))
        scaled = centred * (variance + self.eps).rsqrt().view(shape)  # type: ignore[attr-defined]
        if self.affine:  # type: ignore[attr-defined]
            scaled = scaled * self.weight.view(shape) + self.bias.view(shape)  # type: ignore[attr-defined]
        return scaled.to(x.dtype)

    @torch.no_grad()
    def _note(self, mean: Tensor, variance: Tensor, count: float) -> None:
        if not self.track_running_stats:  # type: ignore[attr-defined]
            return
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum  # type: ignore[attr-defined]
        self.running_mean.lerp_(mean, share)  # type: ignore[attr-defined]
        self.running_var.lerp_(variance * count / (count - 1), share)  # type: ignore[attr-defined]


class _Shared1d(_Shared, nn.BatchNorm1d): ...


class _Shared2d(_Shared, nn.BatchNorm2d): ...


SHARED = {nn.BatchNorm1d: _Shared1d, nn.BatchNorm2d: _Shared2d}


@contextmanager
def shared_norms(model: nn.Module) -> Iterator[None]:
    """While this lasts, batch norms see the batches of all processes as one (torch's own does so on GPUs alone)."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        yield
        return
    changed = [(m, type(m)) for m in model.modules() if type(m) in SHARED]
    try:
        for module, kind in changed:
            module.__class__ = SHARED[kind]
        yield
    finally:
        for module, kind in changed:
            module.__class__ = kind


class _Sum(torch.autograd.Function):
    """The sum over processes; so is its gradient."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        total = x.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def _summed(x: Tensor) -> Tensor:
    return _Sum.apply(x)
