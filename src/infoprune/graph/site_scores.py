"""One score for every unit of every site, from whatever importance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from infoprune.errors import BadWeights, InfopruneError, Untraceable
from infoprune.graph.trace import Graph
from infoprune.graph.wrappers import has_no_values

ScoreGroup = Callable[[Any], Any]


def score_sites(graph: Graph, importance: ScoreGroup) -> dict[str, np.ndarray]:
    """site -> one score a unit: the mean over its channels. Sites that the importance can't score are left out."""
    by_site = {}
    for site in graph.sites:
        group, units = graph.group(site.name)
        scores = _called(importance, graph, group, site.name)
        if scores is None:
            continue
        if not isinstance(scores, Tensor) or scores.shape != units.shape:
            raise InfopruneError(
                f"the importance gave {_shown(scores)} for the {len(units)} channels of {site.name}; it must return "
                "one number for each"
            )
        if scores.is_meta:
            raise _nothing_to_rank_by(importance)
        channels = scores.detach().double().cpu().numpy()
        if not np.isfinite(channels).all():
            raise BadWeights(f"the importance of {site.name} holds NaN or infinite values; check that layer's weights")
        by_site[site.name] = np.bincount(units, channels, site.size) / np.bincount(units, minlength=site.size)
    if not by_site:
        raise Untraceable(
            f"{type(importance).__name__} scores none of the {len(graph.sites)} sites; use another importance"
        )
    return by_site


def _called(importance: ScoreGroup, graph: Graph, group: Any, site: str) -> Any:
    try:
        return importance(group)
    except InfopruneError:
        raise
    except Exception as error:
        if has_no_values(graph.model):
            raise _nothing_to_rank_by(importance) from error
        raise InfopruneError(
            f"{type(importance).__name__} failed on {site} ({type(error).__name__}: {error}); put it in "
            "ignored_layers or use another importance"
        ) from error


def _nothing_to_rank_by(importance: ScoreGroup) -> BadWeights:
    return BadWeights(
        f"the weights are on the meta device and have no values for {type(importance).__name__}; load them, "
        "memory-mapped where they are large, or rank by torch_pruning.importance.RandomImportance()"
    )


def _shown(scores: Any) -> str:
    return f"a tensor of shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
