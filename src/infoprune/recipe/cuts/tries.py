"""How few units a stage can do with: every number tried with a short training, as Algorithm 1 leaves it open."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from infoprune.data import Examples, Task
from infoprune.data.randomness import shuffled
from infoprune.errors import Interrupted
from infoprune.finetune import Surroundings, Training, hits, train
from infoprune.recipe.basis import Basis
from infoprune.recipe.parts import Part
from infoprune.recipe.sections import DepthSection
from infoprune.recipe.task_kinds import KINDS
from infoprune.surgery import Plan, prune_

KEPT_BACK, MOST = 10, 2048  # one in so many training pictures, and at most so many, judge what the others taught


def fewest_units(basis: Basis, plans: Mapping[int, Plan], section: DepthSection) -> Plan:
    """The plan with the fewest units whose network is, after the trial, at most `tolerance` worse.

    Worse than the network before the stage, or than the best of the trials where none is as good.
    """
    rest, judges = _parts(basis.task, basis.recipe.seed)
    reached = {count: _after_trial(basis, plan, section.probe, rest, judges) for count, plan in plans.items()}
    before = _accuracy(basis, basis.model, judges)
    least = min(before, max(reached.values())) - section.tolerance
    chosen = min(count for count, accuracy in reached.items() if accuracy >= least)
    tried = [f"{count} units: {accuracy:.2%}" for count, accuracy in reached.items()]
    notes = {"before": f"{before:.2%}", "tried": tried, "tolerance": section.tolerance}
    return replace(plans[chosen], made_by={**plans[chosen].made_by, **notes})


def _after_trial(basis: Basis, plan: Plan, share: float, rest: Examples, judges: Examples) -> float:
    """A whole training in small, taught by the network before the stage."""
    recipe, model = basis.recipe, prune_(copy.deepcopy(basis.model), basis.x, plan, certify=False)
    training = recipe.finetune
    ended = train(
        model,
        rest,
        _short(training, share),
        batch=min(recipe.data.batch, len(rest)),
        seed=recipe.seed,
        classes=basis.task.classes,
        goal=KINDS[basis.task.kind].goal,
        teacher=copy.deepcopy(basis.model) if training.distill > 0 else None,
        around=Surroundings(workers=recipe.data.workers, stop=basis.stop),
    )
    if ended.ended == "stopped":
        raise Interrupted("stopped while numbers of units were tried; the same command tries those of this stage again")
    return _accuracy(basis, model, judges)


def _short(training: Training, share: float) -> Training:
    return replace(
        training,
        epochs=share * training.epochs,
        warmup_epochs=share * training.warmup_epochs,
        norms="moving" if training.norms == "auto" else training.norms,
        probe=0.0,
        ema=None,
        minutes=None,
    )


def _accuracy(basis: Basis, model: nn.Module, judges: Examples) -> float:
    right = hits(model, judges, precision=basis.recipe.finetune.precision, workers=basis.recipe.data.workers)
    return sum(right) / len(right)


def _parts(task: Task, seed: int) -> tuple[Part, Part]:
    """What trials train on and what they are judged by; held-out pictures are for the report."""
    order = shuffled(len(task.train), seed, 0).tolist()
    count = max(1, min(MOST, len(order) // KEPT_BACK))
    return Part(task.train, order[count:]), Part(task.train, order[:count])
