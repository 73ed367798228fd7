"""Halves as exported programs that hold what they use, and nothing else."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule
from torch.utils._pytree import tree_leaves, tree_map_only

from infoprune.errors import ExportFailed, first_line

TOLERANCE = 1e-4  # of the largest output: single precision in another order of operations stays a hundred times below


def program_of(half: nn.Module, examples: Sequence[tuple], wanted: Sequence[Any], name: str) -> ExportedProgram:
    """torch.export of a half without the operations, parameters and buffers that its output does not need.

    Axes in which the examples differ are free. Every example is run, and what is wanted has to come out.
    """
    largest = max(examples, key=_size)  # an inner axis of length 1 would be a case of its own to the exporter
    free = _free_axes(examples)
    try:
        functional = torch.export.export(half, largest, dynamic_shapes=_by_argument(half, free)).run_decompositions({})
        program = torch.export.export(_lean(functional.module()), largest, dynamic_shapes=free)
    except Exception as error:
        raise ExportFailed(
            f"torch.export can't follow the {name} half ({type(error).__name__}: {first_line(error):.200}); "
            "rewrite what depends on values of tensors, or run SplitModel itself there"
        ) from error
    for example, outputs in zip(examples, wanted, strict=True):
        _require_same(program, example, outputs, name)
    return program


def _require_same(program: ExportedProgram, example: tuple, wanted: Any, name: str) -> None:
    shapes = [tuple(t.shape) for t in tree_leaves(example) if isinstance(t, Tensor)]
    try:
        outputs = tree_leaves(program.module()(*example))
    except Exception as error:
        raise ExportFailed(
            f"the exported {name} half does not take {shapes} ({first_line(error):.200}); give larger examples, "
            "or export for each size by itself"
        ) from error
    off = [_off(a, b) for a, b in zip(outputs, tree_leaves(wanted), strict=True)]
    odd = [each for each in off if not each <= TOLERANCE]  # NaN is no agreement
    if odd:
        raise ExportFailed(
            f"the exported {name} half is off by {max(odd):.1e} of the output for {shapes}: it needs the size of the "
            "model's inputs, which the features do not tell, or gives NaN; export for each size by itself, or run "
            "SplitModel there"
        )


def _off(output: Any, wanted: Any) -> float:
    """The largest difference as a fraction of the largest value; infinite for another shape."""
    if not isinstance(wanted, Tensor):
        return 0.0 if output == wanted else float("inf")
    if output.shape != wanted.shape:
        return float("inf")
    if not wanted.numel():
        return 0.0
    scale = float(wanted.abs().max())
    return float((output - wanted).abs().max()) / (scale or 1.0)


def _size(example: tuple) -> int:
    return sum(leaf.numel() for leaf in tree_leaves(example) if isinstance(leaf, Tensor))


def _free_axes(examples: Sequence[tuple]) -> tuple | None:
    """For every tensor of the first example the axes in which another differs; None if there are none."""
    tensors = [[leaf for leaf in tree_leaves(each) if isinstance(leaf, Tensor)] for each in examples]
    if len({tuple(t.dim() for t in each) for each in tensors}) > 1:
        raise ValueError("the examples hold tensors of different numbers of axes; give the same inputs in other sizes")
    axes = [[i for i, sizes in enumerate(zip(*(t.shape for t in same), strict=True)) if len(set(sizes)) > 1]
            for same in zip(*tensors, strict=True)]  # fmt: skip
    if not any(axes):
        return None
    rest = iter(axes)
    return tuple(_axes_of(each, rest) for each in examples[0])


def _axes_of(inputs: Any, axes: Any) -> Any:
    """The structure of one input, with the free axes of each tensor in its place."""
    if not any(isinstance(leaf, Tensor) for leaf in tree_leaves(inputs)):
        return None
    return tree_map_only(Tensor, lambda _: dict.fromkeys(next(axes), Dim.AUTO), inputs)


def _by_argument(half: nn.Module, free: tuple | None) -> tuple | None:
    """As torch.export wants it: all inputs in one where the half takes any number of them."""
    (kind,) = {parameter.kind for parameter in inspect.signature(half.forward).parameters.values()}
    return (free,) if free is not None and kind is inspect.Parameter.VAR_POSITIONAL else free


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
