"""Stock torch-pruning on the same models: as it comes, and with the numbers of heads given."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from independent_mask import tensors_in
from torch import nn

from third_party.entry import Entry

RATIO = 0.3  # of every layer's channels: about half of the MACs
HEADS = ("num_attention_heads", "num_heads", "n_heads", "n_head", "heads", "nhead")
GROUPS = ("num_key_value_heads", "kv_heads", "num_kv_heads")
FUSED = {"qkv", "query_key_value", "c_attn", "Wqkv", "to_qkv", "in_proj"}
QUERIES = {"q", "q_proj", "query", "to_q"}
KEYS = {"k", "v", "k_proj", "v_proj", "key", "value", "to_k", "to_v"}


def row(entry: Entry, *, heads: bool) -> dict[str, Any]:
    """Whether the network runs after L2 magnitude pruning to 70 % of all widths, and at which share of the MACs.

    Each call gets inputs of its own: there are models that write into them.
    """
    import torch_pruning as tp

    import infoprune as ip

    model, inputs = entry.model(), entry.inputs(entry.batches[0])
    known = known_heads(model) if heads else {}
    if heads and not known:
        return {"outcome": "no heads known"}
    dense = ip.measure(model, inputs).macs
    with torch.no_grad():
        expected = [t.shape for t in tensors_in(model(*deepcopy(inputs)))]
    ignored = output_layers(model, inputs)
    stage = "graph"
    try:
        pruner = tp.pruner.BasePruner(
            model, deepcopy(inputs), tp.importance.MagnitudeImportance(p=2), pruning_ratio=RATIO,
            ignored_layers=ignored, num_heads=dict(known),
        )  # fmt: skip
        stage = "prune"
        pruner.step()
        _repair_dimensions(model, known)
        stage = "forward"
        with torch.no_grad():
            shapes = [t.shape for t in tensors_in(model.eval()(*deepcopy(inputs)))]
    except Exception as error:
        return {"outcome": f"{stage} fails", "reason": f"{type(error).__name__}: {str(error)[:160]}"}
    keep = ip.measure(model, inputs).macs / dense
    return {"outcome": "runs" if shapes == expected else "runs with other output shapes", "keep": keep}


def output_layers(model: nn.Module, inputs: tuple) -> list[nn.Module]:
    """The layers whose outputs are the model's: users are told to ignore the classifier."""
    heard: list[tuple[nn.Module, int]] = []
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)]
    handles = [m.register_forward_hook(lambda m, _, out: heard.append((m, out.data_ptr()))) for m in layers]
    with torch.no_grad():
        given = {t.data_ptr() for t in tensors_in(model(*deepcopy(inputs)))}
    for handle in handles:
        handle.remove()
    return list(dict.fromkeys(m for m, place in heard if place in given))


def known_heads(model: nn.Module) -> dict[nn.Module, int]:
    """Layers that make queries, keys or values, by the usual names, with the number of heads their module tells."""
    found: dict[nn.Module, int] = {}
    for module in model.modules():
        heads = _number(module, HEADS)
        groups = _number(module, GROUPS) or heads
        for name, layer in module.named_children():
            if heads and isinstance(layer, nn.Linear) and name in FUSED | QUERIES | KEYS:
                found[layer] = int(groups if name in KEYS else heads)  # type: ignore[arg-type]
    return found


def _number(module: nn.Module, names: tuple[str, ...]) -> int | None:
    for holder in (module, getattr(module, "config", None)):
        for name in names:
            value = getattr(holder, name, None)
            if isinstance(value, int) and not isinstance(value, bool) and value > 1:
                return value
    return None


def _repair_dimensions(model: nn.Module, known: dict[nn.Module, int]) -> None:
    """As the host's examples for transformers do: numbers of dimensions follow the pruned layers."""
    for module in model.modules():
        for layer in module.children():
            if layer not in known:
                continue
            fused = 3 if layer.out_features == 3 * layer.in_features else 1
            width = layer.out_features // fused
            told = {"head_dim": width // known[layer], "attention_head_size": width // known[layer]}
            told |= {"all_head_size": width, "embed_dim": width, "inner_dim": width}
            for name, value in told.items():
                if isinstance(getattr(module, name, None), int):
                    setattr(module, name, value)
