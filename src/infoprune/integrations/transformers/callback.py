"""PruneCallback: prune between two steps of a Trainer, whose optimizer, scheduler and checkpoints go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from infoprune.compensation import Compensation
from infoprune.errors import InfopruneError
from infoprune.integrations.pruning_callback import cut_
from infoprune.integrations.transformers.pruned import prune_, tell_
from infoprune.surgery import Plan, rebuild_optimizer

Planner = Callable[[nn.Module, Any], Plan]


class PruneCallback(TrainerCallback):
    """Before step `s` of the training, carry out the plan that `stages[s](model, example_inputs)` makes.

    Steps are the optimizer's, counted from 0 over the whole training, so that a resumed run repeats none; it starts
    from the pruned network, `AutoModelFor....from_pretrained(checkpoint)`. Inputs are moved to the model's device.
    The best checkpoint so far is forgotten: it has other shapes and can't be loaded into the pruned network.
    `compensate` is a loader of the model's inputs, such as the trainer's own, whose labels are not read: with it what
    left is said by what stays before the step is taken. `compensations` and the model's config tell what that did.
    """

    def __init__(
        self, example_inputs: Any, stages: Mapping[int, Planner], *, compensate: Iterable[Any] | None = None
    ) -> None:
        self.example_inputs = example_inputs
        self.stages = dict(stages)
        self.compensate = compensate
        self.compensations: dict[int, Compensation] = {}

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
                f"training runs in {args.world_size} processes, which exchange gradients of the old shapes; prune in "
                "one process and start the others from the pruned network"
            )
        inputs = pytree.tree_map(lambda x: x.to(model.device) if isinstance(x, Tensor) else x, self.example_inputs)
        plan = planned(model, inputs)
        done = cut_(model, plan, lambda _: prune_(model, inputs, plan), self.compensate)
        if done is not None:
            self.compensations[state.global_step] = done
            tell_(model, done)
        rebuild_optimizer(optimizer, plan, model)
        state.best_metric = state.best_model_checkpoint = None
