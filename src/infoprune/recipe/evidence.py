"""The importance and the layer importance of a recipe, with what they have seen of the data."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any

from torch import Tensor

from infoprune.data import First, Task
from infoprune.finetune import Processes
from infoprune.importance import rankings
from infoprune.layerwise import layerwise
from infoprune.observe import Observations, kept_randomness, observe
from infoprune.observe.tasks import TaskObservations, observe_tasks
from infoprune.recipe.basis import Basis
from infoprune.recipe.sections import Recipe
from infoprune.recipe.task_kinds import KINDS

OFFERED = ("seen", "model", "loader", "importance")  # evidence that a recipe can give, by the parameter's name
SEEN = (Observations, TaskObservations)


class Evidence:
    """What a recipe's criteria are given for one network; each piece is had when something asks for it."""

    def __init__(self, basis: Basis):
        self.basis, self.recipe = basis, basis.recipe

    @cached_property
    def importance(self) -> Callable[[Any], Any]:
        section = self.recipe.importance
        factory = rankings[section.name]
        return factory(**self._evidence_for(factory, ("seen", "model", "loader"), quick=True), **section.options)

    @cached_property
    def layers(self) -> Any:
        """None where all layers count alike, or where rates leave nothing to weigh."""
        section, budget = self.recipe.layer_importance, self.recipe.budget
        if section.name == "uniform" or budget is None or budget.rates is not None:
            return None
        factory = layerwise[section.name]
        usual = {
            "samples": self.recipe.data.calibration,
            "utility": budget.utility,
            "ignored_layers": budget.ignored_layers,
            "progress": self.basis.progress,
        }
        known = inspect.signature(factory).parameters
        options = {name: value for name, value in usual.items() if name in known} | dict(section.options)
        try:
            return factory(**self._evidence_for(factory, OFFERED), **options)
        except _Asked:
            return None  # it took its options and would measure now

    @cached_property
    def seen(self) -> Observations:
        """One pass; processes share the batches and merge what they saw."""
        us = Processes.now()
        moments = rankings[self.recipe.importance.name].about.needs_moments
        observations = observe(
            self.basis.model, self.loader(us.rank, us.world), progress=self.basis.progress, moments=moments
        )
        return observations.all_reduce() if us.world > 1 else observations

    @cached_property
    def tasks_seen(self) -> TaskObservations:
        """One pass that sets layers beside what the network gives out; all processes see all pictures."""
        outputs, seed = KINDS[self.basis.task.kind].outputs, self.recipe.seed
        first = self._first()
        options: Any = {"samples": first.total, "progress": self.basis.progress}
        with kept_randomness():
            return observe_tasks(self.basis.model, pictures(first), outputs=outputs, seed=seed, **options)

    def loader(self, rank: int = 0, world: int = 1) -> Iterable[Any]:
        """This process's share of the calibration pictures, with their labels where these are classes."""
        return KINDS[self.basis.task.kind].calibration(self._first(rank, world))

    def _first(self, rank: int = 0, world: int = 1) -> First:
        return first_of(self.recipe, self.basis.task, self.recipe.data.calibration, rank, world)

    def _evidence_for(
        self, factory: Callable[..., Any], offered: Iterable[str], *, quick: bool = False
    ) -> dict[str, Any]:
        """The evidence that the factory has parameters for; in a rehearsal only what is `quick` reads the noise."""
        wanted = evidence_of(factory)
        give: Mapping[str, Callable[[], Any]] = {
            "seen": lambda: self.tasks_seen if wanted["seen"] is TaskObservations else self.seen,
            "model": lambda: self.basis.model,
            "loader": lambda: self.loader() if quick or not self.basis.rehearsal else _Unread(),
            "importance": lambda: self.importance,
        }
        return {name: give[name]() for name in offered if name in wanted}


def first_of(recipe: Recipe, task: Task, samples: int, rank: int = 0, world: int = 1) -> First:
    """The first pictures of the training half, as this process reads them."""
    return First(task.train, samples, recipe.data.batch, recipe.seed, rank, world)


def evidence_of(factory: Callable[..., Any]) -> dict[str, Any]:
    """Parameters that must be given and are no plain options, with their types."""
    hints = typing.get_type_hints(factory)
    parameters = inspect.signature(factory).parameters.values()
    needed = [p for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    return {p.name: hints.get(p.name) for p in needed}


def unservable(factory: Callable[..., Any]) -> str | None:
    """The first evidence that a recipe has no way to give."""
    wanted = evidence_of(factory)
    known = wanted.get("seen") in (None, *SEEN)
    return next((name for name in wanted if name not in OFFERED), None if known else "seen")


def check_options(factory: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raise what the factory says against these options; no evidence is looked at."""
    with suppress(_Asked):
        factory(**dict.fromkeys(evidence_of(factory), _Unread()), **options)


def pictures(batches: Iterable[tuple[Tensor, Any]]) -> Iterator[Tensor]:
    return (images for images, _ in batches)


class _Asked(Exception):
    """Evidence was looked at, so that the options were fine."""


class _Unread:
    """Stands for evidence that is not there yet, or would take too long."""

    @property
    def __class__(self) -> Any:  # what isinstance() reads
        raise _Asked

    def __iter__(self) -> Iterator[Any]:
        raise _Asked

    def __getattr__(self, name: str) -> Any:
        raise _Asked
