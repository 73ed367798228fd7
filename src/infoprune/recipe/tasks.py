"""The data of a recipe, seen as its network wants to see them."""

from __future__ import annotations

import inspect
from pathlib import Path

from infoprune.data import Facts, Noise, Task, View, datasets, facts_of, own_task
from infoprune.recipe.networks import view_of
from infoprune.recipe.sections import Recipe


def task_of(recipe: Recipe) -> Task:
    """What to train on and what to judge by."""
    data, seed = recipe.data, recipe.seed
    if data.file is not None:
        arguments = {"size": data.size, "view": view_of(recipe.model), "options": data.options}
        return own_task(Path(data.file), data.name, data.root, seed=seed, **arguments)
    view = _view(recipe)
    seen = {} if view is None else {"view": view}
    return datasets[data.name](data.root, size=data.size, seed=seed, **seen, **data.options)


def task_of_noise(recipe: Recipe) -> Task | None:
    """Noise of the shape and kind that is known of the data beforehand; None where their files decide."""
    facts = None if recipe.data.file is not None else facts_of(recipe.data.name)
    classes = None if facts is None else facts.classes or recipe.model.num_classes
    if facts is None or classes is None:
        return None
    size = _size(recipe, facts)
    noise = Noise(1, facts.shape(size))
    return facts.task(recipe.data.name, noise, noise, size, classes)


def _size(recipe: Recipe, facts: Facts) -> int:
    view = _view(recipe)
    return facts.height(recipe.data.size or (view.size if view else None))


def _view(recipe: Recipe) -> View | None:
    """For data sets that ask for it."""
    asks = "view" in inspect.signature(datasets[recipe.data.name]).parameters
    return view_of(recipe.model) if asks else None
