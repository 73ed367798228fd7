"""Whether pictures are like those that a network was trained on, so that its norms may see them anew."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from infoprune.compensation.norms import agreement_when_renewed, tracking_norms
from infoprune.graph.evaluating import evaluating
from infoprune.observe import kept_randomness
from infoprune.planning.untrained import looks_untrained

ALIKE = 0.9  # share of pictures on which a renewed network agrees with itself, where pictures are of the same kind
ASKED = 512  # pictures: half of them renew, half are asked


@dataclass(frozen=True)
class Domain:
    """On what share of the pictures the network, its norms renewed on others of them, agrees with itself.

    None where that can't be asked: it has no batch norms, was never trained, or does not name classes.
    """

    agreement: float | None = None

    @property
    def alike(self) -> bool:
        """Whether norms may move with these pictures."""
        return self.agreement is None or self.agreement >= ALIKE

    def __str__(self) -> str:
        if self.agreement is None:
            return "norms move with the pictures, of which nobody knows whether they are like those it was trained on"
        evidence = f"renewed on these pictures, the dense network agrees with itself on {self.agreement:.0%} of them"
        return f"norms move with the pictures: {evidence}" if self.alike else f"norms keep their statistics: {evidence}"


def domain_of(dense: nn.Module, images: Iterable[Tensor]) -> Domain:
    """Ask the network, which is not changed."""
    batches = list(images)
    if not batches or not tracking_norms(dense) or looks_untrained(dense):
        return Domain()
    with torch.no_grad(), evaluating(dense), kept_randomness():
        answer = dense(batches[0][:1])
    if not isinstance(answer, Tensor) or answer.dim() != 2:
        return Domain()
    return Domain(agreement_when_renewed(dense, batches))
