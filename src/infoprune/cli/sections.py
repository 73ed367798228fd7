"""What a command line asks for, as the sections of a recipe: the same words, the same checks, no work before them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from infoprune.budgets import budgets
from infoprune.cli.inputs import inputs_of
from infoprune.data import Task, named_by
from infoprune.errors import BadRecipe, InfopruneError
from infoprune.importance import rankings
from infoprune.own_code import file_and_name
from infoprune.recipe.basis import Basis, example
from infoprune.recipe.checks import check_kind
from infoprune.recipe.evidence import Evidence
from infoprune.recipe.networks import input_shape, network_of
from infoprune.recipe.reading import set_in
from infoprune.recipe.section_readers import READERS
from infoprune.recipe.sections import UNLESS_TOLD, DataSection, LayerImportanceSection, ModelSection, Recipe
from infoprune.recipe.tasks import task_of

NO_DATA = DataSection("none given")
FLAGS = {  # what sections call it, and what the command does
    "importance.name": "--importance", "layer_importance.name": "--layer-importance", "data.name": "--data",
    "model.name": "MODEL", "model.num_classes": "--num-classes", "model.weights": "--weights", "model.file": "MODEL",
    "data.file": "--data", "data.root": "--data", "budget.round_to": "--round-to", "budget.floor": "--floor",
    "budget.utility": "--utility", "budget.solver": "--solver", "budget.tied": "--tied", "budget.rates": "--rates",
    "budget.ignored_layers": "--ignore", "budget.macs": "--macs", "budget.params": "--params",
    "budget.latency": "--latency", "budget.": "--budget ",
}  # fmt: skip


@dataclass(frozen=True)
class Request:
    """A recipe as far as a verb asks for one."""

    recipe: Recipe
    inputs: Any = None

    @cached_property
    def task(self) -> Task | None:
        """The data, where some were named; read once."""
        if self.recipe.data is NO_DATA:
            return None
        task = task_of(self.recipe)
        check_kind(self.recipe, task)
        return task

    @cached_property
    def model(self) -> nn.Module:
        """The dense network; without data, and unless told, with the classes it usually has."""
        return network_of(self.recipe, self.task.classes if self.task else None)

    @cached_property
    def x(self) -> Any:
        """What was described, one picture of the data, or one of the size that the network was made for."""
        if self.inputs is not None:
            return inputs_of(self.inputs)
        if self.task is not None:
            return example(self.task)
        shape = input_shape(self.recipe.model)
        assert shape is not None
        return torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))

    @property
    def evidence(self) -> Evidence:
        task: Any = self.task
        return Evidence(Basis(self.recipe, self.model, self.x, task, progress=True))


def asked(arguments: argparse.Namespace, *extra: str) -> Request:
    """What the arguments tell of a network, its data and how it is to be pruned."""
    recipe = _read(_sections(arguments), getattr(arguments, "set", []), arguments.verb, *extra)
    _check_data(recipe)
    inputs = getattr(arguments, "input", None)
    if inputs is None and recipe.data is NO_DATA and recipe.model.file and input_shape(recipe.model) is None:
        raise BadRecipe(f"nothing says what {recipe.model.name} takes; add --input, such as --input 1x3x224x224")
    return Request(recipe, inputs)


def for_data(arguments: argparse.Namespace, network: ModelSection, section: str) -> Recipe:
    """A recipe of which data, one more section and seed count: the artefact's own network is made from `network`."""
    parts: dict[str, Any] = {"data": _data(arguments.data), section: {}}
    own = [change for change in arguments.set if not change.startswith("model.options.")]
    return _read(parts, own, arguments.verb, model=network)


