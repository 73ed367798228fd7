"""Pruned networks of transformers in the numbers of their own configs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from infoprune.artifact import hugging_face
from infoprune.artifact.architecture import Architecture
from infoprune.artifact.layout import WEIGHTS
from infoprune.artifact.plain_widths import NotSaid, PlainNetwork, one
from infoprune.artifact.saving import dense_shapes
from infoprune.files import write_tensors
from infoprune.surgery.plan import Plan

# A number of a config -> the tensors of which it counts an axis, in every block that has one of them.
WIDTHS = {
    "intermediate_size": (
        ("mlp.gate_proj.weight", 0), ("mlp.fc1.weight", 0), ("mlp.dense_h_to_4h.weight", 0),
        ("mlp.experts.down_proj", 2), ("intermediate.dense.weight", 0),
    ),
    "moe_intermediate_size": (("mlp.experts.down_proj", 2),),
    "shared_expert_intermediate_size": (("mlp.shared_expert.gate_proj.weight", 0),),
    "n_inner": (("mlp.c_fc.weight", 1),),
    "ffn_dim": (("layers.*.fc1.weight", 0),),
}  # fmt: skip
HEADS = {"num_attention_heads": "self_attn.q_proj.weight", "num_key_value_heads": "self_attn.k_proj.weight"}


def plain_network(
    model: nn.Module,
    state: Mapping[str, Tensor],
    plans: Sequence[Plan],
    dense: Architecture,
    blocks: Mapping[str, tuple[int, ...]],
    *,
    per_layer: bool,
) -> PlainNetwork:
    """The dense network's config with the numbers that this one has, and what differs block by block."""
    config = hugging_face.dense_config(dense.arguments)
    if per_layer and not hasattr(type(config), "per_layer_config"):
        raise NotSaid("this release of transformers has no record of widths by layer; update it")
    dims = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    sizes = {**_widths(state, dense_shapes(model, plans), config), **_heads(state, config, dims)}
    differ = {key: own for key, own in sizes.items() if per_layer and len(set(own.values())) > 1}
    numbers = {key: one(own, key) for key, own in sizes.items() if key not in differ}
    own: Any = model
    embedding = own.get_input_embeddings()
    if isinstance(embedding, nn.Embedding):
        numbers["hidden_size"] = embedding.weight.shape[1]
    arguments = _arguments(dense, config, numbers, dims, blocks)
    return PlainNetwork(replace(dense, arguments=arguments), _recorded(differ))


def _widths(state: Mapping[str, Tensor], before: Mapping[str, torch.Size], config: Any) -> dict[str, dict[str, int]]:
    """A number of the config -> tensor -> its width now, for numbers that were the width of all of them."""
    widths = {}
    for key, places in WIDTHS.items():
        own = {name: (tensor, axis) for part, axis in places for name, tensor in state.items() if _is(name, part)}
        was = {int(before[name][axis]) for name, (_, axis) in own.items()}
        if own and (was == {getattr(config, key, 0)} or (key == "n_inner" and config.n_inner is None)):
            widths[key] = {name: int(tensor.shape[axis]) for name, (tensor, axis) in own.items()}
    return widths


def _heads(state: Mapping[str, Tensor], config: Any, dims: int) -> dict[str, dict[str, int]]:
    return {
        key: {name: int(tensor.shape[0]) // dims for name, tensor in state.items() if _is(name, part)}
        for key, part in HEADS.items()
        if hasattr(config, key) and any(_is(name, part) for name in state)
    }


def _recorded(differ: Mapping[str, Mapping[str, int]]) -> dict[int, dict[str, int]]:
    """layer -> number of the config -> what it is there."""
    record: dict[int, dict[str, int]] = {}
    for key, own in differ.items():
        for name, value in own.items():
            record.setdefault(int(re.findall(r"\.(\d+)\.", name)[0]), {})[key] = value
    return record


def _is(name: str, part: str) -> bool:
    return re.search(rf"(^|\.){re.escape(part)}$".replace(r"\*", r"\d+"), name) is not None


def _arguments(
    dense: Architecture, config: Any, numbers: Mapping[str, Any], dims: int, blocks: Mapping[str, tuple[int, ...]]
) -> dict[str, Any]:
    """The dense config's own words, since many a class has others for these numbers (n_embd is hidden_size)."""
    names = config.attribute_map
    changed = {names.get(key, key): value for key, value in numbers.items() if getattr(config, key) != value}
    if changed.keys() & {"hidden_size", "num_attention_heads"}:
        changed["head_dim"] = dims
    if blocks:
        (_, kept), *others = blocks.items()
        if others:
            raise NotSaid(f"blocks left {', '.join(blocks)}, and it has one depth")
        changed[names.get("num_hidden_layers", "num_hidden_layers")] = len(kept)
        if getattr(config, "layer_types", None):
            changed["layer_types"] = [config.layer_types[number] for number in kept]
    return {**dense.arguments, "config": {**dense.arguments["config"], **changed}}


def write(
    directory: Path,
    network: PlainNetwork,
    model: nn.Module,
    state: Mapping[str, Tensor],
    built: nn.Module | None,
    max_shard_size: Any,
) -> None:
    """What `save_pretrained` writes of the plain network; with a record, its config and the weights beside it."""
    if built is not None:
        plain: Any = built
        plain.generation_config = getattr(model, "generation_config", None) or plain.generation_config
        plain.save_pretrained(directory, **({} if max_shard_size is None else {"max_shard_size": max_shard_size}))
        return
    config = hugging_face.dense_config(network.architecture.arguments)
    config.per_layer_config = {number: dict(widths) for number, widths in network.recorded.items()}
    config.architectures, config.dtype = [network.architecture.name], next(iter(state.values())).dtype
    config.save_pretrained(directory)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    write_tensors(directory / WEIGHTS, tensors, {"format": "pt"})
