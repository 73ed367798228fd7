"""Memory that activations take, counted exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from infoprune.allocation import Posynomial
from infoprune.budgets.base import Amounts, Counted, budgets, numbers
from infoprune.budgets.layer_calls import calls_of, output_elements
from infoprune.graph import Graph


@budgets.register("activations")
@dataclass(frozen=True, kw_only=True)
class Activations(Counted):
    """Numbers that convolutions and linear layers give out for the example inputs, summed over the network.

    The sum is what training stores and what travels through memory. The peak is less than the sum, but
    depends on when buffers are freed and is no posynomial; norms and activation functions work on the
    same elements again and are not counted a second time.
    """

    resource: ClassVar[str] = "activations"
    amounts: ClassVar[Amounts] = numbers(1000)
    whole: ClassVar[bool] = True

    def cost(self, graph: Graph) -> Posynomial:
        return elements(graph)

    def measure(self, model: nn.Module, inputs: Any) -> float:
        return output_elements(model, inputs)


def elements(graph: Graph) -> Posynomial:
    """What the layers give out, as a function of the sites' counts."""
    products = []
    for call in calls_of(*graph.call):
        factor, channels = call.channels(graph)
        products.append((call.places * factor, (channels,)))
    return graph.price(products)
