"""What left is said by what stays: of an artefact, or right after surgery."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace

from torch import nn

from infoprune.artifact import read_config, save
from infoprune.artifact.config import Config
from infoprune.artifact.saving import require_free
from infoprune.cli.artefacts import loaded, section_of
from infoprune.cli.output import Result, kept_if_unwritten
from infoprune.cli.progress import steps
from infoprune.cli.running import judged_on
from infoprune.cli.sections import Request, for_data
from infoprune.compensation import Compensation, compensate_
from infoprune.data import Task
from infoprune.errors import BadArtifact, BadRecipe
from infoprune.models.checkpoint import load_weights
from infoprune.recipe.checks import check_kind, check_width
from infoprune.recipe.evidence import first_of
from infoprune.recipe.networks import build_network
from infoprune.recipe.recovery import check_pictures
from infoprune.recipe.sections import CompensateSection, Recipe
from infoprune.recipe.task_kinds import KINDS
from infoprune.recipe.tasks import task_of


def compensate_command(arguments: argparse.Namespace) -> Result:
    """Refit the readers of an artefact whose weights are still those that surgery left."""
    require_free(arguments.out)
    place, model, factory = loaded(arguments.artefact, arguments)
    recipe = for_data(arguments, section_of(place, arguments), "compensate")
    config = read_config(place, member=arguments.member)
    with steps(6) as step:
        step(f"reading {recipe.data.name}")
        task = task_of(recipe)
        check_kind(recipe, task)
        check_pictures(recipe, task)
        check_width(place, model, task)
        step("loading the dense network")
        dense = _dense(config, factory, arguments)
        step("judging the network as it came")
        before, _ = judged_on(model, task, recipe)
        step("refitting readers")
        done = refitted(recipe, task, model, dense, config)
        step("judging the network as it is now")
        after, judged = judged_on(model, task, recipe)
        text = f"{done}\nas it came  {before}\nrefitted    {after}"
        data = {"out": str(arguments.out), "compensation": done.to_json(), **judged}
        step(f"writing {arguments.out}")
        with kept_if_unwritten(Result(text, data)):
            save(arguments.out, model, config.plans, factory=factory, compensation=[*config.compensations, done])
    call = config.architecture.call(arguments.out)
    return Result(f"{text}\nload it with  {call}", {**data, "load_with": call})


def with_pictures(asks: Request) -> Request:
    """The same, once there are pictures enough to compensate with."""
    recipe = replace(asks.recipe, compensate=asks.recipe.compensate or CompensateSection())
    request = replace(asks, recipe=recipe)
    assert request.task is not None
    check_pictures(recipe, request.task)
    return request


def refitted(
    recipe: Recipe, task: Task, model: nn.Module, dense: nn.Module, config: Config | None = None
) -> Compensation:
    """Compensate the model in place. An artefact brings its plans; what was pruned here is known by its own."""
    samples = (recipe.compensate or CompensateSection()).samples
    plans = None if config is None else config.plans
    loader = KINDS[task.kind].calibration(first_of(recipe, task, samples))
    return compensate_(model, dense, loader, samples=samples, plan=plans, progress=True)


def _dense(config: Config, factory: Callable[[], nn.Module] | None, arguments: argparse.Namespace) -> nn.Module:
    """The network that was pruned, with the weights that it had."""
    architecture = config.architecture
    if architecture.source == "transformers":
        raise BadArtifact(
            f"{arguments.artefact} was made from {architecture.name}, whose dense weights no command can read; call "
            "infoprune.compensate_(model, dense, loader, plan=...) from Python"
        )
    if arguments.pretrained:
        if factory is not None:
            raise BadRecipe(f"{architecture.name} has no published weights; give --dense those that it was pruned with")
        classes = architecture.arguments.get("num_classes")
        return build_network(f"{architecture.source}:{architecture.name}", num_classes=classes, pretrained=True)
    if not arguments.dense.is_file():
        raise BadRecipe(f"--dense {arguments.dense} is not a file; give the weights that the network was pruned with")
    dense = architecture.build(factory)
    load_weights(dense, arguments.dense)
    return dense.eval()
