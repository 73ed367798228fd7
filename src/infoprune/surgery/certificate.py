"""Proof that a pruned network is what was planned: it agrees with the original in which the same units are zero."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from infoprune.graph.arguments import Arguments
from infoprune.graph.slicing import blank
from infoprune.graph.verify import Agreement, compare, structural_copy
from infoprune.surgery.plan import Edit, removal_of

AFFORDABLE_MACS = 600_000_000  # above, double precision would cost more than the rest of the surgery
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}

Verdict = Literal["exact", "not exact by design", "failed"]


@dataclass(frozen=True)
class Certificate:
    """`difference` is max |pruned - masked original| on the example inputs, whose outputs reach `scale`.

    "exact": equal up to rounding. "not exact by design": `statistics` are taken over channels, so fewer channels
    change them; `compared` says whether the two still agree up to rounding once the masked original takes them over
    the kept channels as well. "failed": they should agree and don't.
    """

    verdict: Verdict
    difference: float
    scale: float
    dtype: str
    statistics: tuple[str, ...] = ()
    compared: bool = True

    def __str__(self) -> str:
        gap = f"max |pruned - masked| = {self.difference:.2e} at outputs up to {self.scale:.2e} ({self.dtype})"
        told = f"{self.verdict}: {gap}"
        if self.scale == 0:
            return f"{told}; all outputs are zero, so this compares nothing"
        if not self.statistics:
            return told
        how = "with statistics over the kept channels on both sides" if self.compared else "which it does not undo"
        return f"{told}, {how}: {', '.join(self.statistics)}"


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
    leaves a doubt: rounding alone may pass its tolerance in a deep network.
    """
    if macs > AFFORDABLE_MACS:
        quick = _compared(pruned, masked, edits, inputs, torch.float32)
        if quick.verdict != "failed":
            return quick
    return _compared(pruned, masked, edits, inputs, torch.float64)


def _compared(
    pruned: nn.Module, masked: nn.Module, edits: Sequence[Edit], inputs: Any, dtype: torch.dtype
) -> Certificate:
    if dtype is torch.float64:
        pruned, masked = copy.deepcopy(pruned).double(), copy.deepcopy(masked).double()
        inputs = Arguments.of(inputs).map(_double)
    statistics = [statistic for edit in edits for statistic in edit.inexact]
    agreement = compare(pruned, masked, removal_of(edits), inputs, statistics)
    reasons = tuple(sorted({s.reason for s in statistics}))
    compared = all(s.reproducible for s in statistics)
    verdict = _verdict(agreement, TOLERANCE[dtype], reasons, compared)
    name = str(dtype).removeprefix("torch.")
    return Certificate(verdict, agreement.difference, agreement.scale, name, reasons, compared)


def _verdict(agreement: Agreement, tolerance: float, reasons: tuple[str, ...], compared: bool) -> Verdict:
    if compared and not agreement.relative <= tolerance:
        return "failed"
    return "not exact by design" if reasons else "exact"


def _double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor
