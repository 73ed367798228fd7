"""A question with a known answer: seeded inputs and what the model gave for them when it was saved."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from infoprune.errors import BadArtifact
from infoprune.graph.settled import FEW_BOXES, settled
from infoprune.graph.tape import outputs_of
from infoprune.surgery.inputs import LIST, InputSpec

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
        outputs = [t.detach() for t in outputs_of(model(*probe_inputs(model, inputs))) if t.is_floating_point()]
    digest = hashlib.sha256()
    for tensor in outputs:
        digest.update(tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    values = torch.cat([t.float().cpu().flatten() for t in outputs])
    picked = values[torch.linspace(0, len(values) - 1, min(SAMPLES, len(values))).long()]
    return Answer(digest.hexdigest(), tuple(picked.tolist()), float(values.abs().max()))


def probe_inputs(model: nn.Module, inputs: InputSpec) -> tuple[Tensor | list, ...]:
    generator = torch.Generator().manual_seed(SEED)
    return tuple(_input(shape, dtype, generator) for shape, dtype in inputs)


def check_answer(found: Answer, expected: Answer) -> None:
    """Bitwise equal, or equal up to rounding on another machine; anything else is another model."""
    if found.digest == expected.digest:
        return
    gaps = [abs(a - b) for a, b in zip(found.samples, expected.samples, strict=False)]
    worst = max(gaps, default=math.inf) if len(found.samples) == len(expected.samples) else math.inf
    if not worst <= TOLERANCE * max(expected.largest, 1e-12):
        raise BadArtifact(
            f"the loaded model's outputs differ from those it was saved with by {worst:.3g} (largest output "
            f"{expected.largest:.3g}); the file was changed, or the architecture's code has"
        )


def _input(shape: tuple[Any, ...], dtype: str, generator: torch.Generator) -> Tensor | list:
    if dtype == LIST:
        return [_input(*part, generator) for part in shape]
    if math.prod(shape) > LARGEST_INPUT:
        raise BadArtifact(f"the probe asks for an input of shape {shape}; at most {LARGEST_INPUT} elements are allowed")
    kind = getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype):
        raise BadArtifact(f"the probe asks for an input of type {dtype!r}, which torch has not")
    if kind.is_floating_point:
        return torch.randn(shape, generator=generator).to(kind)
    return torch.randint(0, 2, shape, generator=generator).to(kind)
