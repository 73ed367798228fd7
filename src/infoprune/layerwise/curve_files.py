"""Information curves on disk, so that what was measured once serves every plan of the same network and data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from infoprune.errors import BadArtifact
from infoprune.estimators.moments import GroupedMean
from infoprune.files import replacing, write_tensors
from infoprune.layerwise.curves import Curves, counted
from infoprune.observe.batches import Batch

ABOUT = "infoprune.curves"


def save_curves(curves: Curves, path: Path) -> None:
    """Write what was measured to one safetensors file."""
    about = {"sizes": dict(curves.sizes), "passes": curves.passes}
    with replacing(path) as draft:
        write_tensors(draft, {**vars(curves.measured), "shares": curves.shares}, {ABOUT: json.dumps(about)})


def load_curves(path: Path, *, utility: float = -1.0, trust: float = 1.0) -> Curves:
    """Read what `save_curves` wrote, to be weighed with these options."""
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})[ABOUT])
            sums, weights, batches, shares = (file.get_tensor(n) for n in ("sums", "weights", "batches", "shares"))
        sizes = {str(name): int(size) for name, size in about["sizes"].items()}
        if shares.shape != (len(sizes), sums.shape[-1]) or sums.shape[:-1] != (len(weights), len(sizes)):
            raise ValueError(f"tensors of {list(sums.shape)} and {list(shares.shape)} don't fit {len(sizes)} sites")
        return Curves(sizes, shares, GroupedMean(sums, weights, batches), utility, trust, int(about["passes"]))
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise BadArtifact(f"{path} does not hold information curves ({error}); measure them again") from error


def at_levels(curves: Curves, levels: Sequence[float]) -> Curves | None:
    """The same at these shares alone, as if no others had been measured; None if one was not."""
    rows = [[counted(level, size) / size for level in levels] for size in curves.sizes.values()]
    places = [_place(curves.shares, column) for column in torch.tensor(rows, dtype=torch.float64).unbind(1)]
    if any(place is None for place in places):
        return None
    kept = [place for place in places if place is not None]
    measured = replace(curves.measured, sums=curves.measured.sums[..., kept].contiguous())
    return replace(curves, shares=curves.shares[:, kept].contiguous(), measured=measured)


def _place(shares: Tensor, wanted: Tensor) -> int | None:
    same = ((shares - wanted[:, None]).abs() < 1e-9).all(0).nonzero()
    return int(same[0]) if len(same) else None


def digest_of(model: nn.Module, batches: Iterable[Batch], about: Mapping[str, Any]) -> str:
    """One name for a network with its weights, the samples it was shown, and how it was measured."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode())
    tensors = [value for value in model.state_dict().values() if isinstance(value, Tensor)]
    for name, value in model.state_dict().items():
        digest.update(f"{name} {getattr(value, 'shape', '')}".encode())
    for tensor in [*tensors, *(t for batch in batches for t in batch.tensors)]:
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
