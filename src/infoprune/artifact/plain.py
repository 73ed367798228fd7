"""save_plain(): a pruned network whose widths its own library can say, written so that this library is not needed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from infoprune.artifact import plain_timm, plain_transformers
from infoprune.artifact.architecture import Architecture, tried
from infoprune.artifact.plain_widths import NotSaid, PlainNetwork, by_number
from infoprune.artifact.probe import ask, reproducible
from infoprune.artifact.saving import require_free, story_of
from infoprune.errors import NotPlain, first_line
from infoprune.files import replace_directory
from infoprune.graph.wrappers import bare
from infoprune.require import require_model, require_path
from infoprune.surgery.plan import Plan

ROUNDING = 1e-5  # of the largest output: tensors that lie elsewhere in memory may round differently


def save_plain(
    directory: str | os.PathLike[str],
    model: nn.Module,
    plan: Plan | Sequence[Plan],
    *,
    max_shard_size: int | str | None = None,
    per_layer: bool = False,
) -> Path:
    """Write the pruned `model` as a network of its own library, which loads it without this one; return the directory.

    A network of timm becomes a `config.json` with arguments of its builder, for `timm.create_model("local-dir:...",
    pretrained=True)`; one of transformers a config of the dense network's class with other numbers, for
    `from_pretrained`. Both say one width for all blocks: plan with `tied=True`. Whole blocks that left are left out and
    the others renumbered. What was written is built again first, and has to give the same outputs. Raises NotPlain, and
    writes nothing, where the library has no words for the network.

    Args:
        directory: Where to write.
        model: The network after `prune_`.
        plan: The plan or plans that made it, as for `save`.
        max_shard_size: Such as "5GB"; divides the weights of a network of transformers into files of that size.
        per_layer: Record widths that differ as transformers' `per_layer_config`. Its configs read them, but no class of
            it builds from them today, so that of such a network shapes are compared and outputs are not.
    """
    require_path(directory, "directory", "that the network is to have")
    require_model(model)
    target = Path(directory).resolve()
    require_free(target)
    model = bare(model)
    plans, architecture = story_of(model, plan)
    library = {"timm": plain_timm, "transformers": plain_transformers}.get(architecture.source)
    if library is None:
        raise NotPlain(
            f"{architecture.name} is built by neither timm nor transformers, whose builders take widths; use save()"
        )
    try:
        state, blocks = by_number(model)
        network = library.plain_network(model, state, plans, architecture, blocks, per_layer=per_layer)
        built = None if network.recorded else _built(network.architecture, model, state, plans)
        if network.recorded:
            _check_record(network, state)
    except NotSaid as error:
        raise NotPlain(f"{architecture.name} of {architecture.source} can't say this network: {error}") from error
    replace_directory(target, lambda staging: library.write(staging, network, model, state, built, max_shard_size))
    return Path(directory)


def _complaint(architecture: Architecture) -> str:
    """What the library says to these numbers, such as that heads do not divide a width: `round_to` makes them."""
    try:
        architecture.build()
    except Exception as error:  # whatever the library's own code raises is the answer
        return first_line(error) if "\n" not in str(error).strip() else " ".join(str(error).split())[:300]
    return "it fails without memory for weights"


def _built(
    architecture: Architecture, model: nn.Module, state: Mapping[str, Tensor], plans: Sequence[Plan]
) -> nn.Module:
    """What the library builds, with the model's weights; NotSaid unless it gives the model's outputs."""
    shapes = _shapes(architecture)
    _check_names(shapes, state)
    _check_shapes(shapes, state)
    with torch.random.fork_rng(devices=[]):
        built = architecture.build()
    first = next(model.parameters())
    built.to(first.device, first.dtype).load_state_dict(dict(state))
    built.train(model.training)
    if not (plans and plans[0].inputs and reproducible(plans[0].inputs)):
        raise NotSaid("its plan tells no inputs that can be made again, so that outputs can't be compared; use save()")
    answer, expected = ask(built, plans[0].inputs), ask(model, plans[0].inputs)
    gaps = [abs(a - b) for a, b in zip(answer.samples, expected.samples, strict=True)]
    if answer.digest != expected.digest and not all(gap <= ROUNDING * expected.largest for gap in gaps):  # nor NaN
        raise NotSaid(f"what it builds has the same tensors and gives other outputs ({max(gaps):.3g} apart)")
    return built


def _check_record(network: PlainNetwork, state: Mapping[str, Tensor]) -> None:
    """Every layer is what the library builds with its numbers in all layers."""
    for number, widths in network.recorded.items():
        config = {**network.architecture.arguments["config"], **widths}
        uniform = replace(network.architecture, arguments={**network.architecture.arguments, "config": config})
        shapes = _shapes(uniform)
        _check_names(shapes, state)
        _check_shapes(shapes, {name: tensor for name, tensor in state.items() if f".{number}." in name})


def _check_names(shapes: Mapping[str, tuple[int, ...]], state: Mapping[str, Tensor]) -> None:
    gone = next((name for name in shapes if name not in state), None)
    if gone is not None:
        raise NotSaid(f"{gone} is in what it builds, and left here")


def _check_shapes(shapes: Mapping[str, tuple[int, ...]], state: Mapping[str, Tensor]) -> None:
    for name in state:
        own = tuple(state[name].shape)
        if shapes.get(name) != own:
            raise NotSaid(f"{name} is {own} here, and what it builds has {shapes.get(name) or 'none'}")


def _shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    built = tried(architecture.build)
    if built is None:
        raise NotSaid(f"it builds nothing from these numbers ({_complaint(architecture)})")
    return {name: tuple(tensor.shape) for name, tensor in built.state_dict().items()}
