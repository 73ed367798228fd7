"""Information curves: how far the output moves as one site keeps a share of its units, measured."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from infoprune.errors import StaleObservations, Untraceable, UnusableData
from infoprune.estimators.hsic import LEAST_UNBIASED, nhsic
from infoprune.estimators.moments import Estimate, GroupedMean
from infoprune.graph import Graph
from infoprune.graph.arguments import Arguments
from infoprune.graph.evaluating import evaluating
from infoprune.graph.nested import outputs_of
from infoprune.graph.site_scores import score_sites
from infoprune.graph.slicing import Removal, device_of, shrink
from infoprune.graph.slots import Site, gone
from infoprune.graph.wrappers import require_whole
from infoprune.layerwise.base import LayerImportance
from infoprune.layerwise.uniform import layerwise, uniform
from infoprune.observe import arguments_of, kept_randomness
from infoprune.observe.norms import reestimate_, tracking_norms
from infoprune.processes import Processes, by_turns
from infoprune.progress import counting
from infoprune.require import require_importance, require_model, require_values

Divergence = Callable[[Tensor, Tensor], Tensor]

LEVELS = (0.2, 0.4)  # 0.6 and 0.8 beside them count a thirty-sixth at p = -1: the same widths at twice the cost


# ---------------------------------------------------------------------------------------------- divergences


def kullback_leibler(dense: Tensor, pruned: Tensor) -> Tensor:
    """Mean over samples of KL(softmax(dense) || softmax(pruned)) of logits, in nats; never negative."""
    p, q = dense.flatten(1).log_softmax(-1), pruned.flatten(1).log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1).mean()


def relative_error(dense: Tensor, pruned: Tensor) -> Tensor:
    """|dense - pruned|^2 / |dense - mean over samples|^2; zero or positive, one for the mean alone."""
    spread = (dense - dense.mean(0)).square().sum()
    return (dense - pruned).square().sum() / spread


def alignment_loss(dense: Tensor, pruned: Tensor) -> Tensor:
    """1 - nHSIC (CKA) of the outputs of n samples, biased; from zero to one, blind to scale and rotation."""
    return 1 - nhsic(dense.flatten(1), pruned.flatten(1))


# --------------------------------------------------------------------------------------------------- curves


@layerwise.register("curves")
def curves(
    model: nn.Module,
    loader: Iterable[Any],
    importance: Callable[[Any], Any],
    *,
    levels: Sequence[float] = LEVELS,
    samples: int = 512,
    utility: float = -1.0,
    trust: float = 0.5,
    divergence: Divergence | None = None,
    ignored_layers: Iterable[str | nn.Module | nn.Parameter] = (),
    num_heads: Mapping[nn.Module, int] | None = None,
    progress: bool = True,
) -> Curves:
    """Weights from how far the output moves, D_g(a) = c_g (1 - a^p)/p, as site g keeps a share a.

    For every site and every share a in `levels`, a copy of the model keeps the ceil(a n) units that
    `importance` ranks highest. Batch-norm statistics are estimated anew, as for the whole model, so that
    nothing but the removal moves the output. Least squares give c_g.

    A site weighs l_g^(1 - trust) c_g^trust, where l_g is the number of layers that write to it, as in `uniform`:
    measured and assumed information in their geometric mean. With `trust=1` the plan adds up what the curves
    predict; but loss in one site is measured with all others whole, and where many shrink at once more is lost.

    The cost is two passes over the samples (one without batch-norm) for each site and level; the samples are held in
    memory. The model itself is not touched. Under `torchrun` processes, which must all call this with the same samples,
    take turns at sites and levels; all end with what one would have measured.

    Args:
        model: The network.
        loader: Gives what its forward takes; labels are not read.
        importance: Ranks the units of a site.
        levels: Shares of a site's units that are kept in turn.
        samples: How many samples are read at most.
        utility: p; should be the one that the plan maximises.
        trust: From 0, weights as in `uniform`, to 1, weights as measured.
        divergence: What compares two outputs; by default `kullback_leibler` for outputs samples x classes, else
            `relative_error`; `alignment_loss` is another.
        ignored_layers: As in `plan`.
        num_heads: As in `plan`.
        progress: Show how far it has come.
    """
    _check(levels, samples, trust)
    require_model(model)
    require_whole(model)
    require_values(model, "to compute with")
    require_importance(importance)
    batches = _held(loader, samples, device_of(model))
    us = Processes.now()
    _require_the_same(us, batches)
    few = batches[0].map(lambda tensor: tensor[:2])
    graph = Graph.trace(model, few, ignored_layers=ignored_layers, num_heads=num_heads)
    if not graph.sites:
        raise Untraceable(f"the model has no site that can be measured: {graph.why_fixed()}")
    trial = _Trial(graph, batches, divergence)
    jobs = list(product(graph.sites, levels))
    mine = len(jobs[us.rank :: us.world])
    with kept_randomness(), counting(mine, "information curves", "trial", shown=progress and us.first) as done:
        scores = score_sites(graph, importance)
        ranks = {site.name: _ranked(scores.get(site.name), site.size) for site in graph.sites}

        def tried(job: tuple[Site, float]) -> Tensor:
            site, level = job
            row = trial.divergences(site, ranks[site.name][: counted(level, site.size)])
            done(1)
            return row

        rows = by_turns(jobs, tried)
    table = torch.stack(rows).view(len(graph.sites), len(levels), len(batches))
    measured = GroupedMean.empty(len(graph.sites), len(levels))
    for batch, values in zip(batches, table.unbind(-1), strict=True):
        measured = measured.update(values, weight=len(batch.tensors[0]))
    shares = [[counted(level, site.size) / site.size for level in levels] for site in graph.sites]
    sizes = {site.name: site.size for site in graph.sites}
    return Curves(sizes, torch.tensor(shares, dtype=torch.float64), measured, utility, trust, trial.passes)


@dataclass(frozen=True, eq=False)
class Curves(LayerImportance):
    """Measured divergences, sites x levels, with the shares at which they were taken.

    `passes` is what measuring cost, in forward passes over all samples.
    """

    sizes: Mapping[str, int]
    shares: Tensor = field(repr=False)
    measured: GroupedMean = field(repr=False)
    utility: float = -1.0
    trust: float = 1.0
    passes: int = 0

    def estimate(self, graph: Graph) -> Estimate:
        rows = [self._row(site.name, site.size) for site in graph.sites]

        def weights(divergences: Tensor) -> Tensor:
            return weighed(graph, fitted(divergences, self.shares, self.utility)[..., rows], self.trust)

        return self.measured.jackknife(weights)

    def points(self, site: str) -> list[tuple[float, float]]:
        """(share kept, divergence) as measured."""
        row = list(self.sizes).index(site)
        return list(zip(self.shares[row].tolist(), self.measured.mean()[row].tolist(), strict=True))

    def _row(self, name: str, size: int) -> int:
        if self.sizes.get(name) != size:
            raise StaleObservations(
                f"{name} has {size} units and was measured with {self.sizes.get(name, 0)}; measure again"
            )
        return list(self.sizes).index(name)


def shape_of(shares: Tensor, utility: float) -> Tensor:
    """(1 - a^p)/p, which falls to zero at a = 1: -log a for p = 0, 1/a - 1 for p = -1."""
    return -shares.log() if utility == 0 else (1 - shares**utility) / utility


def fitted(divergences: Tensor, shares: Tensor, utility: float) -> Tensor:
    """c of least squares, divergences ~ c (1 - a^p)/p over the last axis."""
    shape = shape_of(shares, utility)
    return (divergences * shape).sum(-1) / shape.square().sum(-1)


def weighed(graph: Graph, slopes: Tensor, trust: float) -> Tensor:
    """l_g^(1 - trust) c_g^trust: the geometric mean of a site's layers and of its fitted c, *batch x sites."""
    layers = torch.tensor([*uniform()(graph).values()], dtype=torch.float64)
    return layers ** (1 - trust) * slopes.clamp(min=0) ** trust


