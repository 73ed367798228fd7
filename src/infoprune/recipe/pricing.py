"""What a recipe costs and saves, and whether it is sound, without training or writing anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from infoprune.data import Task
from infoprune.finetune.probing import FACTORS
from infoprune.measure import Measurement, measure
from infoprune.recipe.basis import example
from infoprune.recipe.checks import check_classes, check_kind
from infoprune.recipe.cuts import Cut, cuts_of
from infoprune.recipe.members import members_of, sizes_of, width_of
from infoprune.recipe.networks import network_of
from infoprune.recipe.rehearsal import rehearsed, rehearsed_ends, rehearsed_family
from infoprune.recipe.sections import Recipe, epochs
from infoprune.recipe.tasks import task_of, task_of_noise

OF_BLOCKS = ("depth", "joint")  # the cuts whose price depends on which blocks leave


@dataclass(frozen=True)
class Priced:
    """The dense network, the cuts, and what they leave; `unsure` says what only the data can tell about that.

    `reach` holds the least and the most that choices of blocks leave.
    """

    params: int
    macs: int
    cuts: tuple[str, ...]
    params_after: int
    macs_after: int
    epochs: float
    unsure: tuple[str, ...] = ()
    read: bool = False
    reach: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def __str__(self) -> str:
        read = "the" if self.read else "no"
        kept = f"({self.params_after / self.params:.1%} and {self.macs_after / self.macs:.1%} remain)"
        return "\n".join(
            [
                f"dense        {self.params:>15,} parameters {self.macs:>17,} MACs a picture",
                f"after        {self.params_after:>15,} parameters {self.macs_after:>17,} MACs  {kept}",
                *(f"{i}. {cut}" for i, cut in enumerate(self.cuts, 1)),
                *(f"not certain  {why}" for why in self.unsure),
                *self._choices(),
                f"training     {epochs(self.epochs)} in all; {read} data were read, nothing was written",
            ]
        )

    def _choices(self) -> list[str]:
        if not self.reach:
            return []
        (few, many), (cheap, dear) = self.reach["params"], self.reach["macs"]
        return [f"choices      about {few:,} to {many:,} parameters, {cheap:,} to {dear:,} MACs, by which blocks leave"]


def price(recipe: Recipe) -> Priced:
    """Rehearse every cut of the recipe on a network with random weights."""
    noise = task_of_noise(recipe)
    task = noise or task_of(recipe)
    model, x, cuts = _dense(recipe, task)
    after = measure(rehearsed(recipe, model, task, cuts), x)
    reached = _reach(recipe, model, task, cuts)
    return _priced(recipe, cuts, measure(model, x), after, read=noise is None, reach=reached)


def price_family(recipe: Recipe) -> dict[str, Priced]:
    """The same of every member of a recipe that lists several sizes, by its name."""
    members = members_of(recipe)
    first = next(iter(members.values()))
    noise = task_of_noise(first)
    task = noise or task_of(first)
    model, x, cuts = _dense(first, task)
    dense, prices = measure(model, x), dict[str, Priced]()
    networks = rehearsed_family(first, model, task, width_of(cuts), [*sizes_of(recipe).values()])
    for (name, one), network in zip(members.items(), networks, strict=True):
        own = cuts_of(one, model, x)
        prices[name] = _priced(one, own, dense, measure(network, x), read=noise is None)
    return prices


def _dense(recipe: Recipe, task: Task) -> tuple[nn.Module, Tensor, list[Cut]]:
    check_kind(recipe, task)
    model, x = network_of(recipe, task.classes, published=False), example(task)
    check_classes(recipe, task, model, x)
    return model, x, cuts_of(recipe, model, x)


def _priced(
    recipe: Recipe,
    cuts: Sequence[Cut],
    dense: Measurement,
    after: Measurement,
    *,
    read: bool,
    reach: Mapping[str, tuple[int, int]] | None = None,
) -> Priced:
    trained = recipe.model.train_epochs
    for cut in cuts:
        compared = 1 + len(cut.rivals) if cut.epochs else 0
        tried, tried_by_each = (1 + len(FACTORS) * probe for probe in (recipe.finetune.probe, cut.probe))
        trained += compared * tried_by_each * cut.epochs + cut.trial_epochs
        trained += tried * recipe.finetune.epochs if cut.tuned else 0
    unsure = tuple(dict.fromkeys(filter(None, (cut.unsure() for cut in cuts))))
    words = tuple(cut.words() for cut in cuts)
    return Priced(dense.params, dense.macs, words, after.params, after.macs, trained, unsure, read, reach or {})


def _reach(recipe: Recipe, model: nn.Module, task: Task, cuts: Sequence[Cut]) -> dict[str, tuple[int, int]]:
    """Between which prices the choices of blocks lie, once the cuts after them are done; empty where none leave."""
    last = max((i for i, cut in enumerate(cuts) if cut.kind in OF_BLOCKS), default=None)
    if last is None:
        return {}
    finals = [
        rehearsed(recipe, left, task, cuts[last + 1 :]) for left in rehearsed_ends(recipe, model, task, cuts[last])
    ]
    measurements = [measure(final, example(task)) for final in finals]
    return {
        "macs": (min(m.macs for m in measurements), max(m.macs for m in measurements)),
        "params": (min(m.params for m in measurements), max(m.params for m in measurements)),
    }
