"""PruneCallback: prune between two steps of a Lightning Trainer, whose optimizers, schedulers and averages go on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils import _pytree as pytree

from infoprune.artifact import save
from infoprune.compensation import Compensation
from infoprune.errors import InfopruneError
from infoprune.integrations import toolkit
from infoprune.integrations.pruning_callback import cut_
from infoprune.surgery import Plan, prune_, rebuild_optimizer

with toolkit("lightning", extra="lightning"):
    from lightning.pytorch import Callback, LightningModule, Trainer

Planner = Callable[[nn.Module, Any], Plan]


class PruneCallback(Callback):
    """Before step `s` of the training, carry out the plan that `stages[s](network, example_inputs)` makes.

    Steps are the trainer's `global_step`, counted from 0 over the whole training. Every `AveragedModel` of the network
    that the module or another callback keeps is cut likewise. A run that is resumed behind a stage starts from the
    network that `infoprune.load(directory)` gives. `compensations` tells what `compensate` did.

    Args:
        example_inputs: What the network takes.
        stages: By step, what makes the plan.
        network: Name of the submodule that is pruned; by default all of the module.
        directory: Where the network is saved when the fit ends, if at all.
        compensate: A loader of what the network takes, such as the training's own, whose labels are not read: with it
            what left is said by what stays before the step is taken, in averages too.
    """

    def __init__(
        self,
        example_inputs: Any,
        stages: Mapping[int, Planner],
        *,
        network: str = "",
        directory: str | os.PathLike[str] | None = None,
        compensate: Iterable[Any] | None = None,
    ) -> None:
        self.example_inputs = example_inputs
        self.stages = dict(stages)
        self.network = network
        self.directory = None if directory is None else Path(directory)
        self.compensate = compensate
        self.plans: dict[int, Plan] = {}
        self.compensations: dict[int, Compensation] = {}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        step = trainer.global_step
        if step not in self.stages or step in self.plans:
            return
        network = pl_module.get_submodule(self.network)
        self._refuse_what_would_break(trainer, network)
        inputs = pytree.tree_map(lambda x: x.to(pl_module.device) if isinstance(x, Tensor) else x, self.example_inputs)
        plan = self.stages[step](network, inputs)
        done = cut_(network, plan, lambda net: prune_(net, inputs, plan), self.compensate)
        for average in self._averages(trainer, pl_module):
            cut_(average, plan, lambda net: prune_(net, inputs, plan, certify=False), self.compensate)
        if done is not None:
            self.compensations[step] = done
        for optimizer in trainer.optimizers:
            rebuild_optimizer(optimizer, plan, network)
        self.plans[step] = plan

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.directory is not None:
            done = list(self.compensations.values())
            save(self.directory, pl_module.get_submodule(self.network), list(self.plans.values()), compensation=done)

    def state_dict(self) -> dict[str, Any]:
        return {
            "plans": {step: plan.to_json() for step, plan in self.plans.items()},
            "compensations": {step: done.to_json() for step, done in self.compensations.items()},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.plans = {int(step): Plan.from_json(text) for step, text in state_dict["plans"].items()}
        done = state_dict.get("compensations", {})
        self.compensations = {int(step): Compensation.from_json(entry) for step, entry in done.items()}

    def _averages(self, trainer: Trainer, pl_module: LightningModule) -> Iterator[nn.Module]:
        """The averaged copies of the network, wherever they are kept."""
        kept = [m for m in pl_module.modules() if isinstance(m, AveragedModel)]
        kept += [v for c in vars(trainer)["callbacks"] for v in vars(c).values() if isinstance(v, AveragedModel)]
        for average in kept:
            whole = type(average.module) is type(pl_module)
            yield average.module.get_submodule(self.network) if whole else average.module

    def _refuse_what_would_break(self, trainer: Trainer, network: nn.Module) -> None:
        if trainer.world_size > 1:
            raise InfopruneError(
                f"training runs in {trainer.world_size} processes, which exchange gradients of the old shapes; prune "
                "in one process and start the others from the pruned network"
            )
        inside = {id(p) for p in network.parameters()}
        held = [p for o in trainer.optimizers for group in o.param_groups for p in group["params"]]
        if any(id(p) not in inside for p in held):
            raise InfopruneError(
                f"an optimizer holds parameters outside {self.network!r}, which surgery on it alone would drop; leave "
                "network= out to prune the whole module, or give them an optimizer of their own after the last stage"
            )
