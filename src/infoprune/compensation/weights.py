"""From a reader's new weight to what tensors of the model are to hold, constants included; and putting it there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from infoprune.compensation.judging import Solution
from infoprune.compensation.readers import Reader, answer
from infoprune.compensation.solving import refit
from infoprune.compensation.watching import Evidence, MeanInput
from infoprune.graph.slicing import named_tensors
from infoprune.observe.reader_layers import weight_of

Change = Mapping[str, Tensor]  # what named tensors are to hold


def refits(reader: Reader, dense: nn.Module, seen: Evidence) -> list[Solution]:
    """The reader's refits from what it read in the dense network, of which held-out samples choose one."""
    exact = reader.layer.weight.dtype == torch.float64
    halves = (seen.halves["first"], seen.halves["second"])
    weights = [refit(reader.target, reader.kept, halves, centred=centred, exact=exact) for centred in reader.centrings]
    return [shifted(reader, dense, weight, ridge, seen.input) for weight, ridge in weights]


def shifted(
    reader: Reader, dense: nn.Module, new: Tensor, ridge: float, whole: MeanInput, own: MeanInput | None = None
) -> Solution:
    """The solution with this weight, and with the constant that makes its mean output the dense one.

    `own` is what it reads on average, by default what stayed of the dense layer's `whole` input.
    """
    layer: Any = dense.get_submodule(reader.name)
    weight, dense_bias = reader.layer.weight.detach(), layer._parameters.get("bias")
    dense_bias = None if dense_bias is None else dense_bias.detach().double()
    bias = None if dense_bias is None else _rows(reader, dense_bias)
    stored = weight_of(reader.layer, new, weight.double())

    def new_outputs(x: Tensor) -> Tensor:
        return answer(reader.layer, reader.selected(x) if own is None else x, stored, bias)

    mean = whole.mean(lambda x: reader.outputs(answer(layer, x, layer.weight.detach().double(), dense_bias)))
    shift = mean - (own or whole).mean(new_outputs) if reader.shiftable else None
    bias = None if bias is None or shift is None else (bias + shift).to(weight.dtype)
    return Solution(reader, stored.to(weight), bias, shift if reader.norm else None, ridge, mean)


def _rows(reader: Reader, bias: Tensor) -> Tensor:
    return bias.index_select(0, reader.rows.to(bias.device))


def weights_of(model: nn.Module, dense: nn.Module, solutions: Sequence[Solution]) -> dict[str, Tensor]:
    """What the model's tensors are to hold: a constant without a bias comes out of the norm's mean."""
    tensors, whole = named_tensors(model), named_tensors(dense)
    values = {}
    for s in solutions:
        values[f"{s.reader.name}.weight"] = s.weight
        if s.bias is not None:
            values[f"{s.reader.name}.bias"] = s.bias
        if s.shift is not None:
            mean = f"{s.reader.norm}.running_mean"
            values[mean] = _rows(s.reader, whole[mean]) - s.shift.to(tensors[mean])
    return values


def put(model: nn.Module, change: Change) -> None:
    """Give named places tensors of their own; nobody else who holds the old ones is touched."""
    for name, tensor in change.items():
        owner, _, leaf = name.rpartition(".")
        module = model.get_submodule(owner)
        old = module._parameters.get(leaf)
        if old is None:
            module._buffers[leaf] = tensor
        else:
            module._parameters[leaf] = nn.Parameter(tensor, old.requires_grad)


def commit(pruned: nn.Module, trial: nn.Module) -> None:
    """Copy into the model's own tensors what the trial holds; an interrupt undoes it."""
    new = named_tensors(trial)
    changed = {name: (t, new[name]) for name, t in named_tensors(pruned).items() if t is not new[name]}
    with _undone(t for t, _ in changed.values()):
        for tensor, value in changed.values():
            tensor.copy_(value)


@contextmanager
def _undone(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Whatever happens inside, an exception leaves these tensors with the values they had."""
    before = [(t, t.detach().clone()) for t in tensors]
    try:
        yield
    except BaseException:
        for tensor, value in before:
            tensor.copy_(value)
        raise
