"""Layers whose output is concatenated to all that came before: U = Con(T(U'), U'), as in DenseNet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from torch import nn

from infoprune.families.base import families
from infoprune.families.dataflow import Call, Dataflow
from infoprune.families.units import SkipUnit, StandIn
from infoprune.graph import Graph
from infoprune.graph.arguments import Arguments
from infoprune.graph.slots import Coupling


@families.register("concatenated")
def dense_units(model: nn.Module, inputs: Arguments, flow: Dataflow) -> list[SkipUnit]:
    """Every layer that reads what it is then concatenated to, with its channels' slots in all consumers."""
    layers = list(_layers(flow))
    if not layers:
        return []
    couplings = Graph.trace(model, inputs, verify=False).couplings
    units = [_unit(model, flow, call, couplings) for call in layers]
    return [unit for unit in units if unit is not None]


def _layers(flow: Dataflow) -> Iterator[Call]:
    joins = [number for number, node in enumerate(flow.nodes) if node.op == "cat"]
    seen: set[str] = set()
    for call in flow.calls:
        result, consumers = call.result, flow.consumers[call.result] if call.result is not None else []
        once = len(flow.calls_of[call.module]) == 1 and call.module and call.module not in seen
        joined = consumers and set(consumers) <= set(joins) and result not in flow.results
        if once and joined and not call.outputs and all(_follows(flow, c, call) for c in consumers):
            seen.add(call.module)
            yield call


def _follows(flow: Dataflow, join: int, call: Call) -> bool:
    """The operands begin with all that the layer read, and its result comes next."""
    read = call.first
    return len(read) > 0 and flow.nodes[join].parents[: len(read) + 1] == (*read, call.result)


def _unit(model: nn.Module, flow: Dataflow, call: Call, couplings: Mapping[str, Coupling]) -> SkipUnit | None:
    makers = [c.module for c in flow.calls if c.result == call.result and c.module.startswith(f"{call.module}.")]
    for coupling in couplings.values():
        slots = [s for s in coupling.slots if s.tensor in {f"{m}.weight" for m in makers} and s.axis == 0]
        if slots and len(slots[0].owners()[0]) == slots[0].size and _is_linear(model, slots[0].tensor):
            outside = tuple(s for s in coupling.slots if not s.tensor.startswith(f"{call.module}."))
            attributes = tuple(a for a in coupling.attributes if not f"{a.module}.".startswith(f"{call.module}."))
            consumers = replace(coupling, slots=outside, attributes=attributes)
            return SkipUnit(call.module, call.module, (StandIn(call.module, "empty"),), consumers=consumers)
    return None


def _is_linear(model: nn.Module, weight: str) -> bool:
    return isinstance(model.get_submodule(weight.rpartition(".")[0]), nn.modules.conv._ConvNd | nn.Linear)
