"""Statistics of batch norms: estimated anew, or moved by as much as pruning moved them; and which of both is safe."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from infoprune.observe.norms import Norm, tracking_norms
from infoprune.observe.norms import reestimate_ as reestimate_
from infoprune.processes import over_processes

Forward = Callable[[nn.Module, Any], Any]


@torch.no_grad()
def relative_(
    model: nn.Module,
    dense: nn.Module,
    images: Iterable[Any],
    *,
    kept: Mapping[str, Tensor] | None = None,
    forward: Forward | None = None,
) -> nn.Module:
    """Move the running statistics of all batch norms as far as pruning moved what they see, in place.

    With s^2 = var seen / var seen by the dense network, var <- s^2 dense var and mean <- mean seen + s (dense mean -
    mean seen by dense), measured on the same images while both networks run side by side. The identity on the dense
    network itself, whatever the images, unlike `reestimate_`. Both models run in evaluation mode; modes are restored.

    Args:
        model: The pruned network; statistics of its batch norms change.
        dense: The network before surgery.
        images: Batches that both take.
        kept: By a norm's name, which of the dense norm's channels this one has; all of them by default.
        forward: Runs a network on a batch; by default it is called with the batch.
    """
    ours, theirs = tracking_norms(model), tracking_norms(dense)
    pairs = {name: (norm, theirs[name]) for name, norm in ours.items() if name in theirs}
    kept = kept or {}
    before = {
        name: _Statistics(norm.running_mean.clone(), norm.running_var.clone()) for name, (norm, _) in pairs.items()
    }
    modes = [(m, m.training) for m in [*model.modules(), *dense.modules()]]
    tracks = {name: _Track(_chosen(whole, kept.get(name))) for name, (_, whole) in pairs.items()}
    forward = forward or (lambda network, batch: network(batch))
    try:
        with ExitStack() as stack:
            for name, (norm, whole) in pairs.items():
                stack.enter_context(whole.register_forward_pre_hook(tracks[name].see_dense(kept.get(name))))
                stack.enter_context(norm.register_forward_pre_hook(tracks[name].see_pruned))
            model.eval()
            dense.eval()
            for batch in images:
                forward(dense, batch)
                forward(model, batch)
        for name, (norm, _) in pairs.items():
            _set(norm, tracks[name].relative() or before[name])
    except BaseException:
        for name, (norm, _) in pairs.items():
            _set(norm, before[name])
        raise
    finally:
        for module, training in modes:
            module.training = training
    return model


@torch.no_grad()
def agreement_when_renewed(model: nn.Module, images: Iterable[Tensor]) -> float:
    """The share of images to which the model answers alike (largest of its outputs) before and after `reestimate_`.

    Near 1 where the images are like those that the model was trained on. Where it is much lower, estimating norms anew
    harms any network, pruned or not, and so does training with norms in training mode: take `relative_`, and keep norms
    in evaluation mode. The model is not changed; half of the images set the statistics, the others are asked.
    """
    batches = list(images)
    renewed = reestimate_(copy.deepcopy(model), batches[::2])
    asked = batches[1::2] or batches
    modes = [(m, m.training) for m in model.modules()]
    try:
        model.eval()
        renewed.eval()
        same = [(model(x).flatten(1).argmax(1) == renewed(x).flatten(1).argmax(1)).float() for x in asked]
    finally:
        for module, training in modes:
            module.training = training
    return float(torch.cat(same).mean())


class _Statistics(NamedTuple):
    mean: Tensor
    var: Tensor


class _Sums:
    """Of one norm's inputs: how many numbers a channel, their sum and their sum of squares, about the dense mean."""

    def __init__(self, centre: Tensor):
        self.centre, self.count = centre.double(), 0
        self.sums, self.squares = torch.zeros_like(self.centre), torch.zeros_like(self.centre)

    def add(self, x: Tensor) -> _Statistics:
        """Count a batch; its own mean and variance are returned."""
        x = x if x.dtype == torch.float64 else x.float()
        flat = (x.flatten(2) if x.dim() > 2 else x[..., None]) - self.centre.to(x)[:, None]
        n = flat.numel() // flat.shape[1]
        sums, squares = (t.sum(2).sum(0, dtype=torch.float64) for t in (flat, flat.square()))
        self.count += n
        self.sums += sums
        self.squares += squares
        gap = sums / n
        return _Statistics(self.centre + gap, (squares / n - gap.square()).clamp(min=0))

    def __add__(self, other: _Sums) -> _Sums:
        both = _Sums(self.centre)
        both.count = self.count + other.count
        both.sums, both.squares = self.sums + other.sums, self.squares + other.squares
        return both

    def statistics(self) -> _Statistics:
        gap = self.sums / self.count
        return _Statistics(self.centre + gap, (self.squares / self.count - gap.square()).clamp(min=0))


class _Track:
    """One norm in both networks. Within a batch the pruned one already uses what it will have in the end."""

    def __init__(self, dense: _Statistics):
        self.dense, self.batches = dense, []
        self.seen, self.seen_dense = _Sums(dense.mean), _Sums(dense.mean)

    def see_dense(self, kept: Tensor | None) -> Callable[..., None]:
        def note(_: nn.Module, args: tuple) -> None:
            x = args[0] if kept is None else args[0].index_select(1, kept.to(args[0].device))
            self.batches.append(self.seen_dense.add(x))

        return note

    def see_pruned(self, norm: Norm, args: tuple) -> None:
        if self.batches:
            _set(norm, _moved(self.dense, self.seen.add(args[0]), self.batches.pop(0)))

    def relative(self) -> _Statistics | None:
        seen, seen_dense = over_processes(self.seen), over_processes(self.seen_dense)
        if not seen.count or seen.count != seen_dense.count:
            return None
        return _moved(self.dense, seen.statistics(), seen_dense.statistics())


def _moved(dense: _Statistics, now: _Statistics, then: _Statistics) -> _Statistics:
    """What makes the normalised channel of the pruned network have the mean and the variance of the dense one's.

    A channel that does not vary in one of the networks, on these images, keeps its variance.
    """
    scale = torch.where((then.var > 0) & (now.var > 0), now.var / then.var, 1.0)
    mean = now.mean + scale.sqrt() * (dense.mean.double() - then.mean)
    return _Statistics(mean, dense.var.double() * scale)


def _chosen(norm: Norm, kept: Tensor | None) -> _Statistics:
    whole = _Statistics(norm.running_mean.clone(), norm.running_var.clone())
    return whole if kept is None else _Statistics(*(t[kept.to(t.device)] for t in whole))


def _set(norm: Norm, statistics: _Statistics) -> None:
    norm.running_mean.copy_(statistics.mean)
    norm.running_var.copy_(statistics.var)
