"""A network and a draw of pictures without labels: widths by any account of what they cost, compensated and judged."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from vit_saliency_task import patch_features

import infoprune as ip
from compensation import DigitsOnPhotos, Saliency, Stamps, Subject, agreement
from infoprune.allocation import Problem
from infoprune.compensation.compensating import compensate_together_
from infoprune.layerwise.curve_files import load_curves, save_curves
from infoprune.layerwise.curves import Curves, relative_error
from infoprune.planning.deciding import decided
from infoprune.planning.scored import Scored, Terms

UNIFORM, SUMMED = "uniform ratio", "elimination as it is"
TRIED, TOGETHER = 64, 4  # pictures that accounts are scaled by; networks that are compensated beside each other
Counts = dict[str, int]


@dataclass(frozen=True)
class Known:
    """Losses by elimination that were computed before."""

    losses: Mapping[str, np.ndarray]

    def losses_of(self, graph: ip.Graph) -> Mapping[str, np.ndarray]:
        return self.losses


@dataclass(frozen=True, eq=False)
class Bench:
    """A network and a draw of pictures without labels: how widths are planned, compensated and judged."""

    us: Subject
    draw: int
    kept: Path  # where measured curves are kept, for a program that was stopped

    @cached_property
    def pictures(self) -> list[Tensor]:
        return self.us.loader(self.draw)

    @cached_property
    def rated(self) -> ip.importance.ConditionalImportance:
        seen = ip.observe(self.us.model, self.pictures, samples=self.us.samples, moments=True, progress=False)
        return ip.importance.ConditionalImportance(seen)

    @cached_property
    def scored(self) -> Scored:
        return Scored.of(self.us.model, self.us.example, self.rated, Terms())

    @cached_property
    def losses(self) -> Mapping[str, np.ndarray]:
        """site -> what its readers lose when k units stay."""
        return self.rated.losses_of(self.scored.graph)

    @cached_property
    def curves(self) -> Curves:
        if not self.kept.exists():
            divergence = relative_error if isinstance(self.us, Saliency) else None  # it gives out features, no classes
            samples = 128 if isinstance(self.us, DigitsOnPhotos) else 64
            options: dict[str, Any] = {"samples": samples, "divergence": divergence, "progress": False}
            save_curves(ip.layerwise.curves(self.us.model, self.pictures, self.rated, **options), self.kept)
        return load_curves(self.kept)

    def weighs(self, weights: str, utility: float) -> Any:
        """The layer importance of that name, "layers" or "curves, trust 0.5"."""
        kind, _, told = weights.partition(", trust ")
        if kind == "curves":
            return replace(self.curves, utility=utility, trust=float(told))
        if kind == "elimination":
            return ip.layerwise.losses(Known(self.losses), utility=utility, trust=float(told))
        return ip.layerwise.uniform()

    def counts(self, keep: float, weights: str, utility: float | None, scale: np.ndarray | float = 1.0) -> Counts:
        """How many units stay by this setting; `scale` is what the elimination's curves count times."""
        terms = Terms(budgets=[ip.budgets.macs(keep=keep)])
        if weights == SUMMED:
            return self.least_lost(replace(self.scored, terms=terms).problem([ip.budgets.macs(keep=keep)]), scale)
        if weights == UNIFORM:
            terms = replace(terms, solver="uniform", floor=0.05)
        elif utility is not None:
            terms = replace(terms, utility=utility, layer_importance=self.weighs(weights, utility))
        made = decided(replace(self.scored, terms=terms))
        assert made.allocation is not None
        return dict(zip(self.scored.scores, made.allocation.counts.tolist(), strict=True))

    def least_lost(self, problem: Problem, scale: np.ndarray | float) -> Counts:
        """Step by step those units leave that cost their readers least for the multiply-adds that go with them."""
        [price], [limit] = problem.costs, problem.limits
        lost, kept = [self.losses[name] for name in self.scored.scores], problem.sizes.copy()
        while price(kept) > limit:
            more = [of[max(0, k - step)] - of[k] for of, k, step in zip(lost, kept, problem.step, strict=True)]
            rates = scale * np.array(more) / (price.gradient(kept) * problem.step)
            first = int(np.argmin(np.where(kept - problem.step >= problem.floor, rates, np.inf)))
            kept[first] -= problem.step[first]
        return dict(zip(self.scored.scores, kept.tolist(), strict=True))

    @cached_property
    def sizes(self) -> Counts:
        return {site.name: site.size for site in self.scored.graph.sites if site.name in self.scored.scores}

    def compensated(self, many: Sequence[Counts], samples: int) -> list[nn.Module]:
        rates = [{site: 1 - kept / self.sizes[site] for site, kept in counts.items()} for counts in many]
        plans = [decided(replace(self.scored, terms=Terms(rates=rate))).plan for rate in rates]
        made = [ip.prune_(copy.deepcopy(self.us.model), self.us.example, plan, certify=False) for plan in plans]
        pairs = [(network, [plan]) for network, plan in zip(made, plans, strict=True)]
        compensate_together_(pairs, self.us.model, self.pictures, samples, progress=False)
        return made

    @cached_property
    def others(self) -> list[Tensor]:
        """Pictures without labels that accounts are scaled by: neither those of the refits nor those that judge."""
        return self.us.loader(9_000 + self.draw)[:1]

    def divergences(self, many: Sequence[Counts], *, trials: bool) -> list[float]:
        """In nats: on the pictures that judge, or as an account would try it, refitted by few pictures."""
        pictures, samples = (self.others, TRIED) if trials else (None, self.us.samples)
        dense = answers(self.us, self.us.model, pictures)
        networks = (network for some in in_parts(many) for network in self.compensated(some, samples))
        return [agreement(dense, answers(self.us, network, pictures))["kl"] for network in networks]


def in_parts(many: Sequence[Any]) -> list[Sequence[Any]]:
    return [many[i : i + TOGETHER] for i in range(0, len(many), TOGETHER)]


# ---------------------------------------------------------------------------------------------------------- judging


@torch.no_grad()
def answers(us: Subject, model: nn.Module, pictures: Sequence[Tensor] | None = None) -> Tensor:
    """Logits on other pictures than those of calibration; of the ViT's mask, two for each pixel."""
    if isinstance(us, Saliency):
        maps = torch.cat([us.decoder(patch_features(model, some)) for some in us.images.split(16)])
        return torch.stack([maps, torch.zeros_like(maps)], 1)
    assert isinstance(us, Stamps | DigitsOnPhotos)
    judging = us.alike if isinstance(us, Stamps) else us.test[0].split(128)
    return torch.cat([model.eval()(x) for x in pictures or judging])


def judged(us: Subject, dense: Tensor, said: Tensor) -> dict[str, float]:
    """Divergence from the dense answers and the share alike; accuracy or IoU where there are labels or masks."""
    told = agreement(dense, said)
    if isinstance(us, Saliency):
        guess, truth = said[:, 0] > 0, us.masks
        both, either = (guess & truth).flatten(1).sum(1), (guess | truth).flatten(1).sum(1)
        told["score"] = round(float((both / either.clamp(min=1)).mean()), 4)
    if isinstance(us, DigitsOnPhotos):
        told["score"] = round(float((said.argmax(1) == us.test[1]).float().mean()), 4)
    return told
