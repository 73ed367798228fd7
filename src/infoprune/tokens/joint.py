"""TokenPath: the tokens of a vision transformer share budgets with its channels.

Blocks cost a polynomial of degree two in the tokens that pass through them, whose coefficients are posynomials of the
widths. Tokens leave in stages, each keeping a share r of what arrives: behind stage i, N r_1 ... r_i are left, so that
the price is a posynomial of widths and shares, and one geometric program allocates both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from infoprune.allocation import Posynomial, Problem, allocate, utility_of
from infoprune.budgets import Budget, Counted
from infoprune.families.tokens import TokenLayout, token_layout
from infoprune.graph.arguments import Arguments
from infoprune.graph.counting import count_macs
from infoprune.graph.evaluating import evaluating
from infoprune.graph.hooks import hooked
from infoprune.graph.verify import structural_copy
from infoprune.planning import Planned, Scored, spent
from infoprune.planning.shares import usual
from infoprune.surgery.plan import Plan, Price, carry_out
from infoprune.surgery.token_scores import token_scores
from infoprune.surgery.tokens import KeepTokens, require_whole
from infoprune.tokens.schedule import block_name, usual_stages


@dataclass(frozen=True)
class TokenPath:
    """`ip.plan(..., tokens=TokenPath(), budgets=[...])`: tokens leave before `blocks`, channels share the rest.

    `blocks` are numbers or names, by default those at a quarter, a half and three quarters of the depth; `score` and
    `fuse` are those of `infoprune.tokens.sparsify_`. A stage counts in the utility with the share that it keeps of the
    arriving tokens, and weighs as much as all sites in the blocks behind it.
    """

    blocks: Sequence[int | str] = ()
    score: str = "capacity_independence"
    fuse: bool = False

    def within(self, scored: Scored, budgets: Sequence[Budget]) -> Planned:
        """First all shares together; then, with the tokens counted, widths that use the budgets to the last unit."""
        stages, counted = Stages.of(scored, self), _counted(budgets)
        joint = allocate(stages.problem(scored, counted), scored.terms.solver, ties=scored.ties)
        edits = stages.edits(joint.counts[-len(stages.blocks) :])
        limits = scored.problem(counted).limits - [stages.price_of_scores(edits, budget) for budget in counted]
        exact = [replace(b, keep=None, at_most=limit) for b, limit in zip(counted, limits.tolist(), strict=True)]
        with first_tokens(stages.model, {edit.block: edit.prefix + edit.leaving for edit in edits}):
            widths = scored.retraced().within(exact)
        lost, notes = stages.utility(edits, scored), dict(widths.plan.made_by)
        assert widths.allocation is not None
        notes |= {
            **spent(budgets, widths.allocation),
            "token_score": token_scores.current(self.score),
            "token_utility": lost,
        }
        plan = stages.counted(Plan((*widths.plan.edits, *edits), notes, inputs=widths.plan.inputs))
        return replace(widths, plan=plan, graph=scored.graph, token_utility=lost)


@dataclass(frozen=True)
class Stages:
    """Where tokens may leave: `blocks` in their order, of a model whose blocks get `batch` images of all its tokens."""

    model: nn.Module
    inputs: Arguments
    layout: TokenLayout
    blocks: tuple[str, ...]
    path: TokenPath
    arriving: Tensor  # what the first block got, for its shape and type

    @classmethod
    def of(cls, scored: Scored, path: TokenPath) -> Stages:
        model, inputs = scored.graph.model, scored.graph.inputs
        token_scores[path.score]
        layout = token_layout(model)
        names = {block_name(block, layout) for block in path.blocks or usual_stages(layout)}
        for name in names:
            require_whole(model, name)
        arriving = _arriving(model, inputs, layout)
        if arriving.shape[1] != layout.prefix + layout.patches:
            raise ValueError(
                f"the example inputs have {arriving.shape[1] - layout.prefix} patch tokens, the model was built for "
                f"{layout.patches}; give images of {layout.image[1]} x {layout.image[2]} pixels"
            )
        return cls(model, inputs, layout, tuple(b for b in layout.blocks if b in names), path, arriving)

    def edits(self, counts: np.ndarray) -> list[KeepTokens]:
        """Stage i keeps the share counts[i] / N of what arrives; at least one token stays."""
        edits, arriving, share = [], self.layout.patches, 1.0
        for block, count in zip(self.blocks, counts.tolist(), strict=True):
            share *= count / self.layout.patches
            kept = max(1, int(self.layout.patches * share + 1e-9))
            if kept < arriving and count < self.layout.patches:
                edits.append(self.edit(block, arriving, kept))
                arriving = edits[-1].leaving
        return edits

    def edit(self, block: str, arriving: int, kept: int) -> KeepTokens:
        layout, path = self.layout, self.path
        return KeepTokens(block, arriving, kept, layout.prefix, path.score, layout.heads, path.fuse)

    def all_arriving(self) -> list[KeepTokens]:
        """Every stage as if all tokens arrived, where scores cost most."""
        return [self.edit(block, self.layout.patches, self.layout.patches - 1) for block in self.blocks]

    def weights(self, scored: Scored) -> np.ndarray:
        """As much as the sites in the blocks that follow, together."""
        names = self.layout.blocks
        of_block = [sum(w for site, w in scored.weights.items() if site.startswith(f"{b}.")) for b in names]
        return np.array([sum(of_block[names.index(block) :]) or 1.0 for block in self.blocks])

    def utility(self, edits: Sequence[KeepTokens], scored: Scored) -> float:
        """What the shares that stay are worth, 0 where all do."""
        shares = {edit.block: edit.kept / edit.arriving for edit in edits}
        total = 0.0
        for block, weight in zip(self.blocks, self.weights(scored).tolist(), strict=True):
            total += weight * utility_of(shares.get(block, 1.0), scored.terms.utility)
        return float(total)

    def problem(self, scored: Scored, budgets: Sequence[Counted]) -> Problem:
        """The problem of the widths, with a site of N steps for each stage behind them."""
        widths, size, count = scored.problem(budgets), self.layout.patches, len(self.blocks)
        floor = usual(scored.terms.floor)
        least = int(np.ceil(floor * size - 1e-9)) if isinstance(floor, float) else min(floor, size)
        scores = [self.price_of_scores(self.all_arriving(), budget) for budget in budgets]
        return Problem(
            weights=np.append(widths.weights, self.weights(scored)),
            sizes=np.append(widths.sizes, [size] * count),
            costs=[self.price(scored, budget) for budget in budgets],
            limits=np.maximum(1, widths.limits - scores),
            floor=np.append(widths.floor, [max(1, least)] * count),
            step=np.append(widths.step, [1] * count),
            utility=widths.utility,
            names=[*(widths.names or ()), *(f"tokens before {block}" for block in self.blocks)],
            resources=widths.resources,
        )

    def price(self, scored: Scored, budget: Budget) -> Posynomial:
        """In the counts of the channels' sites and of the stages, without what scores cost.

        Interpolated from three numbers of tokens at each stage, which is exact.
        """
        few, stages = self.layout.prefix + 1, range(len(self.blocks))

        def at(reached: int, more: int) -> tuple[int, ...]:
            """Stages before `reached` pass the most tokens, those behind it the fewest."""
            return tuple(few + (2 if i < reached else more if i == reached else 0) for i in stages)

        rows = {
            tokens: _terms(self._price_at(scored, budget, tokens))
            for tokens in {at(i, m) for i in stages for m in range(3)}
        }
        terms: dict[tuple[int, ...], float] = defaultdict(float)
        for row, lowest in rows[at(0, 0)].items():
            terms[(*row, *[0] * len(stages))] += lowest
        for i in stages:
            for row in rows[at(i, 2)]:
                of_stage = self._of_stage(row, i, few, [rows[at(i, m)].get(row, 0.0) for m in range(3)])
                for term, value in of_stage.items():
                    terms[term] += value
        return Posynomial(list(terms.values()), np.array(list(terms))).simplified()

    def _price_at(self, scored: Scored, budget: Budget, tokens: Sequence[int]) -> Posynomial:
        with first_tokens(self.model, dict(zip(self.blocks, tokens, strict=True))):
            return scored.retraced().price(budget)

    def _of_stage(
        self, row: tuple[int, ...], stage: int, few: int, values: list[float]
    ) -> dict[tuple[int, ...], float]:
        """Of one monomial of the widths: b n + s n^2 at n = fixed + N r_0 ... r_stage tokens, less that at n = few."""
        square = (values[2] - 2 * values[1] + values[0]) / 2
        linear = values[1] - values[0] - square * (2 * few + 1)
        fixed, size = self.layout.prefix + self.path.fuse, float(self.layout.patches)
        shares, none = [int(i <= stage) for i in range(len(self.blocks))], [0] * len(self.blocks)
        return {
            (*row, *none): (linear + square * (fixed + few)) * (fixed - few),
            (*row, *shares): (linear + 2 * square * fixed) * size**-stage,
            (*row, *(2 * share for share in shares)): square * size ** (-2 * stage),
        }

    def price_of_scores(self, edits: Sequence[KeepTokens], budget: Counted) -> float:
        """What the scores before these stages cost while no channel has left."""
        return sum(self._price_of_score(edit, budget) for edit in edits)

    def _price_of_score(self, edit: KeepTokens, budget: Counted) -> float:
        """The block with its choice of tokens, less the block that gets as many without choosing."""
        choosing, plain = structural_copy(self.model), structural_copy(self.model)
        carry_out(choosing, [edit])
        images, _, width = self.arriving.shape
        sizes = ((choosing, edit.arriving), (plain, edit.leaving))
        with_score, without = (
            budget.measure(_alone(model, edit.block), (self.arriving.new_zeros(images, edit.prefix + n, width),))
            for model, n in sizes
        )
        return with_score - without

    def counted(self, plan: Plan) -> Plan:
        """With prices counted before and after."""
        built = structural_copy(self.model)
        carry_out(built, plan.edits)
        macs = Price(*(count_macs(model, self.inputs) for model in (self.model, built)))
        params = Price(*(sum(p.numel() for p in model.parameters()) for model in (self.model, built)))
        return replace(plan, prices={"macs": macs, "params": params})


def _counted(budgets: Sequence[Budget]) -> list[Counted]:
    """What is known of few tokens holds for many where it is counted, and not where it is predicted."""
    counted = [budget for budget in budgets if isinstance(budget, Counted) and not budget.refine]
    odd = next((budget.resource for budget in budgets if budget not in counted), None)
    if odd is not None:
        raise ValueError(f"tokens share budgets that are counted, such as macs, not of {odd}; plan for one of these")
    return counted


def _alone(model: nn.Module, block: str) -> nn.Module:
    """The model, of which nothing runs but one block."""
    module = model.get_submodule(block)
    model.forward = lambda x: module(x)
    return model


def _terms(price: Posynomial) -> dict[tuple, float]:
    rows = price.simplified()
    return {tuple(row): float(c) for row, c in zip(rows.exponents.toarray(), rows.coefficients, strict=True)}


# ------------------------------------------------------------------------------------------------ hooks, for a while


def first_tokens(model: nn.Module, tokens: Mapping[str, int]) -> AbstractContextManager[None]:
    """The first `tokens[block]` tokens alone go on into the block: what passes costs as much as any choice."""
    return hooked(model.get_submodule(b).register_forward_pre_hook(partial(_first, n)) for b, n in tokens.items())


def _first(tokens: int, _: nn.Module, args: tuple) -> tuple:
    return (args[0][:, :tokens], *args[1:])


def _arriving(model: nn.Module, inputs: Arguments, layout: TokenLayout) -> Tensor:
    seen: list[Any] = []
    seeing = model.get_submodule(layout.blocks[0]).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with seeing, torch.no_grad(), evaluating(model):
        inputs.run(model)
    return seen[0]
