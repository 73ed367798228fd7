"""PruneCallback: prune between two steps of a Trainer, whose optimizer, scheduler and checkpoints go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from infoprune.errors import InfopruneError
from infoprune.integrations.transformers.pruned import prune_
from infoprune.surgery import Plan, rebuild_optimizer


class PruneCallback(TrainerCallback):
    """Before step `s` of the training, carry out the plan that `stages[s](model)` makes.

    `stages` counts optimizer steps from 0, so a run that is resumed from a checkpoint repeats none; it starts from the
    pruned network, `AutoModelFor....from_pretrained(checkpoint)`. Plans are certified on `example_inputs`.
    The best checkpoint so far is forgotten: it has other shapes, and can't be loaded into the pruned network.
    """

    def __init__(self, example_inputs: Any, stages: Mapping[int, Callable[[nn.Module], Plan]]) -> None:
        self.example_inputs = example_inputs
        self.stages = dict(stages)

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: Any = None,
        optimizer: Any = None,
        **others: Any,
    ) -> None:
        planned = self.stages.get(state.global_step)
        if planned is None:
            return
        if args.world_size > 1:
            raise InfopruneError(
                f"training runs in {args.world_size} processes, whose gradients are exchanged by the old shapes; prune "
                "in one process and start the others from the pruned network"
            )
        plan = planned(model)
        prune_(model, self.example_inputs, plan)
        rebuild_optimizer(optimizer, plan, model)
        state.best_metric = state.best_model_checkpoint = None
