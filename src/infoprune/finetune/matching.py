"""match_: after compensation, the pruned network is trained to pass on from block to block what the dense one does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from infoprune.compensation.compensating import plans_for
from infoprune.compensation.judging import output_errors
from infoprune.compensation.pictures import FITTED, Pictures
from infoprune.compensation.survivors import Survivors
from infoprune.compensation.weights import commit
from infoprune.data import Examples
from infoprune.errors import Interrupted, UnusableData
from infoprune.finetune.block_ends import both_ends
from infoprune.finetune.callbacks import Progress, Surroundings
from infoprune.finetune.loop import train
from infoprune.finetune.loss import Goal
from infoprune.finetune.options import Training
from infoprune.graph.slicing import device_of, named_tensors
from infoprune.observe.undisturbed import undisturbed
from infoprune.progress import counting
from infoprune.require import require_model, require_values
from infoprune.surgery.plan import Plan

HOW = Training(
    optimizer="adamw", weight_decay=0.0, distill=1.0, norms="frozen", reestimate=0, precision="fp32",
    channels_last=False,
)  # fmt: skip


@dataclass(frozen=True)
class Matching:
    """What matching did: squared error of the network's outputs over their variance, on `held_out` samples.

    `taken` says whether the new weights stand, which they do where they lowered it.
    """

    before: float
    after: float
    blocks: int
    steps: int
    fitted_on: int
    held_out: int

    @property
    def taken(self) -> bool:
        return self.after < self.before

    def __str__(self) -> str:
        kept = "" if self.taken else "; the weights stay what they were"
        return (
            f"{self.blocks} blocks matched in {self.steps} steps on {self.fitted_on} samples, outputs "
            f"{self.before:.3g} -> {self.after:.3g} (squared error over variance, on {self.held_out} held-out samples)"
            f"{kept}"
        )


def match_(
    pruned: nn.Module,
    dense: nn.Module,
    loader: Iterable[Any],
    *,
    steps: int = 300,
    lr: float = 1e-3,
    batch: int = 32,
    samples: int = 1024,
    seed: int = 0,
    progress: bool = True,
    plan: Plan | Sequence[Plan] | None = None,
    around: Surroundings | None = None,
) -> Matching:
    """Train what leaves every block of `pruned` to be what stayed of it in `dense`; in place, all of it or nothing.

    The loss is the mean over blocks, and the network's own outputs, of squared errors over variance; its gradient goes
    through the whole network. Norms keep their statistics. An eighth of the samples is held out, and the new weights
    stand only where the outputs come closer to the dense ones there. Do it after `compensate_`, before training.

    Args:
        pruned: What `prune_` made of a copy of `dense`; its weights change.
        dense: The network before surgery.
        loader: Gives what both take; labels are not read.
        steps: How many steps Adam takes.
        lr: Its rate.
        batch: Samples in a step.
        samples: How many samples of the loader are read at most, and held in memory.
        seed: Of the order of the samples.
        progress: Show how far it has come.
        plan: What `pruned` went through, where `prune_` was not called on this very object.
        around: Where checkpoints go, so that an interrupted call goes on where it was and ends with bitwise the same
            weights; and who is told.
    """
    require_model(pruned, "pruned")
    require_model(dense, "dense")
    require_values(pruned, "to train", "pruned")
    require_values(dense, "to learn from", "dense")
    if steps < 1 or batch < 1:
        raise ValueError(f"steps is {steps} and batch {batch}; give at least 1 of each")
    survivors = Survivors.of(dense, plans_for(pruned, plan))
    survivors.require_ancestor(pruned, dense, named_tensors(dense))
    device = device_of(dense)
    pictures = Pictures.of(loader, samples, device, progress=progress)
    images = _held(pictures)
    trial = copy.deepcopy(pruned)
    with undisturbed(dense), undisturbed(pruned):
        ours, whole = both_ends(trial, dense, survivors, images[:2])
        with torch.enable_grad():
            done = _trained(ours, whole, images, steps, lr, min(batch, len(images)), seed, around, progress)
        before, after = output_errors(dense, [pruned, trial.eval()], pictures)
        matching = Matching(before, after, len(ours.at), done, *pictures.counts)
        if matching.taken:
            commit(pruned, trial)
    return matching


class Passing(Goal):
    """Every block passes on what the dense one does: squared errors over the variance of a batch, in their mean."""

    def loss(self, forward: Callable[..., Any], images: Tensor, targets: Any, dense: Any, training: Training) -> Tensor:
        pairs = zip(forward(images), dense, strict=True)
        return torch.stack([_error(own, whole) for own, whole in pairs]).mean()


def _error(own: Tensor, whole: Tensor) -> Tensor:
    spread = (whole - whole.mean(0)).square().sum()
    return (own - whole).square().sum() / spread.clamp(min=torch.finfo(spread.dtype).tiny)


@dataclass(frozen=True)
class _Images(Examples):
    """Pictures in memory, of which nothing is to be said."""

    images: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, epoch: int, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        return self.images[list(indices)], torch.zeros(len(indices), dtype=torch.long)


def _held(pictures: Pictures) -> Tensor:
    """What is there to fit on."""
    batches = [batch for _, batch in pictures.parts(FITTED, "read pictures")]
    if any(len(batch.args) != 1 or batch.kwargs for batch in batches):
        raise UnusableData("matching takes networks of one tensor; this loader gives several inputs")
    tensors = [batch.args[0] for batch in batches]
    if len({x.shape[1:] for x in tensors}) > 1:
        raise UnusableData(
            f"the loader gives samples of {len({x.shape[1:] for x in tensors})} sizes; matching takes one"
        )
    return torch.cat(tensors)


def _trained(
    ours: nn.Module, whole: nn.Module, images: Tensor, steps: int, lr: float, batch: int, seed: int,
    around: Surroundings | None, progress: bool,
) -> int:  # fmt: skip
    """Train ours; how many steps that took."""
    around, per_epoch = around or Surroundings(), max(1, len(images) // batch)
    training = replace(HOW, epochs=steps / per_epoch, lr=lr)
    with counting(steps, "match blocks", "step", shown=progress) as done:
        before = 0

        def note(p: Progress) -> None:
            nonlocal before
            done(p.step - before)
            before = p.step
            around.note(p)

        ended = train(
            ours, _Images(images), training, batch=batch, seed=seed, goal=Passing(), teacher=whole,
            around=replace(around, note=note),
        )  # fmt: skip
    if ended.ended == "stopped":
        raise Interrupted(f"stopped after step {ended.steps} of matching; the same call goes on from there")
    return ended.steps
