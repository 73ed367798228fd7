"""Remove half of every site from a copy and see whether it still computes what the masked original computes."""

from __future__ import annotations

import copy
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from infoprune.errors import Untraceable, first_line
from infoprune.graph.agreement import Agreement, compare, with_itself, worst
from infoprune.graph.copies import stand_in
from infoprune.graph.copies import structural_copy as structural_copy
from infoprune.graph.detectors import FEW_BOXES
from infoprune.graph.hooks import hooked
from infoprune.graph.labels import Inexactness
from infoprune.graph.other_ways import on_other_numbers
from infoprune.graph.passes import Pass, smaller
from infoprune.graph.slicing import Removal, blank, named_tensors, shrink
from infoprune.graph.slicing import replace as put
from infoprune.graph.slots import Coupling, Site

TURNS = 2  # each site is tried with two numbers of units
HALF_ROUNDING = 0.1  # relative to the outputs: what half precision may lose in a deep network
LEAST_GAIN = 0.5  # of a matrix; layers that are drawn as torch draws them have 0.6
DOUBT = 1e-6  # relative to the outputs; above, double precision is asked whether a difference is rounding


@dataclass(frozen=True)
class Trial:
    """A removal that was tried; `reason` says what went wrong, None when nothing did."""

    reason: str | None
    where: str = ""


class Trials:
    """Try sets of sites on copies of the model; find the few that break it."""

    def __init__(self, model: nn.Module, passes: Sequence[Pass], *, tolerance: float = 1e-3):
        self.model, self.calmer = restless(model), restless(model, least_gain=0.0)
        self.passes = [_halved(self.model, shown) for shown in passes]
        self.others = [on_other_numbers(self.model, self.passes[0]) or self.passes[0], *self.passes[1:]]
        self.tolerance = tolerance
        self.count, self.turn = 0, 0
        self.half = any(t.dtype in (torch.float16, torch.bfloat16) for t in named_tensors(self.model).values())

    def quarantine(self, couplings: Sequence[Coupling]) -> dict[str, str]:
        """site -> why it must be left alone, such that all the other sites may shrink together."""
        whole = worst([with_itself(self.model, shown) for shown in self.passes])
        if not whole.compared:
            raise Untraceable(
                f"{whole.emptiness} for example_inputs, so that no removal can be checked; pass inputs for which the "
                "model gives out floating-point numbers"
            )
        bad: dict[str, str] = {}
        for self.turn in range(TURNS):
            self.model = self.calmer if self.turn else self.model
            bad.update(self._search([c for c in couplings if c.site.name not in bad]))
        return bad

    def _search(self, couplings: list[Coupling]) -> dict[str, str]:
        bad: dict[str, str] = {}
        while True:
            rest = [c for c in couplings if c.site.name not in bad]
            trial = self.attempt(rest) if rest else Trial(None)
            if trial.reason is None:
                return bad
            culprits = self._culprits(rest, trial)
            bad.update(culprits)
            bad.update(self._likewise([c for c in rest if c.site.name not in bad], culprits))

    def _likewise(self, rest: list[Coupling], culprits: Mapping[str, str]) -> dict[str, str]:
        """The culprits' counterparts in other blocks, tried one by one until one of them is innocent."""
        patterns = {_anonymous(name) for name in culprits}
        bad: dict[str, str] = {}
        for coupling in (c for c in rest if _anonymous(c.site.name) in patterns):
            trial = self.attempt([coupling])
            if trial.reason is None:
                break
            bad[coupling.site.name] = trial.reason
        return bad

    def _culprits(self, rest: list[Coupling], trial: Trial) -> dict[str, str]:
        """A smallest part of `rest` that fails: first guessed from where it failed, then by halving."""
        near = [c for c in rest if trial.where and _touches(c, trial.where)]
        if near and len(near) < len(rest) and (guess := self.attempt(near)).reason is not None:
            return self._halve(near, guess)
        return self._halve(rest, trial)

    def _halve(self, couplings: list[Coupling], trial: Trial) -> dict[str, str]:
        if len(couplings) == 1:
            return {couplings[0].site.name: trial.reason or ""}
        middle = len(couplings) // 2
        culprits: dict[str, str] = {}
        for half in (couplings[:middle], couplings[middle:]):
            result = self.attempt(half)
            if result.reason is not None:
                culprits.update(self._halve(half, result))
        return culprits or {c.site.name: f"only together: {trial.reason}" for c in couplings}

    def attempt(self, couplings: Sequence[Coupling]) -> Trial:
        """Remove a part of each of these sites from a copy, of each another share."""
        self.count += 1
        removal = Removal.of((c.slots, c.attributes, _some(c.site, self.turn)) for c in couplings)
        statistics = [statistic for c in couplings for statistic in c.inexact]
        where: list[str] = [""]
        try:
            agreement = self._agreement(removal, statistics, where)
            if DOUBT < agreement.relative <= (HALF_ROUNDING if self.half else self.tolerance):
                agreement = self._settled(removal, statistics, agreement)
        except Exception as error:  # whatever the model's own code raises is the answer
            return Trial(f"{type(error).__name__}: {first_line(error)[:160]}", where[-1])
        if not agreement.compared:
            return Trial(f"{agreement.emptiness} without it, so that nothing could be compared")
        if not agreement.relative <= self.tolerance:
            return Trial(f"pruned and masked outputs differ by {agreement.relative:.1e} of their size")
        return Trial(None)

    def _settled(self, removal: Removal, statistics: Sequence[Inexactness], doubtful: Agreement) -> Agreement:
        """What double precision says of a difference that may be rounding, or a small one that is none."""
        exact = copy.copy(self)
        exact.model = stand_in(self.model).double()
        exact.passes, exact.others = _doubled(self.passes), _doubled(self.others)
        try:
            agreement = exact._agreement(removal, statistics)
        except Exception:  # code that insists on single precision
            return doubtful
        return agreement if agreement.relative <= DOUBT else replace(agreement, difference=float("inf"))

    def _agreement(
        self, removal: Removal, statistics: Sequence[Inexactness], where: list[str] | None = None
    ) -> Agreement:
        """The worst over all passes."""
        pruned, masked = structural_copy(self.model), structural_copy(self.model)
        blank(masked, removal)
        with _failing_module(pruned, [] if where is None else where):
            shrink(pruned, removal)
            passes = self.others if self.turn else self.passes
            return worst([compare(pruned, masked, removal, shown, statistics) for shown in passes])


