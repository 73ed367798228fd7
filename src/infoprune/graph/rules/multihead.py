"""Attention whose code takes the width of its input for that of all heads together, so that both shrink as one.

A unit is one dimension of every head of q, k and v, and as many channels of the stream: the width goes down by the
number of heads with each. nn.MultiheadAttention is written like this, and so are many models' own modules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from torch import Tensor, nn

from infoprune.graph.labels import Ledger
from infoprune.graph.slots import Coupling

HEADS = ("num_heads", "num_attention_heads", "n_heads", "heads")


class Labelled(Protocol):
    """What `tie_streams` asks of the trace."""

    ledger: Ledger
    axes: dict[tuple[str, int], Tensor]


def multihead(model: nn.Module) -> frozenset[str]:
    """The names of torch's own attention modules."""
    return frozenset(name for name, module in model.named_modules() if isinstance(module, nn.MultiheadAttention))


def suspects(model: nn.Module, quarantined: Iterable[Coupling]) -> frozenset[str]:
    """Modules with heads as wide as their input, in which something may not leave by itself."""
    tensors = [slot.tensor for coupling in quarantined for slot in coupling.slots]
    return frozenset(
        name
        for name, module in model.named_modules()
        if name and width_of(module) and any(tensor.startswith(f"{name}.") for tensor in tensors)
    )


def width_of(module: nn.Module) -> tuple[int, int] | None:
    """(width of all heads, heads) where the module's own linear layers read and give out that width."""
    heads = next((vars(module)[n] for n in HEADS if isinstance(vars(module).get(n), int)), 0)
    if isinstance(module, nn.MultiheadAttention):
        return module.embed_dim, module.num_heads
    layers = [m for m in module.children() if isinstance(m, nn.Linear)]
    widths = [layer.in_features for layer in layers if layer.out_features % layer.in_features == 0]
    return (widths[0], heads) if heads > 0 and widths and widths[0] % heads == 0 else None


def dimensions_of(model: nn.Module, names: Iterable[str]) -> dict[str, int]:
    """How many dimensions a head has in these modules."""
    widths = {name: width_of(model.get_submodule(name)) for name in names}
    return {name: width[0] // width[1] for name, width in widths.items() if width}


def tie_streams(model: nn.Module, tape: Labelled, names: Iterable[str]) -> None:
    """Dimension j of every head leaves with channels j, j + d, j + 2 d, ... of the stream; d: dimensions of a head."""
    for name, dimensions in dimensions_of(model, names).items():
        module = model.get_submodule(name)
        width, _ = width_of(module) or (0, 0)
        blocks = [rows.view(-1, dimensions) for rows in _rows(name, module, width, tape)]
        for rows in blocks:
            tape.ledger.collapse(rows, [0])
            tape.ledger.tie(blocks[0][0], rows[0])


def _rows(name: str, module: nn.Module, width: int, tape: Labelled) -> Iterator[Tensor]:
    """Labels of all axes as long as the width, or a multiple of it, of weights that have two such axes."""
    prefix = f"{name}." if name else ""
    own_keys = isinstance(module, nn.MultiheadAttention) and not module._qkv_same_embed_dim
    for leaf, weight in module.named_parameters():
        both = weight.dim() > 1 and all(n % width == 0 for n in weight.shape[:2])
        if both or (own_keys and leaf in ("k_proj_weight", "v_proj_weight")):
            axes = (0,) if own_keys and leaf in ("k_proj_weight", "v_proj_weight") else (0, 1)
            yield from (tape.axes[f"{prefix}{leaf}", a] for a in axes if (f"{prefix}{leaf}", a) in tape.axes)
