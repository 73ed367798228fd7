"""What crosses from the edge to the cloud."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from infoprune.allocation import Posynomial
from infoprune.budgets.base import Amounts, Counted, budgets, numbers
from infoprune.errors import UnknownName
from infoprune.graph import Graph
from infoprune.graph.arguments import Arguments
from infoprune.graph.evaluating import evaluating
from infoprune.graph.outputs import output_of
from infoprune.registry import nearest

BITS_A_VALUE = 8


@budgets.register("bits")
@dataclass(frozen=True, kw_only=True)
class Bits(Counted):
    """Bits per image that the features of a layer take as 8-bit levels, before anything compresses them.

    In `ip.plan` it prices channels: 8 H W for each feature that the edge still computes, exact for every choice. What a
    codec makes of them depends on the pictures, so that `ip.split.select_for_rate` measures it: there `at_most` are
    bits of real streams, and `keep` is a share of the same 8-bit price.

    Args:
        keep: The share of the dense network's bits that may be left.
        at_most: The most bits, in place of a share.
        refine: Plan again until what was built meets the budget, as in `budgets.latency`; the price here is exact.
        at: Name of the layer; `select_for_rate` needs none.
    """

    resource: ClassVar[str] = "bits"
    amounts: ClassVar[Amounts] = numbers(1000)
    whole: ClassVar[bool] = True

    at: str | None = None

    def cost(self, graph: Graph) -> Posynomial:
        output = output_of(graph, self._layer)
        return graph.price([(BITS_A_VALUE * math.prod(output.shape[2:]), (output.channels,))])

    def measure(self, model: nn.Module, inputs: Any) -> float:
        modules = dict(model.named_modules())
        if self._layer not in modules:
            raise UnknownName(f"the model has no layer {self.at!r}; {nearest(self._layer, list(modules))}")
        heard: list[Any] = []
        hearing = modules[self._layer].register_forward_hook(lambda *args: heard.append(args[2]))
        with hearing, torch.no_grad(), evaluating(model):
            Arguments.of(inputs).run(model)
        return BITS_A_VALUE * sum(t.numel() // len(t) for t in heard if isinstance(t, Tensor))

    @property
    def _layer(self) -> str:
        if self.at is None:
            raise ValueError("bits are of the features that one layer sends; name it, as in bits(keep=0.5, at='neck')")
        return self.at