def _halved(model: nn.Module, shown: Pass) -> Pass:
    """Images at half their size, if the model takes them: where an index belongs does not depend on it."""
    brief = smaller(shown)
    if all(a is b for a, b in zip(brief.inputs.tensors, shown.inputs.tensors, strict=True)):
        return shown
    try:
        with torch.no_grad(), brief.ready(model, boxes=FEW_BOXES):
            brief.inputs.run(model)
    except Exception:  # it was made for one size
        return shown
    return brief


def _anonymous(name: str) -> str:
    return re.sub(r"\d+", "0", name)


def _doubled(passes: Sequence[Pass]) -> list[Pass]:
    return [
        replace(p, inputs=p.inputs.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor))
        for p in passes
    ]


def _some(site: Site, turn: int = 0) -> np.ndarray:
    """Which units leave, spread out, by the site's name: a third to two thirds, and in the second turn any number.

    Equal shares everywhere would hide code that relies on the ratio of two sites, and where there are few units a
    third to two thirds of them may be half of them for several sites.
    """
    if turn:
        count = 1 + zlib.crc32(f"{turn} {site.name}".encode()) % (site.size - 1)
        return np.random.default_rng(turn).permutation(site.size) < count
    share = 1 / 3 + (zlib.crc32(site.name.encode()) % 97) / 291
    mask = np.random.default_rng(0).permutation(site.size) < share * site.size
    mask[0] = False
    if not mask.any():
        mask[-1] = True
    return mask


def _touches(coupling: Coupling, module: str) -> bool:
    inside = f"{module}."
    return any(s.tensor.startswith(inside) for s in coupling.slots) or any(
        a.module == module for a in coupling.attributes
    )


def _failing_module(model: nn.Module, stack: list[str]) -> AbstractContextManager[None]:
    """The last entry of `stack` names the innermost module of `model` that did not return."""

    def leave(*_: Any) -> None:
        stack.pop()

    entering = [module.register_forward_pre_hook(_push(stack, name)) for name, module in model.named_modules()]
    return hooked([*entering, *(module.register_forward_hook(leave) for module in model.modules())])


def _push(stack: list[str], name: str) -> Callable[..., None]:
    return lambda *_: stack.append(name)


def restless(model: nn.Module, least_gain: float = LEAST_GAIN) -> nn.Module:
    """A copy in which everything shows: zeros and ones would hide a wrong index, and small weights a wrong scale.

    Attention over small numbers is nearly uniform, whatever its scale is. Over large ones it is all at one place, so
    that the second turn takes matrices as they are, with `least_gain=0`.
    """
    generator = torch.Generator().manual_seed(0)
    moved = structural_copy(model)
    changed = {}
    for tensor in named_tensors(moved).values():
        if tensor.is_meta:
            continue
        if tensor.is_floating_point() and _is_constant(tensor.detach()):
            noise = (torch.rand(tensor.shape, generator=generator) + 0.5).to(tensor)
            changed[id(tensor)] = nn.Parameter(noise, False) if isinstance(tensor, nn.Parameter) else noise
        elif isinstance(tensor, nn.Parameter) and (gain := _gain(tensor.detach())) < least_gain:
            changed[id(tensor)] = nn.Parameter(tensor.detach() / gain, False)
    put(moved, changed)
    return moved


def _gain(weight: Tensor) -> float:
    """How large a matrix makes numbers of size one; the length of its rows."""
    if weight.dim() < 2 or not weight.is_floating_point():
        return 1.0
    precision = torch.promote_types(weight.dtype, torch.float32)
    return float(torch.linalg.vector_norm(weight, dtype=precision)) / len(weight) ** 0.5


def _is_constant(tensor: Tensor) -> bool:
    if tensor.numel() < 2 or bool(tensor.view(-1)[0] != tensor.view(-1)[-1] if tensor.is_contiguous() else False):
        return tensor.numel() == 1
    return bool((tensor == tensor.flatten()[0]).all())
