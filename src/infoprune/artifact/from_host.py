"""What a stock torch-pruning pruner did to a model, as a plan: the dense network beside the one that is left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from infoprune.artifact.architecture import Architecture, candidates, custom, same_modules, shapes_of, tried
from infoprune.artifact.dense_from_pruned import grown, host_widths, initial_widths
from infoprune.errors import StalePlan, first_line
from infoprune.graph.arguments import Arguments
from infoprune.graph.evaluating import evaluating
from infoprune.graph.sites import integers
from infoprune.graph.slicing import attributes_in_use, named_tensors
from infoprune.graph.slots import Attribute
from infoprune.surgery.inputs import InputSpec, described
from infoprune.surgery.plan import Plan
from infoprune.surgery.widths import Axis, KeepWidths, Number, value_of

FIRST_INPUTS = ("_saved_input", "_saved_mat1", "_saved_indices")  # of a convolution, a linear layer, an embedding
Factory = Callable[[], nn.Module]


@dataclass(frozen=True)
class Pruned:
    """The plan that leads from the dense network to the model, and what builds the former."""

    plan: Plan
    architecture: Architecture


def pruned_by(pruner: Any, model: nn.Module, example_inputs: Any, factory: Factory | None) -> Pruned:
    """How the pruner's dense network became `model`, checked on a dense network that is built anew.

    StalePlan says which layer does not follow, ValueError what to pass where the pruner does not tell it.
    """
    if not isinstance(pruner, tp.pruner.BasePruner):
        kind = type(pruner).__name__
        raise TypeError(f"from_pruner is a {kind}; pass the torch_pruning pruner whose steps pruned the model")
    dense, architecture = _dense(pruner, model, factory)
    edits = tuple(_edits(dense, model))
    name = f"torch_pruning.{type(pruner).__name__}"
    return Pruned(Plan(edits, {"pruner": name}, inputs=_inputs(pruner, model, example_inputs)), architecture)


# ------------------------------------------------------------------------------------------------ the dense network


def _dense(pruner: Any, model: nn.Module, factory: Factory | None) -> tuple[nn.Module, Architecture]:
    """The network that the pruner met, without memory for its weights."""
    if factory is not None:
        return _followed(tried(factory), pruner, model), custom(model)
    reason, fitting = None, []
    for architecture in candidates(model, shapes_of(model)):
        built = tried(architecture.build)
        reason = "it can't be built" if built is None else _difference(built, pruner, model)
        if built is not None and reason is None:
            fitting.append((built, architecture))
    if fitting:
        return min(fitting, key=lambda pair: _elements(pair[0]))  # nothing that the pruner does not touch got smaller
    if reason is not None:
        raise StalePlan(f"no registered network became this model: {reason}; pass factory= that builds the dense one")
    return _followed(grown(pruner, model), pruner, model), custom(model)


def _followed(dense: nn.Module | None, pruner: Any, model: nn.Module) -> nn.Module:
    if dense is None:
        raise ValueError("factory() fails; pass a function without arguments that builds the dense network")
    if (reason := _difference(dense, pruner, model)) is not None:
        raise StalePlan(
            f"the model is not what this pruner made of the dense network: {reason}; pass a factory= that "
            "builds the network as it was when the pruner was made"
        )
    return dense


def _elements(model: nn.Module) -> int:
    return sum(tensor.numel() for tensor in named_tensors(model).values())


def _difference(dense: nn.Module, pruner: Any, model: nn.Module) -> str | None:
    """Why the pruner can't have made `model` of `dense`, naming the layer; None if it may have."""
    return next(_differences(dense, pruner, model), None)


def _differences(dense: nn.Module, pruner: Any, model: nn.Module) -> Iterator[str]:
    old, new = named_tensors(dense), named_tensors(model)
    for name in sorted(old.keys() ^ new.keys()):
        yield f"{name} is in one of the two only"
    for name, tensor in new.items():
        if tensor.dim() != old[name].dim() or any(n > m for n, m in zip(tensor.shape, old[name].shape, strict=True)):
            yield f"{name} is {tuple(tensor.shape)} and was {tuple(old[name].shape)}"
    if not same_modules(dense, model):
        yield "their layers are of different classes"
    modules = dict(dense.named_modules())
    for name, widths in initial_widths(pruner).items():
        if (now := host_widths(pruner, modules[name])) != widths:
            yield f"{name} had {widths} channels out and in when the pruner was made, and has {now} in the dense one"
    for number in numbers_between(dense, model):
        if number.after > number.before:
            yield f"{number.module}.{number.name} is {number.after} and was {number.before}"


