"""How far a pruned network is from the masked original on one pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from infoprune.graph.detectors import FEW_BOXES
from infoprune.graph.kept_statistics import KeptStatistics
from infoprune.graph.labels import Inexactness
from infoprune.graph.nested import numbers_of
from infoprune.graph.passes import Pass
from infoprune.graph.slicing import Removal


@dataclass(frozen=True)
class Agreement:
    """How far the pruned network is from the masked original: max |difference| over max |output|.

    Of several outputs both are those of the one that is furthest off. `scale` is 0 where outputs are zero or none, and
    NaN where they hold NaN: nothing was compared then.
    """

    difference: float
    scale: float

    @property
    def compared(self) -> bool:
        return 0 < self.scale < float("inf")

    @property
    def relative(self) -> float:
        return self.difference / self.scale if self.scale > 0 else self.difference

    @property
    def emptiness(self) -> str:
        """Why nothing was compared."""
        return "no output is other than zero" if self.scale == 0 else "outputs are not finite"


def compare(
    pruned: nn.Module, masked: nn.Module, removal: Removal, shown: Pass, statistics: Iterable[Inexactness]
) -> Agreement:
    """Run both on the same inputs; `masked` holds zeros where `pruned` holds nothing, and takes `statistics` alike."""
    redo = any(True for _ in statistics)
    with torch.no_grad():
        with shown.ready(pruned, boxes=FEW_BOXES):
            outputs = numbers_of(shown.inputs.run(pruned))
        with shown.ready(masked, boxes=FEW_BOXES), KeptStatistics(masked, removal) if redo else nullcontext():
            expected = numbers_of(shown.inputs.run(masked))
    if [t.shape for t in outputs] != [t.shape for t in expected]:
        raise ShapesDiffer(f"outputs are {[tuple(t.shape) for t in outputs]}, not {[tuple(t.shape) for t in expected]}")
    return worst([_agreement(a, b) for a, b in zip(outputs, expected, strict=True) if a.numel()])


def with_itself(model: nn.Module, shown: Pass) -> Agreement:
    """What `compare` says of a model beside itself: whether there is anything to compare."""
    with torch.no_grad(), shown.ready(model, boxes=FEW_BOXES):
        outputs = numbers_of(shown.inputs.run(model))
    return worst([_agreement(tensor, tensor) for tensor in outputs if tensor.numel()])


def _agreement(output: Tensor, expected: Tensor) -> Agreement:
    """Infinities, as masks write them, must be the same ones, and so must whole numbers and truth values.

    On the meta device there is nothing but shapes, and they are the same.
    """
    if expected.is_meta:
        return Agreement(0.0, 1.0)
    if not (expected.is_floating_point() or expected.is_complex()):
        return Agreement(0.0 if torch.equal(output, expected) else float("inf"), float(expected.float().abs().max()))
    if expected.is_complex():
        output, expected = torch.view_as_real(output), torch.view_as_real(expected)
    infinite = expected.isinf()
    if not torch.equal(output.masked_fill(~infinite, 0), expected.masked_fill(~infinite, 0)):
        return Agreement(float("inf"), 1.0)
    output, expected = output.masked_fill(infinite, 0), expected.masked_fill(infinite, 0)
    return Agreement(_furthest(output, expected), float(expected.abs().max()))


def worst(outputs: Sequence[Agreement]) -> Agreement:
    """The output that agrees least; one that is small beside the largest is known as well as that one's hundredth."""
    unknown = next((output for output in outputs if output.scale != output.scale), None)
    if unknown is not None:
        return unknown
    least = max((output.scale for output in outputs), default=0.0) / 100
    scaled = [Agreement(output.difference, max(output.scale, least)) for output in outputs]
    return max(scaled, key=lambda output: output.relative, default=Agreement(0.0, 0.0))


def _furthest(a: Tensor, b: Tensor) -> float:
    gap = float((a - b).abs().max())
    return gap if gap == gap else float("inf")


class ShapesDiffer(Exception):
    """The pruned network gives back tensors of other shapes."""
