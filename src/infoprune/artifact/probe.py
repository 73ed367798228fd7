"""A question with a known answer: seeded inputs and what the model gave for them when it was saved."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from infoprune.errors import BadArtifact
from infoprune.graph.arguments import Arguments
from infoprune.graph.detectors import FEW_BOXES, settled
from infoprune.graph.nested import numbers_of, outputs_of
from infoprune.graph.slicing import device_of
from infoprune.surgery.inputs import DICT, KEYWORDS, LIST, OBJECT, TUPLE, VALUE, Described, InputSpec, unpacked
from infoprune.surgery.inputs import reproducible as reproducible

SEED = 20_260_101
SAMPLES = 32
LARGEST_INPUT = 1 << 26
TOLERANCE = 1e-3  # of the largest output: other kernels, thread counts and processors round differently


@dataclass(frozen=True)
class Answer:
    """The digest of the exact bytes of all outputs, some of their values and the largest absolute one."""

    digest: str
    samples: tuple[float, ...]
    largest: float


def ask(model: nn.Module, inputs: InputSpec) -> Answer:
    """What `model` gives for the seeded inputs."""
    with torch.no_grad(), settled(model, boxes=FEW_BOXES):
        output = probe_inputs(model, inputs).run(model)
        numbers = [tensor.detach() for tensor in outputs_of(output) or numbers_of(output)]
    outputs = [tensor for tensor in numbers if tensor.is_floating_point()] or numbers
    digest = hashlib.sha256()
    for tensor in outputs:
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    values = torch.cat([torch.zeros(0), *(t.float().cpu().flatten() for t in outputs)])
    picked = values[torch.linspace(0, len(values) - 1, min(SAMPLES, len(values))).long()]
    return Answer(digest.hexdigest(), tuple(picked.tolist()), float(values.abs().max()) if len(values) else 0.0)


def probe_inputs(model: nn.Module, inputs: InputSpec) -> Arguments:
    """The call that `inputs` tells of, where the model is; what they leave open is drawn, always the same."""
    if (elements := sum(map(_elements, inputs))) > LARGEST_INPUT:
        raise BadArtifact(f"the probe asks for {elements} numbers; at most {LARGEST_INPUT} are allowed")
    maker = _Maker()
    named = [item for spec in inputs if spec[1] == KEYWORDS for item in spec[0]]
    call = Arguments(
        tuple(maker.argument(spec) for spec in inputs if spec[1] != KEYWORDS), dict(map(maker.item, named))
    )
    place = device_of(model)
    return call.map(lambda tensor: tensor.to(place))


def shown(inputs: InputSpec) -> str:
    """Shapes and plain values, for messages."""
    return ", ".join(str(spec[0]) for spec in inputs)[:300]


def check_answer(answer: Answer, expected: Answer) -> None:
    """Bitwise equal, or equal up to rounding on another machine; anything else is another model."""
    if answer.digest == expected.digest:
        return
    gaps = [abs(a - b) for a, b in zip(answer.samples, expected.samples, strict=False)]
    worst = max(gaps, default=math.inf) if len(answer.samples) == len(expected.samples) else math.inf
    if not worst <= TOLERANCE * max(expected.largest, 1e-12):
        raise BadArtifact(
            f"the loaded model's outputs differ from those it was saved with by {worst:.3g} (largest output "
            f"{expected.largest:.3g}); the file was changed, or the architecture's code has"
        )


def _elements(spec: Described) -> int:
    inner, kind = spec[:2]
    if kind in (DICT, KEYWORDS):
        return sum(_elements(value) for _, value in inner)
    if kind in (LIST, TUPLE):
        return sum(map(_elements, inner))
    return 0 if kind in (VALUE, OBJECT) else math.prod(inner)


class _Maker:
    """Arguments made from their descriptions, one after the other."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(SEED)

    def item(self, item: tuple[str, Described]) -> tuple[str, Any]:
        return item[0], self.argument(item[1])

    def argument(self, spec: Described) -> Any:
        inner, kind = spec[:2]
        if kind in (LIST, TUPLE):
            parts = [self.argument(part) for part in inner]
            return parts if kind == LIST else tuple(parts)
        if kind == DICT:
            return dict(map(self.item, inner))
        if kind == VALUE:
            return inner
        if kind == OBJECT:
            raise BadArtifact(f"the call held a {inner!r:.60}, which plain data does not tell; save the model again")
        return self._tensor(*spec)

    def _tensor(self, shape: tuple[int, ...], dtype: str, holds: str | tuple[float, float] | None = None) -> Tensor:
        kind = getattr(torch, dtype, None)
        if not isinstance(kind, torch.dtype):
            raise BadArtifact(f"the probe asks for an input of type {dtype!r}, which torch has not")
        try:
            return unpacked(holds, shape, kind) if isinstance(holds, str) else self._drawn(shape, kind, holds)
        except (ValueError, RuntimeError, OverflowError, TypeError) as error:
            raise BadArtifact(f"the probe's input of shape {shape} and type {dtype} can't be made ({error})") from error

    def _drawn(self, shape: tuple[int, ...], kind: torch.dtype, bounds: tuple[float, float] | None) -> Tensor:
        if kind.is_floating_point and bounds is not None:
            low, high = bounds
            return (torch.rand(shape, generator=self.generator) * (high - low) + low).to(kind)
        if kind.is_floating_point or kind.is_complex:
            own = torch.complex64 if kind.is_complex else torch.float32
            return torch.randn(shape, generator=self.generator, dtype=own).to(kind)
        low, high = bounds or (0, 1)
        return torch.randint(int(low), int(high) + 1, shape, generator=self.generator).to(kind)
