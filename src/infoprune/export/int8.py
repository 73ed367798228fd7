"""An 8-bit file made from one in single precision, and what it answers on samples that it was not made with."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from infoprune.compensation.pictures import Fold, Pictures
from infoprune.errors import ExportFailed, UnusableData
from infoprune.export.formats import Format
from infoprune.export.runtimes import Runtime
from infoprune.graph.arguments import Arguments
from infoprune.graph.nested import outputs_of
from infoprune.observe.batches import Batch
from infoprune.timing import LatencyComparison, compare_times, interleaved_ms

SAMPLES = 512
RANGES: tuple[Fold, ...] = ("first",)  # seven samples of sixteen
JUDGED: tuple[Fold, ...] = ("second", "held out")
WORST = 1.0  # of the variance: as far off as the mean of all answers is
ROUNDS, SECONDS = 31, 1.0
INSTRUCTIONS = {
    "amx_int8": "AMX", "avx512_vnni": "AVX-512 VNNI", "avx_vnni": "AVX VNNI", "i8mm": "i8mm", "asimddp": "dot products",
}  # fmt: skip


@dataclass(frozen=True)
class Quantised:
    """How an 8-bit file answers beside the model, on samples that gave it no ranges, and how long it takes.

    `agreement` is the share of those samples whose largest score stays, where the model gives one row of scores a
    sample, None elsewhere; `error` the squared difference of an output over its variance, at the worst output.
    `latency` compares the 8-bit file (as pruned) with the one in single precision (as dense), on a processor whose
    instructions for 8-bit products `processor` names.
    """

    ranges_from: int
    compared_on: int
    agreement: float | None
    error: float
    bytes: int
    bytes_float32: int
    latency: LatencyComparison
    processor: str

    def __str__(self) -> str:
        same = "" if self.agreement is None else f"{self.agreement:.1%} keep their largest score, "
        low, high = self.latency.ratio_interval
        return (
            f"int8, ranges from {self.ranges_from} samples; of {self.compared_on} others {same}"
            f"error {self.error:.2g} of the variance\n"
            f"{self.bytes / 1e6:.3g} MB against {self.bytes_float32 / 1e6:.3g} MB; "
            f"{self.latency.pruned_ms:.3g} ms against {self.latency.dense_beside_ms:.3g} ms, ratio "
            f"{self.latency.ratio:.3f} ({low:.3f} to {high:.3f}) with {self.processor}"
        )


@dataclass(frozen=True)
class Samples:
    """What a loader gives as calls like the example: some that ranges are taken from, and others to compare."""

    pictures: Pictures
    example: Arguments
    ranges: list[list[Tensor]]

    @classmethod
    def of(cls, loader: Iterable[Any], example: Arguments) -> Samples:
        """The samples for ranges are read now and held, so that what is wrong with a loader is told before the work."""
        pictures = Pictures.of(loader, SAMPLES, example.tensors[0].device, progress=True, purpose="int8")
        calls = (_call_of(batch, example) for _, batch in pictures.parts(RANGES, "taking ranges"))
        return cls(pictures, example, [call.map(Tensor.cpu).tensors for call in calls])

    def others(self) -> Iterator[Arguments]:
        for _, batch in self.pictures.parts(JUDGED, "comparing int8"):
            yield _call_of(batch, self.example)


def _call_of(batch: Batch, example: Arguments) -> Arguments:
    """The example's call, a batch's tensors in the places of the example's."""
    named = {name: batch.kwargs[name] for name in example.named if name in batch.kwargs}
    tensors = Arguments(batch.args, named).tensors
    forms, needed = [_form(t) for t in tensors], [_form(t) for t in example.tensors]
    if forms != needed:
        raise UnusableData(
            f"the loader gives {' and '.join(forms) or 'nothing'} a sample, and the model is exported for "
            f"{' and '.join(needed)}; give samples like the example, with names where it has some"
        )
    rest = iter(tensors)
    return example.map(lambda _: next(rest))


def _form(tensor: Tensor) -> str:
    shape = "x".join(map(str, tensor.shape[1:]))
    return f"{shape or 'one'} {str(tensor.dtype).removeprefix('torch.')}"


def quantised(model: nn.Module, samples: Samples, how: Format, whole: Path, draft: Path) -> Quantised:
    """Write the 8-bit file of `whole` to `draft` and compare; ExportFailed where a constant would do as well."""
    assert how.quantise is not None
    how.quantise(whole, draft, samples.ranges)
    small, compared = how.run(draft), Compared()
    for call in samples.others():
        compared.add(outputs_of(call.run(model)), small(call))
    if not compared.error < WORST:
        raise ExportFailed(
            f"the int8 model is {compared.error:.2g} of the outputs' variance off, and a constant would be 1; nothing "
            "was written, give more or other samples, or leave int8 out"
        )
    taken = sum(len(tensors[0]) for tensors in samples.ranges)
    latency = _timed(how.run(whole), small, samples.example)
    return Quantised(
        taken, compared.samples, compared.agreement, compared.error, _size(draft), _size(whole), latency, processor()
    )


def _size(path: Path) -> int:
    """Of the file and what was written beside it."""
    return sum(file.stat().st_size for file in path.parent.iterdir())


def _timed(whole: Runtime, small: Runtime, inputs: Arguments) -> LatencyComparison:
    runs = [lambda: whole(inputs), lambda: small(inputs)]
    return compare_times(interleaved_ms(runs, rounds=ROUNDS, seconds=SECONDS, device=torch.device("cpu")))


# ------------------------------------------------------------------------------------------------------- comparing


class Compared:
    """Sums over samples, from which agreement and error follow."""

    def __init__(self) -> None:
        self.samples = self.agreeing = 0
        self.scored = True
        self.sums: list[np.ndarray] = []  # an output's numbers: their count, sum, squares, and squares of what differs

    def add(self, ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> None:
        ours, theirs = [t.double().cpu() for t in ours], [t.double() for t in theirs]
        if [t.shape for t in ours] != [t.shape for t in theirs]:
            raise ExportFailed("the int8 model's outputs have other shapes than the model's; nothing was written")
        pairs = zip(ours, theirs, strict=True)
        now = [np.array([a.numel(), a.sum(), a.square().sum(), (a - b).square().sum()]) for a, b in pairs]
        self.sums = [old + new for old, new in zip(self.sums or [0] * len(now), now, strict=True)]
        self.samples += len(ours[0])
        self.scored = self.scored and ours[0].dim() == 2 and ours[0].shape[1] > 1
        if self.scored:
            self.agreeing += int((ours[0].argmax(1) == theirs[0].argmax(1)).sum())

    @property
    def agreement(self) -> float | None:
        return self.agreeing / self.samples if self.scored else None

    @property
    def error(self) -> float:
        return max(float(_over_variance(*pair)) for pair in self.sums)


def _over_variance(count: float, total: float, squares: float, off: float) -> float:
    variance = squares - total * total / count
    return off / variance if variance > 0 else 0.0 if off == 0 else float("inf")


def processor() -> str:
    """The vector instructions here, and whether 8-bit products have their own.

    Without them int8 saves bytes, and time only where memory was what took it.
    """
    vectors = torch.backends.cpu.get_cpu_capability()
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return f"{platform.machine()} {vectors}"
    flags = set(cpuinfo.read_text(encoding="utf-8", errors="replace").split())
    instructions = [name for flag, name in INSTRUCTIONS.items() if flag in flags]
    return f"{vectors} and {instructions[0]}" if instructions else f"{vectors}, without VNNI or its like"
