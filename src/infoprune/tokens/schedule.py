"""plan() and sparsify_(): from keep ratios, or from a budget, to counts of tokens before blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version

import torch
from torch import Tensor, nn

from infoprune.budgets import Budget, macs
from infoprune.errors import Infeasible, UnknownName
from infoprune.families.tokens import TokenLayout, token_layout
from infoprune.graph.wrappers import bare
from infoprune.registry import nearest
from infoprune.surgery.plan import Plan, Price, check_all
from infoprune.surgery.prune import prune_
from infoprune.surgery.token_scores import token_scores
from infoprune.surgery.tokens import KeepTokens, require_whole
from infoprune.tokens.counting import TokenCounter

Schedule = Mapping[int | str, float]

STEPS = 1000  # keep ratios that a budget is met with are multiples of 1 / STEPS


def sparsify_(
    model: nn.Module,
    *,
    schedule: Schedule | None = None,
    budget: Budget | None = None,
    score: str = "capacity_independence",
    fuse: bool = False,
) -> nn.Module:
    """Let only the most important tokens of each image go on into the scheduled blocks; in place, returned.

    Class and register tokens always stay. Give `schedule` or `budget`. Before anything changes, the result is certified
    against the original in which the tokens that leave are masked out of attention.

    Args:
        model: A vision transformer; changed in place.
        schedule: {3: 0.7, 6: 0.7, 9: 0.7} keeps 70 % of the patch tokens that arrive at blocks 3, 6 and 9.
        budget: Of MACs; finds one ratio for the blocks at a quarter, a half and three quarters of the depth.
        score: A name of `infoprune.tokens.scores`.
        fuse: Send the mean of the tokens that leave on as one token.

    >>> import timm
    >>> vit = timm.create_model("test_vit", img_size=64)
    >>> sparsify_(vit, schedule={2: 0.5}).blocks[2].keep_tokens
    TokenSelection(8 of 16 by capacity_independence)
    """
    layout = token_layout(bare(model))
    transformer = bare(model).get_submodule(layout.transformer)
    thinning = plan(transformer, schedule=schedule, budget=budget, score=score, fuse=fuse)
    prune_(transformer, _image(transformer, layout), thinning)
    return model


def plan(
    model: nn.Module,
    *,
    schedule: Schedule | None = None,
    budget: Budget | None = None,
    score: str = "capacity_independence",
    fuse: bool = False,
) -> Plan:
    """What `sparsify_` would do, as a plan for `prune_`, `save` and `+`; the model is not touched.

    Args:
        model: A vision transformer.
        schedule: As in `sparsify_`.
        budget: As in `sparsify_`.
        score: As in `sparsify_`.
        fuse: As in `sparsify_`.
    """
    if (schedule is None) == (budget is None):
        raise ValueError("give schedule={block: keep} or budget=infoprune.budgets.macs(keep=...), one of them")
    token_scores[score]
    score = token_scores.current(score)
    layout = token_layout(model)
    for block in layout.blocks:
        require_whole(model, block)
    counter = TokenCounter(model, layout)
    if budget is not None:
        edits = _within(budget, counter, layout, score, fuse)
    else:
        edits = edits_for(_by_block(schedule or {}, layout), layout, score=score, fuse=fuse)
    notes = {"infoprune": version("infoprune"), "torch": torch.__version__, "token_score": score}
    if budget is not None:
        notes["budgets"] = [str(budget)]
    params = sum(p.numel() for p in model.parameters())
    prices = {"macs": Price(counter.macs(()), counter.macs(edits)), "params": Price(params, params)}
    inputs = (((1, *layout.image), "float32"),) if not layout.transformer else ()
    thinning = Plan(tuple(edits), notes, prices, inputs)
    check_all(model, thinning)
    return thinning


def edits_for(keep: Mapping[str, float], layout: TokenLayout, *, score: str, fuse: bool = False) -> list[KeepTokens]:
    """Block by block, ceil(keep n) of the n patch tokens that arrive stay."""
    edits, arriving = [], layout.patches
    for block in (b for b in layout.blocks if b in keep):
        if keep[block] * arriving < 1 - 1e-9:
            raise ValueError(
                f"{block}: keep {keep[block]} of the {arriving} patch tokens that arrive is less than one token; "
                "keep more"
            )
        kept = math.ceil(keep[block] * arriving - 1e-9)
        if kept < arriving:
            edits.append(KeepTokens(block, arriving, kept, layout.prefix, score, layout.heads, fuse))
            arriving = edits[-1].leaving
    return edits


def _by_block(schedule: Schedule, layout: TokenLayout) -> dict[str, float]:
    if not isinstance(schedule, Mapping) or not schedule:
        raise ValueError(f"schedule is {schedule!r}; give block -> keep ratio, such as {{3: 0.7, 6: 0.7, 9: 0.7}}")
    keeps: dict[str, float] = {}
    for block, keep in schedule.items():
        name = block_name(block, layout)
        if isinstance(keep, bool) or not isinstance(keep, int | float) or not 0 < keep <= 1:
            raise ValueError(f"{name}: keep is {keep!r}; it is the fraction that remains, above 0 and at most 1")
        if name in keeps:
            raise ValueError(f"the schedule names {name} twice; give it one keep ratio")
        keeps[name] = float(keep)
    return keeps


def block_name(block: int | str, layout: TokenLayout) -> str:
    if isinstance(block, int) and not isinstance(block, bool) and 0 <= block < len(layout.blocks):
        return layout.blocks[block]
    if block in layout.blocks:
        return str(block)
    last = len(layout.blocks) - 1
    hint = f"give a number from 0 to {last}" if isinstance(block, int) else nearest(str(block), list(layout.blocks))
    raise UnknownName(f"the schedule names block {block!r}, which the model does not have; {hint}")


def _within(budget: Budget, counter: TokenCounter, layout: TokenLayout, score: str, fuse: bool) -> Sequence[KeepTokens]:
    """One keep ratio for all stages, the largest that the budget allows."""
    if not isinstance(budget, Budget):
        raise TypeError(f"budget is {budget!r}; make one with infoprune.budgets.macs(keep=0.6)")
    if not isinstance(budget, macs):
        raise ValueError(f"tokens are priced in MACs, not in {budget.resource}; use infoprune.budgets.macs(...)")
    stages, limit = usual_stages(layout), budget.limit(counter.macs(()))

    def at(steps: int) -> list[KeepTokens]:
        return edits_for(dict.fromkeys(stages, steps / STEPS), layout, score=score, fuse=fuse)

    low, high = _lowest(at), STEPS
    cheapest = counter.macs(at(low))
    if cheapest > limit:
        raise Infeasible(
            f"macs <= {limit:.15g} cannot be met: the cheapest reachable price is {cheapest}; raise the limit"
        )
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if counter.macs(at(middle)) <= limit else (low, middle - 1)
    return at(low)


def usual_stages(layout: TokenLayout) -> list[str]:
    """The blocks at a quarter, a half and three quarters of the depth, as DynamicViT has them."""
    depth = len(layout.blocks)
    return [layout.blocks[i] for i in sorted({max(1, depth * quarter // 4) for quarter in (1, 2, 3)}) if i < depth]


def _lowest(at: Callable[[int], object]) -> int:
    """The smallest ratio that leaves every stage a token."""
    for steps in range(1, STEPS):
        try:
            at(steps)
        except ValueError:
            continue
        return steps
    return STEPS


def _image(model: nn.Module, layout: TokenLayout) -> Tensor:
    """One image of noise, of the size that the model was built for."""
    like = next(model.parameters())
    noise = torch.randn(1, *layout.image, generator=torch.Generator().manual_seed(0))
    return noise.to(device=like.device, dtype=like.dtype)
