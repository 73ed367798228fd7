"""An edit that another package might bring: one linear layer becomes two, by the largest singular values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from infoprune.errors import StalePlan
from infoprune.graph.slicing import Removal
from infoprune.graph.slots import Site
from infoprune.surgery import Added, Edit, edits
from infoprune.surgery.checked import LONGEST_AXIS, fields_of, integer, keys, name_of
from infoprune.surgery.edit import stale


@edits.register("low_rank")
@dataclass(frozen=True)
class LowRank(Edit):
    """W x + b of `layer` becomes B (A x) + b, where B A is the best approximation of W of this `rank`."""

    kind: ClassVar[str] = "low_rank"

    layer: str
    shape: tuple[int, int]
    rank: int
    bias: bool = True

    @property
    def site(self) -> Site:
        return Site(self.layer, min(self.shape), "ranks")

    @property
    def keeps(self) -> int:
        return self.rank

    @property
    def lost(self) -> Mapping[str, tuple[int, ...]]:
        return {f"{self.layer}.weight": self.shape, **({f"{self.layer}.bias": self.shape[:1]} if self.bias else {})}

    @property
    def added(self) -> Mapping[str, Added]:
        out, into = self.shape
        made = {"0.weight": (self.rank, into), "1.weight": (out, self.rank)}
        new = {f"{self.layer}.{name}": Added(shape, f"{self.layer}.weight") for name, shape in made.items()}
        return {**new, **({f"{self.layer}.1.bias": Added((out,), f"{self.layer}.bias")} if self.bias else {})}

    def check(self, model: nn.Module) -> None:
        layer = dict(model.named_modules()).get(self.layer)
        if not isinstance(layer, nn.Linear) or (layer.bias is not None) != self.bias:
            raise StalePlan(f"the model has no such linear layer {self.layer}, which the plan halves; plan() it again")
        if tuple(layer.weight.shape) != self.shape:
            raise stale(f"{self.layer}.weight", tuple(layer.weight.shape), self.shape)

    def replace_modules(self, model: nn.Module) -> None:
        old = model.get_submodule(self.layer)
        with torch.device(old.weight.device):
            pair = nn.Sequential(
                nn.Linear(self.shape[1], self.rank, bias=False), nn.Linear(self.rank, self.shape[0], bias=self.bias)
            )
        with torch.no_grad():
            for linear, factor in zip(pair, factors(old.weight, self.rank), strict=True):
                linear.weight.copy_(factor)
        pair[1].bias = old.bias
        model.set_submodule(self.layer, pair.to(old.weight.dtype).train(old.training))

    def mask(self, original: nn.Module, removal: Removal) -> None:
        first, second = factors(original.get_submodule(self.layer).weight, self.rank)

        def lowered(layer: nn.Module, args: Any, _: Tensor) -> Tensor:
            return nn.functional.linear(args[0], second.to(args[0]) @ first.to(args[0]), layer.bias)

        original.get_submodule(self.layer).register_forward_hook(lowered)

    def merged(self, other: Edit) -> LowRank:
        if other != self:
            raise StalePlan(f"the plans leave {self.layer} different ranks; use one plan")
        return self

    def host_ratios(self, model: nn.Module) -> dict[nn.Module, float]:
        raise ValueError(f"the rank of {self.layer} is nothing that a torch-pruning ratio can say; use prune_()")

    def to_json(self) -> dict[str, Any]:
        return {"layer": self.layer, "shape": list(self.shape), "rank": self.rank, "bias": self.bias}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LowRank:
        fields = keys(data, "edit", {"layer", "shape", "rank", "bias"})
        out, into = (integer(n, "size", 1, LONGEST_AXIS) for n in fields_of(fields["shape"], "shape", 2))
        rank = integer(fields["rank"], "rank", 1, min(out, into))
        return cls(name_of(fields["layer"]), (out, into), rank, bool(fields["bias"]))


def factors(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """A and B of equal share in the singular values; of a weight without values, such without values."""
    left, values, right = torch.linalg.svd(weight.detach(), full_matrices=False)
    root = values[:rank].sqrt()
    return root[:, None] * right[:rank], left[:, :rank] * root
