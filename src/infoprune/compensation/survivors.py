"""What of a dense network's tensors stands in a pruned one, followed through its plans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from infoprune.errors import BadWeights, StalePlan
from infoprune.graph.slicing import named_tensors, sliced
from infoprune.surgery.blocks import DropBlock
from infoprune.surgery.plan import Edit, Plan, removal_of
from infoprune.surgery.widths import KeepWidths


@dataclass(frozen=True)
class Survivors:
    """tensor -> axis -> which of the dense network's indices stayed, and the edits that took the others."""

    kept: Mapping[str, Mapping[int, Tensor]]
    edits: tuple[Edit, ...]

    @classmethod
    def of(cls, dense: nn.Module, plans: Sequence[Plan]) -> Survivors:
        """After the plans, one after the other."""
        edits = tuple(edit for plan in plans for edit in plan.edits)
        for edit in edits:
            if isinstance(edit, KeepWidths) and not edit.known:
                raise StalePlan(
                    f"which units of {edit.site.name} stayed is not known, only how many; compensation needs a plan "
                    "of infoprune.plan(), or what infoprune.plan_between(dense, pruned) finds"
                )
        shapes = {name: t.shape for name, t in named_tensors(dense).items()}
        indices: dict[str, dict[int, np.ndarray]] = {}
        for plan in plans:
            for name, axes in removal_of(plan.edits).indices.items():
                for axis, gone in axes.items():
                    _require(name in shapes and axis < len(shapes[name]), f"no axis {axis} of {name}")
                    left = indices.setdefault(name, {}).setdefault(axis, np.arange(shapes[name][axis]))
                    _require(not len(gone) or gone.max() < len(left), f"{len(left)} indices in {name}")
                    indices[name][axis] = np.delete(left, gone)
        kept = {name: {axis: torch.from_numpy(i) for axis, i in axes.items()} for name, axes in indices.items()}
        return cls(kept, edits)

    @property
    def blocks(self) -> bool:
        """Whether whole blocks left too."""
        return any(isinstance(edit, DropBlock) for edit in self.edits)

    def along(self, name: str, axis: int, size: int) -> Tensor:
        """The dense indices that stayed along an axis `size` long."""
        return self.kept.get(name, {}).get(axis, torch.arange(size))

    def sliced(self, name: str, tensor: Tensor) -> Tensor:
        """The dense tensor as it leaves surgery."""
        return sliced(tensor.detach(), self.kept.get(name, {}))

    def require_ancestor(self, pruned: nn.Module, dense: nn.Module, free: Iterable[str]) -> None:
        """Raise StalePlan unless the pruned network holds slices of the dense one, but for the tensors in `free`."""
        whole, free = named_tensors(dense), set(free)
        for name, tensor in named_tensors(pruned).items():
            _require(name in whole, f"no tensor {name}")
            if tensor.is_floating_point() and (tensor.isnan().any() or whole[name].isnan().any()):
                raise BadWeights(f"{name} holds NaN, in the pruned model or the dense one; load sound weights")
            expected = self.sliced(name, whole[name])
            _require(expected.shape == tensor.shape, f"{name} {tuple(expected.shape)} after the plans")
            if name not in free and not torch.equal(expected.to(tensor), tensor.detach()):
                raise StalePlan(
                    f"{name} does not hold what the dense model has in its place; give the network that was pruned as "
                    "it was then, and compensate before training goes on"
                )


def _require(holds: bool, oddity: str) -> None:
    if not holds:
        raise StalePlan(
            f"the dense model has {oddity}, unlike the pruned one; give the network that was pruned, as it was before, "
            "and all plans in their order (plan=)"
        )
