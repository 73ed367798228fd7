"""Plans of several sizes from one look, each smaller network inside the larger one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from infoprune.budgets import Budget
from infoprune.planning.deciding import decided
from infoprune.planning.scored import Planned, Scored


def nested(scored: Scored, sizes: Sequence[Sequence[Budget]]) -> list[Planned]:
    """The plan for each of these budgets, largest first, in which every site keeps a part of what it keeps before.

    One order of a site's units serves all, and a plan's counts are the ceilings of the next one: its value and bound
    are those of networks inside the one before. Raises ValueError unless budgets fall.
    """
    _require_falling(scored, sizes)
    plans: list[Planned] = []
    for budgets in sizes:
        planned = decided(replace(scored, terms=replace(scored.terms, budgets=budgets, rates=None)))
        assert planned.allocation is not None, "budgets are allocated"
        counts = dict(zip(scored.scores, planned.allocation.counts.tolist(), strict=True))
        scored = replace(scored, ceiling=counts, notes={**scored.notes, "inside": [str(budget) for budget in budgets]})
        plans.append(planned)
    return plans


def _require_falling(scored: Scored, sizes: Sequence[Sequence[Budget]]) -> None:
    """Each allows less of something than the one before, and more of nothing."""
    whole = np.array([site.size for site in scored.graph.sites])
    limits = [[budget.limit(budget.cost(scored.graph)(whole)) for budget in budgets] for budgets in sizes]
    for before, after, budgets in zip(limits, limits[1:], sizes[1:], strict=False):
        if after == before or any(b > a for a, b in zip(before, after, strict=True)):
            words = ", ".join(map(str, budgets))
            raise ValueError(f"{words} allows no less than the budget before it; give sizes that fall, each once")
