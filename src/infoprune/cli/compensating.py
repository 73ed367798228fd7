"""What left is said by what stays: of an artefact, or right after surgery."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from torch import nn

from infoprune.artifact import load, read_config, save
from infoprune.artifact.loading import Config
from infoprune.artifact.saving import require_free
from infoprune.cli.output import Result
from infoprune.cli.progress import steps
from infoprune.cli.running import for_data, judged_on, task_of
from infoprune.compensation import Compensation, compensate_
from infoprune.data import Task
from infoprune.errors import BadArtifact, BadRecipe
from infoprune.models.checkpoint import load_weights
from infoprune.recipe.checks import check_kind
from infoprune.recipe.evidence import first_of
from infoprune.recipe.kinds import KINDS
from infoprune.recipe.networks import build_network
from infoprune.recipe.recovery import check_pictures
from infoprune.recipe.sections import CompensateSection, Recipe


def compensate_command(arguments: argparse.Namespace) -> Result:
    """Refit the readers of an artefact whose weights are still those that surgery left."""
    require_free(arguments.out)
    recipe, config = asked_of(arguments, "compensate"), read_config(arguments.artefact)
    with steps(6) as step:
        step(f"reading {recipe.data.name}")
        task = data_of(recipe)
        step("loading both networks")
        model, dense = load(arguments.artefact), _dense(config, arguments)
        step("judging the network as it came")
        before, _ = judged_on(model, task, recipe)
        step("refitting readers")
        done = refitted(recipe, task, model, dense, config)
        step("judging the network as it is now")
        after, judged = judged_on(model, task, recipe)
        step(f"writing {arguments.out}")
        save(arguments.out, model, config.plans, compensation=[*config.compensations, done])
    call = config.architecture.call(arguments.out)
    data = {"out": str(arguments.out), "compensation": done.to_json(), **judged, "load_with": call}
    return Result(f"{done}\nas it came  {before}\nrefitted    {after}\nload it with  {call}", data)


def asked_of(arguments: argparse.Namespace, verb: str) -> Recipe:
    """A recipe of which data, compensate and seed count."""
    recipe = for_data(arguments, verb, "compensate")
    return replace(recipe, compensate=recipe.compensate or CompensateSection())


def data_of(recipe: Recipe) -> Task:
    """The data, once they are known to be enough."""
    task = task_of(recipe)
    check_kind(recipe, task)
    check_pictures(recipe, task)
    return task


def refitted(recipe: Recipe, task: Task, model: nn.Module, dense: nn.Module, config: Config | None) -> Compensation:
    """Compensate the model in place. An artefact brings its plans; what was pruned here is known by its own."""
    assert recipe.compensate is not None
    samples, plans = recipe.compensate.samples, None if config is None else config.plans
    loader = KINDS[task.kind].calibration(first_of(recipe, task, samples))
    return compensate_(model, dense, loader, samples=samples, plan=plans, progress=sys.stderr.isatty())


def _dense(config: Config, arguments: argparse.Namespace) -> nn.Module:
    """The network that was pruned, with the weights that it had."""
    made = config.architecture
    if made.source in ("factory", "transformers"):
        raise BadArtifact(
            f"{arguments.artefact} was made from {made.name}, whose dense weights no command can read; call "
            "infoprune.compensate_(model, dense, loader, plan=...) from Python"
        )
    if arguments.pretrained:
        classes = made.arguments.get("num_classes")
        return build_network(f"{made.source}:{made.name}", num_classes=classes, pretrained=True)
    if not arguments.dense.is_file():
        raise BadRecipe(f"--dense {arguments.dense} is not a file; give the weights that the network was pruned with")
    dense = made.build()
    load_weights(dense, arguments.dense)
    return dense.eval()
