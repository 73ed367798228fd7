"""What leaves the blocks of a network, and which entries of it stayed in a pruned one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from infoprune.compensation.survivors import Survivors
from infoprune.graph.evaluating import evaluating
from infoprune.graph.hooks import hooked
from infoprune.graph.nested import outputs_of
from infoprune.observe.reader_layers import input_axis, reads

STACKS = (nn.Sequential, nn.ModuleList)
LAYERS = 2  # of a network without blocks count as one: a layer alone was fitted in closed form


@dataclass(frozen=True)
class Along:
    """Which entries of an output's `axis` stayed."""

    axis: int
    rows: Tensor


class BlockEnds(nn.Module):
    """The model, giving out what leaves each module named in `at` and then its own outputs, all in evaluation mode.

    Of a module's output only the entries that stayed are told, where `kept` says which.
    """

    def __init__(self, model: nn.Module, at: Sequence[str], kept: Mapping[str, Along] | None = None):
        super().__init__()
        self.model, self.at, self.kept = model, tuple(at), dict(kept or {})

    def forward(self, *args: Any, **kwargs: Any) -> list[Tensor]:
        ends: dict[str, Tensor] = {}
        layers = ((name, self.model.get_submodule(name)) for name in self.at)
        with evaluating(self.model), hooked(m.register_forward_hook(self._telling(n, ends)) for n, m in layers):
            outputs = self.model(*args, **kwargs)
        return [*(ends[name] for name in self.at), *(t for t in outputs_of(outputs) if t.is_floating_point())]

    def _telling(self, name: str, ends: dict[str, Tensor]) -> Callable[..., Tensor]:
        def keep(_: nn.Module, args: Any, output: Tensor) -> Tensor:
            kept = self.kept.get(name)
            ends[name] = output if kept is None else output.index_select(kept.axis, kept.rows.to(output.device))
            return output.clone()  # what comes behind may write into it

        return keep


def both_ends(pruned: nn.Module, dense: nn.Module, survivors: Survivors, *inputs: Any) -> tuple[BlockEnds, BlockEnds]:
    """Both networks with the same ends, wherever it is known which entries of what leaves a block stayed."""
    names = [name for name in ends_of(pruned) if name in dict(dense.named_modules())]
    ours, whole = _outputs(pruned, names, *inputs), _outputs(dense, names, *inputs)
    kept: dict[str, Along] = {}
    at = []
    for name in names:
        if name not in ours or name not in whole:
            continue
        if ours[name].shape == whole[name].shape:
            at.append(name)
        elif (along := _along(pruned, dense, name, survivors, ours[name], whole[name])) is not None:
            kept[name] = along
            at.append(name)
    return BlockEnds(pruned, at), BlockEnds(dense, at, kept)


def ends_of(model: nn.Module) -> list[str]:
    """Modules that end a block: those that lie in stacks, or else every second layer."""
    blocks = [*_blocks("", model)]
    if blocks:
        return blocks
    layers = [name for name, module in model.named_modules() if reads(module)]
    return layers[LAYERS - 1 : -1 : LAYERS]


def _blocks(name: str, module: nn.Module) -> Iterator[str]:
    stacked = isinstance(module, STACKS)
    for leaf, child in module.named_children():
        inner = f"{name}.{leaf}" if name else leaf
        if stacked and not isinstance(child, STACKS) and any(True for _ in child.children()) and _holds_layers(child):
            yield inner
        else:
            yield from _blocks(inner, child)


def _holds_layers(module: nn.Module) -> bool:
    return any(reads(each) for each in module.modules())


def _outputs(model: nn.Module, names: Iterable[str], *inputs: Any) -> dict[str, Tensor]:
    """What leaves those of the modules that are called once and give out one tensor."""
    seen: dict[str, list[Any]] = {name: [] for name in names}

    def noting(name: str) -> Callable[..., None]:
        return lambda _, args, output: seen[name].append(output)

    with evaluating(model), hooked(model.get_submodule(n).register_forward_hook(noting(n)) for n in seen):
        model(*inputs)
    return {name: calls[0] for name, calls in seen.items() if len(calls) == 1 and isinstance(calls[0], Tensor)}


def _along(
    pruned: nn.Module, dense: nn.Module, name: str, survivors: Survivors, ours: Tensor, whole: Tensor
) -> Along | None:
    """Where the shapes differ along one axis, the rows that stayed of the last layer inside that gives out as many."""
    axes = [axis for axis in range(ours.dim()) if ours.dim() == whole.dim() and ours.shape[axis] != whole.shape[axis]]
    if len(axes) != 1:
        return None
    sizes = whole.shape[axes[0]], ours.shape[axes[0]]
    inside = [n for n, m in pruned.named_modules() if reads(m) and (n == name or n.startswith(f"{name}."))]
    for layer in reversed(inside):
        whole_layer: Any = dense.get_submodule(layer)
        axis = 1 - input_axis(whole_layer)
        size = whole_layer.weight.shape[axis]
        rows = survivors.along(f"{layer}.weight", axis, size)
        if (size, len(rows)) == sizes:
            return Along(axes[0], rows)
    return None
