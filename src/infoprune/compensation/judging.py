"""How far answers are off on held-out samples: of single readers, and of the whole network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from infoprune.compensation.pictures import Pictures
from infoprune.compensation.readers import Reader, answer, channel_axis
from infoprune.compensation.watching import noting, run
from infoprune.graph.tape import outputs_of
from infoprune.processes import over_processes


@dataclass(frozen=True, eq=False)
class Solution:
    """A reader's new weight and bias in its own shapes; without a bias, `shift` is what its norm should add."""

    reader: Reader
    weight: Tensor
    bias: Tensor | None
    shift: Tensor | None
    ridge: float
    mean: Tensor  # of the dense outputs


def errors(
    dense: nn.Module, solutions: Mapping[str, Sequence[Solution]], pictures: Pictures
) -> dict[str, tuple[float, ...]]:
    """reader -> squared error over variance of the outputs that stayed, on held-out samples: plain, then each solution.

    All read what stayed of the dense layer's input.
    """
    modules = dict(dense.named_modules())
    sums = {name: torch.zeros(len(ways) + 2, dtype=torch.float64) for name, ways in solutions.items()}

    def note(name: str, x: Tensor, y: Tensor) -> None:
        reader = solutions[name][0].reader
        sums[name] += squares([standing(reader), *solutions[name]], y, reader.selected(x))

    for _, batch in pictures.parts(("held out",), "compare outputs"):
        with noting({name: modules[name] for name in solutions}, note):
            run(dense, batch)
    totals = {name: over_processes(total) for name, total in sums.items()}
    return {name: tuple(ratio(gap, total[0]) for gap in total[1:]) for name, total in totals.items()}


def standing(reader: Reader, mean: Tensor | None = None) -> Solution:
    """The reader as it stands; `mean` is that of the dense outputs, zero where it is not known."""
    mean = torch.zeros(len(reader.rows)) if mean is None else mean
    return Solution(reader, reader.layer.weight.detach(), reader.bias, None, 0.0, mean)


def squares(ways: Sequence[Solution], y: Tensor, z: Tensor) -> Tensor:
    """Squared distance of the dense outputs y from their mean, then from what each way makes of the inputs z."""
    reader = ways[0].reader
    y = reader.outputs(y)
    shape = [-1 if axis == channel_axis(reader.layer, y) else 1 for axis in range(y.dim())]
    gaps = [y - ways[-1].mean.to(y).view(shape)]
    for way in ways:
        gap = y - answer(reader.layer, z, way.weight, way.bias)
        gaps.append(gap if way.shift is None else gap - way.shift.to(gap).view(shape))
    return torch.stack([gap.square().sum(dtype=torch.float64) for gap in gaps]).cpu()


def ratio(error: Tensor, spread: Tensor) -> float:
    """error / spread; zero for nothing over nothing."""
    return float(error / spread) if spread > 0 or error.isnan() else float(error > 0)


def output_errors(dense: nn.Module, others: Sequence[nn.Module], pictures: Pictures) -> list[float]:
    """For each of the others: squared distance of its outputs from the dense ones, over the variance of those.

    Over all floating point outputs of held-out samples; NaN where there is none to compare, or their shapes differ.
    """
    seen = _Outputs(torch.zeros(len(others), dtype=torch.float64))
    for _, batch in pictures.parts(("held out",), "compare outputs"):
        seen.note(_floats(run(dense, batch)), [_floats(run(other, batch)) for other in others])
    return over_processes(seen).errors()


@dataclass
class _Outputs:
    """Sums over samples: squared gaps of each network, and number, sum and squares of the dense outputs."""

    gaps: Tensor
    dense: dict[Any, tuple[int, Any, float]] = field(default_factory=dict)

    def note(self, whole: Sequence[Tensor], others: Sequence[Sequence[Tensor]]) -> None:
        for place, other in enumerate(others):
            alike = [t.shape for t in whole] == [t.shape for t in other]  # else, say, other numbers of objects
            self.gaps[place] += sum(map(_square, map(torch.sub, whole, other))) if alike else float("nan")
        for place, tensor in enumerate(whole):
            self._count((place, tensor.shape[1:]), (len(tensor), tensor.sum(0, dtype=torch.float64), _square(tensor)))

    def _count(self, key: Any, more: tuple[int, Any, float]) -> None:
        n, sums, squares = self.dense.get(key, (0, 0, 0.0))
        self.dense[key] = (n + more[0], sums + more[1], squares + more[2])

    def __add__(self, other: _Outputs) -> _Outputs:
        both = _Outputs(self.gaps + other.gaps, dict(self.dense))
        for key, more in other.dense.items():
            both._count(key, more)
        return both

    def errors(self) -> list[float]:
        spread = sum(squares - _square(sums / n) * n for n, sums, squares in self.dense.values())
        return [ratio(gap, torch.tensor(spread)) if self.dense else float("nan") for gap in self.gaps]


def _square(x: Tensor) -> float:
    return float(x.square().sum(dtype=torch.float64))


def _floats(output: Any) -> list[Tensor]:
    return [t for t in outputs_of(output) if t.is_floating_point() and t.dim()]
