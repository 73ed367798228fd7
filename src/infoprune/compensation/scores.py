"""Attention scores q'k where dimensions of queries and keys left: what stays of both says what left said.

Per head let keys that leave be k_P = B k_S + e by least squares. Then q'k = (q_S + B'q_P)'k_S + q_P'e: a change
of basis of the dense network, which says the same in it, and of which surgery takes the small last term only. A
constant in e adds one number to all scores of a query, which softmax ignores.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from infoprune.compensation.attention import INTO, InProjection
from infoprune.compensation.pictures import Fold, Pictures
from infoprune.compensation.solving import Regression, solved
from infoprune.compensation.survivors import Survivors
from infoprune.compensation.watching import noting, require_finite, run
from infoprune.estimators.covariance import Comoments
from infoprune.processes import over_processes


@torch.no_grad()
def keep_scores_(trial: nn.Module, whole: nn.Module, survivors: Survivors, pictures: Pictures) -> bool:
    """Change the basis of `whole` where attention lost dimensions, and slice the trial from it; whether there is any.

    Scores keep the scale that they had. Both networks are taken apart.
    """
    lost = dict(_that_lost_dimensions(trial, whole, survivors))
    seen = _keys(whole, lost, pictures) if lost else {}
    for name in seen:
        stay = lost[name]
        own, projection = (network.get_submodule(f"{name}.{INTO}") for network in (trial, whole))
        assert isinstance(own, InProjection)
        assert isinstance(projection, InProjection)
        _turn_(projection, stay, seen[name])
        own.scale = (stay.shape[1] / seen[name]["first"].x.shape[-1]) ** 0.5
        for leaf, tensor in projection.named_parameters():
            new = survivors.sliced(f"{name}.{INTO}_{leaf}", tensor)
            setattr(own, leaf, nn.Parameter(new, tensor.requires_grad))
    return bool(seen)


def _that_lost_dimensions(trial: nn.Module, whole: nn.Module, survivors: Survivors) -> Iterator[tuple[str, Tensor]]:
    """Names of attentions, and which dimensions of each head stay, heads x dimensions."""
    for name, attention in whole.named_modules():
        projection = attention._modules.get(INTO)
        if not isinstance(attention, nn.MultiheadAttention) or not isinstance(projection, InProjection):
            continue
        rows, heads = len(projection.weight), attention.num_heads
        left: Any = survivors.along(f"{name}.{INTO}_weight", 0, rows)
        left = left[left < rows // 3]
        if len(left) < rows // 3 and trial.get_submodule(name).num_heads == heads and len(left) % heads == 0:
            yield name, left.view(heads, -1) - (rows // 3 // heads) * torch.arange(heads)[:, None]


def _keys(whole: nn.Module, lost: dict[str, Tensor], pictures: Pictures) -> dict[str, dict[Fold, Comoments]]:
    """Moments of each head's keys, of both halves of the samples; of attention that is paid to its own input."""
    projections: dict[str, Any] = {name: whole.get_submodule(f"{name}.{INTO}") for name in lost}
    moments: dict[str, dict[Fold, Comoments]] = {}
    for name, projection in projections.items():
        heads = len(lost[name])
        size = (heads, *(len(projection.weight) // 3 // heads,) * 2)
        moments[name] = {part: Comoments.empty(*size, device=pictures.device) for part in ("first", "second")}
    for part, batch in pictures.parts(("first", "second"), "keys of attention"):

        def note(name: str, _: Tensor, y: Tensor, part: Fold = part) -> None:
            keys = y.chunk(3, -1)[1].unflatten(-1, (len(lost[name]), -1)).flatten(0, -3).transpose(0, 1)
            moments[name][part].add_(keys, keys)

        with noting(projections, note):
            run(whole, batch)
    moments = {name: {part: over_processes(seen) for part, seen in halves.items()} for name, halves in moments.items()}
    moments = {name: halves for name, halves in moments.items() if all(seen.count for seen in halves.values())}
    for name, halves in moments.items():
        require_finite(f"{name}.{INTO}", *halves.values())
    return moments


def _turn_(projection: InProjection, stay: Tensor, seen: dict[Fold, Comoments]) -> None:
    """The change of basis, in tensors of the projection's own."""
    heads, size = len(stay), seen["first"].x.shape[-1]
    stays = torch.zeros(heads, size, dtype=torch.bool).scatter_(1, stay, True)
    leave = (~stays).nonzero()[:, 1].view(heads, -1)

    def needed(half: Comoments) -> Regression:
        covariance = half.covariance()
        rows = [_picked(covariance, index) for index in (leave, stay)]
        return Regression(*(_picked(each.mT, stay).mT for each in rows))

    exact = projection.weight.dtype == torch.float64
    coefficients, _ = solved(needed, (seen["first"], seen["second"]), exact=exact)
    for leaf, tensor in list(projection.named_parameters()):
        new = tensor.detach().double().reshape(3, heads, size, -1).clone()
        queries, keys = new[0], new[1]
        queries[stays] += (coefficients.mT @ _picked(queries, leave)).flatten(0, 1)
        keys[~stays] -= (coefficients @ _picked(keys, stay)).flatten(0, 1)
        setattr(projection, leaf, nn.Parameter(new.view(tensor.shape).to(tensor), tensor.requires_grad))


def _picked(x: Tensor, index: Tensor) -> Tensor:
    """Rows of each head."""
    return x.gather(1, index.to(x.device)[..., None].expand(-1, -1, x.shape[-1]))
