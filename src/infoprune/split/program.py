"""Halves as exported programs that hold what they use, and nothing else."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.fx import GraphModule


def program_of(half: nn.Module, inputs: tuple[Any, ...]) -> ExportedProgram:
    """torch.export of a half without the operations, parameters and buffers that its output does not need."""
    functional = torch.export.export(half, inputs).run_decompositions({})
    lean = _lean(functional.module())
    return torch.export.export(lean, inputs)


def _lean(module: GraphModule) -> GraphModule:
    """The graph module without dead nodes, and without what only they held."""
    graph = module.graph
    for node in list(graph.nodes):
        if node.op == "call_module" and "guards" in str(node.target):
            graph.erase_node(node)
    graph.eliminate_dead_code()
    used = {str(node.target) for node in graph.nodes if node.op == "get_attr"}
    for name, _ in [*module.named_parameters(), *module.named_buffers()]:
        if name not in used:
            parent, _, leaf = name.rpartition(".")
            delattr(module.get_submodule(parent), leaf)
    module.recompile()
    return module
