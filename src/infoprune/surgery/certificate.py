"""Proof that a pruned network is what was planned: it agrees with the original in which the same units are zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from infoprune.graph.agreement import Agreement, compare, worst
from infoprune.graph.arguments import Arguments
from infoprune.graph.copies import stand_in, structural_copy
from infoprune.graph.labels import Inexactness
from infoprune.graph.other_ways import operations, other_numbers
from infoprune.graph.passes import Pass
from infoprune.graph.slicing import Removal, blank
from infoprune.graph.wrappers import has_no_values
from infoprune.surgery.edit import Edit
from infoprune.surgery.plan import removal_of

AFFORDABLE_MACS = 600_000_000  # above, double precision would cost more than the rest of the surgery
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
HALVES = (torch.float16, torch.bfloat16)
ALONE = "the example alone was compared, since the model takes no other floating-point numbers"
NO_VALUES = "its weights are on the meta device and have no values; it was run, and gives the same shapes"
ELSEWHERE = "they agree on the example and not on other numbers"

Exactness = Literal["exact", "not exact by design", "not compared", "failed"]


@dataclass(frozen=True)
class Certificate:
    """`difference` is max |pruned - masked original| on the example inputs, whose outputs reach `scale`.

    "exact": equal up to rounding. "not exact by design": `statistics` are taken over channels, so that fewer channels
    change them; the two are equal up to rounding once the masked original takes them over the kept channels as well.
    "not compared": there is no number that says anything, for this `reason`. "failed": they should agree and don't, or
    the network costs something else than planned. Other numbers than the example's are compared too, of the other sign
    and in another order, or `reason` says that there are none. `price` tells of what is counted where that is not what
    was planned; it is no failure where values decide how much is computed. `remarks` say what both sides do that a
    paper's equation does not.
    """

    verdict: Exactness
    difference: float
    scale: float
    dtype: str
    statistics: tuple[str, ...] = ()
    reason: str = ""
    price: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def compared(self) -> bool:
        return self.verdict != "not compared"

    def __str__(self) -> str:
        return "; ".join([self._compared(), *self.remarks])

    def _compared(self) -> str:
        if not self.compared:
            return "; ".join(filter(None, (f"{self.verdict}: {self.reason}", self.price)))
        gap = f"max |pruned - masked| = {self.difference:.2e} at outputs up to {self.scale:.2e} ({self.dtype})"
        text = f"{self.verdict}: {gap}"
        if self.statistics:
            text = f"{text}, with statistics over the kept channels on both sides: {', '.join(self.statistics)}"
        return "; ".join(filter(None, (text, self.reason, self.price)))


def masked_original(model: nn.Module, edits: Sequence[Edit]) -> nn.Module:
    """A copy of the model in which what the edits remove is zero; it shares all other tensors."""
    masked, removal = structural_copy(model), removal_of(edits)
    blank(masked, removal)
    for edit in edits:
        edit.mask(masked, removal)
    return masked


def certify(pruned: nn.Module, masked: nn.Module, edits: Sequence[Edit], inputs: Any, *, macs: int) -> Certificate:
    """Compare `pruned` with the original `masked` by the same edits; neither is changed.

    Both run in double precision where the `macs` of the original make that affordable, and where single precision
    leaves a doubt: rounding alone may pass its tolerance in a deep network. Code that insists on single precision,
    or casts to it on the way, gets it.
    """
    single = partial(_in_single, pruned, masked, edits, inputs)
    remarks = tuple(remark for edit in edits for remark in edit.remarks)
    if macs > AFFORDABLE_MACS and (quick := single()).verdict != "failed":
        return replace(quick, remarks=remarks)
    return replace(_in_double(pruned, masked, edits, inputs) or single(), remarks=remarks)


def _in_double(pruned: nn.Module, masked: nn.Module, edits: Sequence[Edit], inputs: Arguments) -> Certificate | None:
    """None where code fails in double precision, or disagrees but computes in less on the way."""
    pruned, masked = (stand_in(model).double() for model in (pruned, masked))
    inputs = inputs.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
    try:
        with _Narrowing() as narrowing:
            exact = _compared(pruned, masked, edits, inputs, torch.float64)
    except Exception:  # whatever is wrong shows in single precision as well, unless that is what it asks for
        return None
    return None if exact.verdict == "failed" and narrowing.seen else exact


def _in_single(pruned: nn.Module, masked: nn.Module, edits: Sequence[Edit], inputs: Arguments) -> Certificate:
    """As it is, but for networks of half precision."""
    if any(p.dtype in HALVES for p in pruned.parameters()):
        pruned, masked = (stand_in(model).float() for model in (pruned, masked))
        inputs = inputs.map(lambda tensor: tensor.float() if tensor.is_floating_point() else tensor)
    return _compared(pruned, masked, edits, inputs, torch.float32)


class _Narrowing(TorchDispatchMode):
    """Notices code that computes in less than double precision, whatever it was given."""

    seen = False

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.seen = self.seen or (isinstance(out, Tensor) and out.is_floating_point() and out.dtype != torch.float64)
        return out


def _compared(
    pruned: nn.Module, masked: nn.Module, edits: Sequence[Edit], inputs: Any, dtype: torch.dtype
) -> Certificate:
    statistics = [statistic for edit in edits for statistic in edit.inexact]
    sides = pruned, masked, removal_of(edits)
    agreement = compare(*sides, Pass(inputs), statistics)
    reasons = tuple(sorted({s.reason for s in statistics}))
    name = str(dtype).removeprefix("torch.")
    if has_no_values(pruned):
        return Certificate("not compared", 0.0, 0.0, name, reasons, NO_VALUES)
    if not agreement.compared:
        return Certificate("not compared", agreement.difference, agreement.scale, name, reasons, agreement.emptiness)
    other = _elsewhere(*sides, Pass(inputs), statistics) if agreement.relative <= TOLERANCE[dtype] else None
    agreement, alone = worst([agreement, other or agreement]), "" if other else ALONE
    numbers = agreement.difference, agreement.scale, name, reasons
    if agreement.relative <= TOLERANCE[dtype]:
        return Certificate("not exact by design" if reasons else "exact", *numbers, alone)
    unknown = [s.reason for s in statistics if not s.reproducible]
    if unknown:
        return Certificate("not compared", *numbers, unknown[0])
    return Certificate("failed", *numbers, ELSEWHERE if other else "")


def _elsewhere(
    pruned: nn.Module, masked: nn.Module, removal: Removal, shown: Pass, statistics: Sequence[Inexactness]
) -> Agreement | None:
    """How they agree on other numbers than the example's; None where the original makes nothing of any."""
    for way in other_numbers(shown):
        try:
            agreement = compare(pruned, masked, removal, way, statistics)
        except Exception:  # of the original as well, or of the pruned network alone
            if operations(masked, way) is None:
                continue
            return Agreement(float("inf"), 1.0)
        if agreement.compared:
            return agreement
    return None