# --------------------------------------------------------------------------------------------------- inside


class _Trial:
    """One site at a time loses units on a copy, whose outputs are compared with the dense ones."""

    def __init__(self, graph: Graph, batches: Sequence[Arguments], divergence: Divergence | None):
        self.graph, self.batches = graph, batches
        self.passes = 0
        dense = copy.deepcopy(graph.model)
        self._reestimate(dense)
        self.dense = self._outputs(dense)
        self.divergence = divergence or _fitting(self.dense[0])

    def divergences(self, site: Site, kept: np.ndarray) -> Tensor:
        """One number a batch."""
        pruned = copy.deepcopy(self.graph.model)
        coupling, mask = self.graph.couplings[site.name], gone(site.size, kept.tolist())
        shrink(pruned, Removal.of([(coupling.slots, coupling.attributes, mask)]))
        self._reestimate(pruned)
        pairs = zip(self.dense, self._outputs(pruned), strict=True)
        divergences = torch.stack([self.divergence(a, b).double().cpu() for a, b in pairs])
        if not bool(divergences.isfinite().all()):
            raise UnusableData(
                f"with {len(kept)} of {site.size} units of {site.name} the outputs cannot be compared (NaN "
                "or infinite); check what the model gives out, or pass another divergence"
            )
        return divergences

    @torch.no_grad()
    def _outputs(self, model: nn.Module) -> list[Tensor]:
        self.passes += 1
        with evaluating(model):
            return [_first_output(batch.run(model)) for batch in self.batches]

    def _reestimate(self, model: nn.Module) -> None:
        self.passes += bool(tracking_norms(model))
        with evaluating(model):
            reestimate_(model, self.batches, forward=lambda batch: batch.run(model))


