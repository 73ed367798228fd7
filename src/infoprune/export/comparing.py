"""How far what a file computes is from what the model computes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from infoprune.export.inputs import batch_of, resized
from infoprune.export.runtimes import Runtime
from infoprune.graph.arguments import Arguments
from infoprune.graph.nested import outputs_of


def differences_of(
    model: nn.Module, inputs: Arguments, run: Runtime, batches: Sequence[int | None]
) -> tuple[dict[int, float], float]:
    """batch size -> the largest difference as a fraction of the largest output; and the smallest such output."""
    differences, scales = {}, []
    for size in batches:
        sample = inputs if size is None else resized(inputs, size)
        ours = outputs_of(sample.run(model))
        scales.append(max((float(t.double().abs().max()) for t in ours if t.numel()), default=0.0))
        gap = _furthest(ours, run(sample))
        differences[size or batch_of(inputs) or 1] = gap / scales[-1] if scales[-1] else gap
    return differences, min(scales)


def _furthest(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """The largest difference; infinite where shapes differ."""
    if [t.shape for t in ours] != [t.shape for t in theirs]:
        return float("inf")
    gaps = [float((a.double() - b.double()).abs().max()) for a, b in zip(ours, theirs, strict=True) if a.numel()]
    return max(gaps, default=0.0)