# ---------------------------------------------------------------------------------------------------------- edits


def _edits(dense: nn.Module, model: nn.Module) -> Iterator[KeepWidths]:
    """One edit for each module whose tensors or numbers became smaller."""
    axes, numbers = by_layer(axes_between(dense, model)), by_layer(numbers_between(dense, model))
    for layer in [*axes, *(name for name in numbers if name not in axes)]:
        yield KeepWidths(layer, tuple(axes.get(layer, ())), tuple(numbers.get(layer, ())))


def axes_between(dense: nn.Module, model: nn.Module) -> Iterator[Axis]:
    """The axes of tensors that became shorter."""
    saved, old = model.state_dict().keys(), named_tensors(dense)
    for name, tensor in named_tensors(model).items():
        for axis, (after, before) in enumerate(zip(tensor.shape, old[name].shape, strict=True)):
            if after < before:
                if name not in saved:
                    raise StalePlan(f"{name} became smaller and is not part of the state; make it a persistent buffer")
                yield Axis(name, axis, before, after)


def numbers_between(dense: nn.Module, model: nn.Module) -> list[Number]:
    """Integers that differ, other than those that the library's own layers take care of."""
    modules, numbers = dict(model.named_modules()), []
    for path, module in dense.named_modules():
        for name, position, before in integers(module):
            after = value_of(modules[path], Number(path, name, position, before, before))
            if after is not None and after != before:
                numbers.append(Number(path, name, position, before, after))
    used = attributes_in_use([Attribute(n.module, n.name, n.position, 1) for n in numbers], dense)
    places = {(a.module, a.name, a.position) for a in used}
    return [number for number in numbers if number[:3] in places]


def by_layer(cuts: Iterable[Any]) -> Mapping[str, Sequence[Any]]:
    """The cuts of each module; what the model itself holds goes under its own name."""
    layers: dict[str, list[Any]] = {}
    for cut in cuts:
        owner, leaf = (cut.module, cut.name) if isinstance(cut, Number) else cut.tensor.rpartition(".")[::2]
        layers.setdefault(owner or leaf, []).append(cut)
    return layers


# --------------------------------------------------------------------------------------------------------- inputs


def _inputs(pruner: Any, model: nn.Module, example_inputs: Any) -> InputSpec:
    """The shapes of inputs that the model takes: those given, or what autograd kept of the pruner's own trace."""
    if example_inputs is not None:
        return described(Arguments.of(example_inputs))
    answers = {described(Arguments.of(tensor)): _failure(model, tensor) for tensor in _remembered(pruner)}
    running = [inputs for inputs, failure in answers.items() if failure is None]
    if running:
        return running[0]
    if answers:
        shapes, first = [inputs[0][0] for inputs in answers], next(iter(answers.values()))
        raise ValueError(f"the model does not run on {shapes} ({first}); repair it, or pass example_inputs it takes")
    raise ValueError("the pruner does not tell which inputs the model takes; pass example_inputs")


def _failure(model: nn.Module, tensor: Tensor) -> str | None:
    """What the model says to zeros of this shape; None if it takes them."""
    try:
        with torch.no_grad(), evaluating(model):
            model(torch.zeros_like(tensor))
    except Exception as error:  # an input of an inner layer, one of several inputs, or a model that pruning broke
        return f"{type(error).__name__}: {first_line(error)}"
    return None


def _remembered(pruner: Any) -> Iterator[Tensor]:
    """What the first layers of the trace were given: tensors that no layer made."""
    for node in pruner.DG.module2node.values():
        for name in FIRST_INPUTS:
            saved = getattr(node.grad_fn, name, None)
            if isinstance(saved, Tensor) and saved.grad_fn is None and not isinstance(saved, nn.Parameter):
                yield saved
