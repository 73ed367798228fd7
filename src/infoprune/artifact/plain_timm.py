"""Pruned networks of timm in the arguments of its builders."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from infoprune.artifact.architecture import Architecture
from infoprune.artifact.hub import timm_fields
from infoprune.artifact.layout import CONFIG, WEIGHTS
from infoprune.artifact.plain_widths import NotSaid, PlainNetwork, one
from infoprune.families.roles import role_of
from infoprune.files import write_tensors
from infoprune.surgery.plan import Plan

NUDGE = 1e-9  # a builder's int(dim * ratio) must not fall below the width for rounding
HIDDEN = re.compile(r".*\.mlp\.fc1")  # the layers whose width is a ratio of what they read


def plain_network(
    model: nn.Module,
    state: Mapping[str, Tensor],
    plans: Sequence[Plan],
    dense: Architecture,
    blocks: Mapping[str, tuple[int, ...]],
    *,
    per_layer: bool,
) -> PlainNetwork:
    """What the dense network's builder is to be given so that it builds this one."""
    if per_layer:
        raise NotSaid("timm has no record of widths block by block")
    own: Any = [kind.__init__ for kind in type(model).__mro__ if issubclass(kind, nn.Module)]
    takes = {name for constructor in own for name in inspect.signature(constructor).parameters}
    changed = [edit.site.name for plan in plans for edit in plan.edits if edit.site.kind == "channels"]
    arguments = dict(dense.arguments)
    hidden = {role_of(name) for name in changed if HIDDEN.fullmatch(name)}
    if hidden and "mlp_ratio" in takes:
        arguments["mlp_ratio"] = _ratio({n: m for n, m in _mlps(model) if role_of(f"{n}.fc1") in hidden})
    stem = getattr(getattr(model, "patch_embed", None), "proj", None)
    if "patch_embed.proj" in changed and "embed_dim" in takes and stem is not None:
        arguments["embed_dim"] = stem.weight.shape[0]
    heads = _heads(model)
    if changed and heads and "head_dim" in takes:
        arguments |= {"head_dim": one({n: m.head_dim for n, m in heads.items()}, "head_dim"), "num_heads": _each(heads)}
    if blocks:
        if len(blocks) > 1 or "depth" not in takes:
            raise NotSaid(f"blocks left {', '.join(blocks)}, and it takes no depth of these")
        arguments["depth"] = len(next(iter(blocks.values())))
    return PlainNetwork(replace(dense, arguments=arguments))


def _mlps(model: nn.Module) -> list[tuple[str, Any]]:
    return [
        (name, module) for name, module in model.named_modules() if hasattr(module, "fc1") and hasattr(module, "fc2")
    ]


def _ratio(mlps: Mapping[str, Any]) -> float:
    """What the second layer reads over what the first one does (which may make gates as well), the same for all."""
    sizes = {name: (mlp.fc2.weight.shape[1], mlp.fc1.weight.shape[1]) for name, mlp in mlps.items()}
    ratio = max(width / dim for width, dim in sizes.values()) * (1 + NUDGE)
    odd = {name: width / dim for name, (width, dim) in sizes.items() if int(dim * ratio) != width}
    if odd:
        one({name: width / dim for name, (width, dim) in sizes.items()}, "the ratio of an MLP")
    return ratio


def _heads(model: nn.Module) -> dict[str, Any]:
    """Attention modules that say how many heads of how many dimensions they have."""
    modules = {n: m for n, m in model.named_modules() if hasattr(m, "num_heads") and hasattr(m, "head_dim")}
    return {name: module for name, module in modules.items() if isinstance(module.head_dim, int)}


def _each(heads: Mapping[str, Any]) -> list[int]:
    """The number of heads of each stage."""
    stages: dict[str, dict[str, int]] = {}
    for name, module in heads.items():
        stages.setdefault(".".join(name.split(".")[:2]), {})[name] = module.num_heads
    return [int(one(stage, "num_heads")) for stage in stages.values()]


def write(
    directory: Path,
    network: PlainNetwork,
    model: nn.Module,
    state: Mapping[str, Tensor],
    built: nn.Module | None,
    max_shard_size: Any,
) -> None:
    """The layout of timm's own hub: `timm.create_model("local-dir:...", pretrained=True)` reads it."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    write_tensors(directory / WEIGHTS, tensors, {"format": "pt"})
    fields = timm_fields(network.architecture, model)
    text = {**fields, "architecture": network.architecture.name, "model_args": dict(network.architecture.arguments)}
    (directory / CONFIG).write_text(json.dumps(text, indent=1))