def _first_output(output: Any) -> Tensor:
    tensor = next((t for t in outputs_of(output) if t.is_floating_point()), None)
    if tensor is None:
        raise UnusableData("the model gives out no floating point tensor, so there is nothing to compare")
    return tensor


def _fitting(output: Tensor) -> Divergence:
    return kullback_leibler if output.dim() == 2 and output.shape[1] > 1 else relative_error


def _held(loader: Iterable[Any], samples: int, device: torch.device) -> list[Arguments]:
    """The arguments of the first `samples` samples, in batches, on the model's device."""
    with kept_randomness():
        calls = [inputs.map(lambda t: t.to(device)) for inputs in arguments_of(loader, samples)]
    if not calls:
        raise UnusableData("the loader is empty; give at least one batch")
    return calls


def _require_the_same(us: Processes, batches: Sequence[Arguments]) -> None:
    """Processes that share the trials must try on the same samples."""
    if us.world == 1:
        return
    seen = hashlib.sha256()
    for tensor in (t for batch in batches for t in batch.tensors):
        seen.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        seen.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    if len(set(us.gathered(seen.hexdigest()))) > 1:
        raise UnusableData(
            f"the {us.world} processes read different samples; they share the trials, so give all of them one loader, "
            "without a sampler that spreads it"
        )


def _ranked(scores: np.ndarray | None, size: int) -> np.ndarray:
    """A site's units, most important first; in their own order where the importance does not score them."""
    return np.arange(size) if scores is None else np.argsort(-scores, kind="stable")


def counted(level: float, size: int) -> int:
    """How many of `size` units a share keeps."""
    return max(1, int(np.ceil(level * size - 1e-9)))


def _check(levels: Sequence[float], samples: int, trust: float) -> None:
    if not levels or not all(0 < level < 1 for level in levels):
        raise ValueError(f"levels are {list(levels)}; give shares of units to keep, above 0 and below 1")
    if samples < LEAST_UNBIASED:
        raise ValueError(f"samples is {samples}; give at least {LEAST_UNBIASED}")
    check_trust(trust)


def check_trust(trust: float) -> None:
    if not 0 <= trust <= 1:
        raise ValueError(f"trust is {trust}; it is the measured share of a weight, from 0 to 1")
