"""What a recipe costs and saves, without touching data or writing anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from infoprune.budgets import Counted
from infoprune.errors import Infeasible
from infoprune.importance import importances
from infoprune.measure import measure
from infoprune.planning import plan
from infoprune.recipe.cuts import cuts_of, options_of
from infoprune.recipe.networks import build_network
from infoprune.recipe.sections import Recipe

SIZES = {
    "digits": 16, "digits_on_photos": 32, "cifar10": 32, "cifar100": 32, "coco": 550, "coco_instances": 550,
    "scenes": 64, "cityscapes": 256,
}  # fmt: skip
CLASSES = {
    "digits": 10, "digits_on_photos": 10, "cifar10": 10, "cifar100": 100, "imagenet": 1000, "stamps": 1000,
    "coco_instances": 81, "scenes": 8, "cityscapes": 19,
}  # fmt: skip
WIDE = ("scenes", "cityscapes")  # twice as wide as high


@dataclass(frozen=True)
class Priced:
    """The dense network, the cuts, and what channels would be left with random weights and even layer weights."""

    params: int
    macs: int
    cuts: tuple[str, ...]
    params_after: int | None
    macs_after: int | None
    epochs: float

    def __str__(self) -> str:
        lines = [f"dense        {self.params:>15,} parameters {self.macs:>17,} MACs a picture"]
        if self.macs_after is not None and self.params_after is not None:
            kept = f"({self.params_after / self.params:.1%} and {self.macs_after / self.macs:.1%} remain)"
            lines.append(f"after        {self.params_after:>15,} parameters {self.macs_after:>17,} MACs  {kept}")
        lines += [f"{i}. {cut}" for i, cut in enumerate(self.cuts, 1)]
        return "\n".join(
            [*lines, f"training     {self.epochs:g} epochs in all; no data were read, nothing was written"]
        )


def price(recipe: Recipe) -> Priced:
    """Build the network with random weights and plan its channels by them: prices depend on counts alone."""
    classes = recipe.model.num_classes or CLASSES.get(recipe.data.name)
    model = build_network(recipe.model.name, num_classes=classes)
    size = recipe.data.size or SIZES.get(recipe.data.name, 224)
    width = 2 * size if recipe.data.name in WIDE else size
    x = torch.randn(1, 3, size, width, generator=torch.Generator().manual_seed(0))
    dense, cuts = measure(model, x), cuts_of(recipe, model, x)
    after = _after(recipe, model, x) if any(cut.kind == "width" for cut in cuts) and len(cuts) == 1 else None
    short = 3 * recipe.report.baseline_epochs * sum(cut.kind == "width" for cut in cuts)
    tuned = sum(cut.kind != "features" for cut in cuts)
    epochs = recipe.model.train_epochs + tuned * recipe.finetune.epochs + short
    told = tuple(_told(recipe, cut) for cut in cuts)
    return Priced(dense.params, dense.macs, told, *(after or (None, None)), epochs)


def _after(recipe: Recipe, model: torch.nn.Module, x: torch.Tensor) -> tuple[int, int]:
    assert recipe.budget is not None
    wanted = {"rates": recipe.budget.rates}
    if recipe.budget.rates is None:
        counted = [b for b in recipe.budget.budgets.values() if isinstance(b, Counted)]
        wanted = {"budgets": counted}
        if not counted:
            raise Infeasible("this recipe's budget is priced by measuring; run it without --dry-run")
    made = plan(model, x, importances["independence"](), **wanted, **options_of(recipe.budget))
    return made.prices["params"].after, made.prices["macs"].after


def _told(recipe: Recipe, cut: Any) -> str:
    if cut.kind == "depth":
        return f"blocks: {cut.units} units stay, then {recipe.finetune.epochs:g} epochs"
    if recipe.split is not None and cut.kind == "features":
        rest = "the others are zero" if recipe.split.qp is None else f"the others at QP {recipe.split.qp}"
        return f"{recipe.split.share:.0%} of the features of {recipe.split.at} travel, {rest}"
    what = {"width": "channels", "joint": "blocks and channels", "tokens": "tokens"}[cut.kind]
    limits = recipe.budget.limits if recipe.budget and cut.kind != "tokens" else {}
    told = ", ".join(f"{unit} {amount}" for unit, amount in limits.items())
    return f"{what}{f' ({told})' if told else ''}, then {recipe.finetune.epochs:g} epochs"