def _read(parts: dict[str, Any], changes: list[str], verb: str, *extra: str, **sections: Any) -> Recipe:
    """The recipe of these sections, changed by --set where that names one of theirs or of `extra`."""
    known = {*parts, *extra, "seed"}
    for change in changes:
        section = change.partition("=")[0].partition(".")[0]
        if section not in known:
            raise BadRecipe(f"--set {change:.80}: {verb} takes keys of {', '.join(sorted(known))}")
        set_in(parts, change)
    try:
        values = {key: READERS[key](value, key) for key, value in parts.items() if value is not None}
    except BadRecipe as error:
        raise BadRecipe(in_its_words(str(error))) from error
    return Recipe(**{"data": NO_DATA, "layer_importance": LayerImportanceSection("uniform"), **sections, **values})


def in_its_words(message: str) -> str:
    """A complaint about a section, by the names of the options that filled it."""
    for section, flag in FLAGS.items():
        if message.startswith(section):
            return flag + message.removeprefix(section)
    return message


def _sections(arguments: argparse.Namespace) -> dict[str, Any]:
    options = vars(arguments)
    sections: dict[str, Any] = {"model": _model(arguments)}
    if options.get("data") is not None:
        sections["data"] = _data(arguments.data)
    if "importance" in options:
        usual = {"name": UNLESS_TOLD.name, **UNLESS_TOLD.options}
        sections["importance"] = usual if arguments.importance is None else {"name": arguments.importance}
    if "layer_importance" in options:
        sections["layer_importance"] = {"name": arguments.layer_importance or "uniform"}
    if "limits" in options:
        sections["budget"] = _budget(arguments)
    return sections


def _data(text: str) -> dict[str, Any]:
    try:
        return dict(named_by(text))
    except InfopruneError as error:
        raise BadRecipe(f"--data: {error}") from error


def _model(arguments: argparse.Namespace) -> dict[str, Any]:
    own = file_and_name(arguments.model)
    named = {"name": arguments.model} if own is None else {"file": str(own[0]), "name": own[1]}
    more = {"num_classes": arguments.num_classes, "weights": arguments.weights and str(arguments.weights)}
    return {**named, "pretrained": arguments.pretrained, **{k: v for k, v in more.items() if v is not None}}


def _budget(arguments: argparse.Namespace) -> dict[str, Any]:
    if not arguments.limits and not arguments.rates:
        raise BadRecipe("nothing says how much is to stay; add a budget such as --macs 0.5, or --rates 0.5")
    if arguments.limits and arguments.rates:
        raise BadRecipe("--rates says what leaves every layer and a budget how much stays in all; give one of them")
    for name, _ in arguments.limits:
        budgets[name]  # UnknownName lists those that there are
    options = {name: getattr(arguments, name) for name in ("round_to", "utility", "solver")}
    shares = {name: _shares(getattr(arguments, name)) for name in ("floor", "rates")}
    layers: dict[str, Any] = {"ignored_layers": arguments.ignore} if arguments.ignore else {}
    if arguments.tied:
        layers["tied"] = True if True in arguments.tied else arguments.tied
    limits = {name: _sizes(limit) for name, limit in arguments.limits}
    return {**limits, **{k: v for k, v in {**options, **shares}.items() if v is not None}, **layers}


def _sizes(limit: str) -> str | list[str]:
    """One limit, or those of several sizes: 0.75,0.5,0.35."""
    return limit.split(",") if "," in limit else limit


def _shares(shares: list[tuple[str | None, float]]) -> Any:
    """One share for all layers, or one a name; a bare one among those is for all."""
    if not shares:
        return None
    if len(shares) == 1 and shares[0][0] is None:
        return shares[0][1]
    return {name or "*": share for name, share in shares}


def _check_data(recipe: Recipe) -> None:
    """Raise where something scores by data and none were named."""
    if recipe.data is not NO_DATA:
        return
    wanting = [recipe.importance.name] if rankings[recipe.importance.name].about.needs_data else []
    wanting += [recipe.layer_importance.name] if recipe.layer_importance.name != "uniform" else []
    if wanting:
        raise BadRecipe(f"{wanting[0]} scores by data; add --data, a data set's name or a path")
