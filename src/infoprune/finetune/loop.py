"""One plain loop. Every step is a pure function of (state, seed, step), so that going on is exact."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_map_only

from infoprune.data import Examples, First, Steps
from infoprune.data.randomness import mixed
from infoprune.finetune.callbacks import Ended, Progress, Surroundings, Trained
from infoprune.finetune.checkpoints import Checkpoints, State
from infoprune.finetune.domain import ASKED, domain_of
from infoprune.finetune.loss import Goal, Mix, Naming, mix_of
from infoprune.finetune.norms import freeze_norms, reestimate_, shared_norms
from infoprune.finetune.number_format import autocast, layout_for, precision_on
from infoprune.finetune.optimizers import named, optimizer_of, restore, state_of
from infoprune.finetune.options import Norms, Training
from infoprune.finetune.probing import FEWEST, JUDGED, mean_loss, probed
from infoprune.finetune.schedule import rate_at
from infoprune.finetune.sharding import sharded, whole
from infoprune.observe import kept_randomness
from infoprune.processes import Processes

LOGS_PER_EPOCH, LEAST_STEPS = 10, 5  # how often progress is told


def train(
    model: nn.Module,
    examples: Examples,
    training: Training,
    *,
    batch: int,
    seed: int = 0,
    classes: int = 0,
    teacher: nn.Module | None = None,
    goal: Goal | None = None,
    around: Surroundings | None = None,
) -> Trained:
    """Train `model` in place on `examples`, going on from the newest checkpoint if there is one.

    The same arguments give bitwise the same weights on the same CPU and number of threads, however often the process
    was killed in between. Under torchrun processes share each batch.

    Args:
        model: The network; its weights change.
        examples: What to learn from.
        training: How: epochs, rates, augmentations.
        batch: Examples in a step, over all processes.
        seed: Of the order of the examples and of mixing.
        classes: How many there are; mixup and cutmix need it.
        teacher: Usually the dense model; gives answers to learn from, weighted by `training.distill`.
        goal: What to learn; by default the names of classes.
        around: Where checkpoints go, who is told, and who may stop it.
    """
    around, goal = around or Surroundings(), goal or Naming()
    processes = Processes.now()
    if batch % processes.world:
        raise ValueError(f"the batch of {batch} cannot be shared by {processes.world} processes; give a multiple")
    with ExitStack() as stack:
        stack.enter_context(kept_randomness())
        steps = Steps(examples, batch, seed, processes.rank, processes.world)
        try:
            run = _Run(model, steps, training, goal, mix_of(training, classes, seed), teacher, around)
        except _Stopped:
            return Trained(0, 0, 0.0, "stopped")
        ended = run.until_the_end()
        run.hand_over()
    return Trained(run.step, run.step * batch, run.seconds, ended)


class _Stopped(Exception):
    """Somebody asked to stop while rates were tried; what is there depends on nothing of it."""


class _Run:
    def __init__(
        self, model: nn.Module, steps: Steps, training: Training, goal: Goal, mix: Mix, teacher: nn.Module | None,
        around: Surroundings,
    ):  # fmt: skip
        self.model, self.data, self.training, self.around = model, steps, training, around
        self.goal, self.mix = goal, mix
        self.device = next(model.parameters()).device
        self.teacher = teacher.eval() if teacher is not None and training.distill > 0 else None
        self.processes = Processes.now()
        self.total = max(0, round(training.epochs * steps.per_epoch))
        self.step, self.seconds, self.losses = 0, 0.0, torch.zeros(2, dtype=torch.float64)
        self._prepare()

    def _prepare(self) -> None:
        self._suit_the_machine()
        self.kept = None
        if self.around.checkpoints is not None:
            self.kept = Checkpoints(self.around.checkpoints, self.around.say if self.processes.first else _quiet)
        state = self.kept.newest() if self.kept else None
        self.frozen = self._frozen(state)
        self.training = replace(self.training, lr=self._rate(state))
        if state is None:
            self._reestimate()
        else:
            self.model.load_state_dict(named(state.tensors, "model."))
        self.ema = _average(self.model, self.training.ema)
        self.spread = self.training.shard and self.processes.world > 1
        with shared_norms(self.model):  # the parts that are spread stay so
            self.net = sharded(self.model) if self.spread else self.model
        self.optimizer = optimizer_of(self.net, self.training, fused=not self.spread)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        if state is not None:
            self._restore(state)
            self.around.say(f"going on from step {self.step} of {self.total}")
        self.forward = self._wrapped()

    def until_the_end(self) -> Ended:
        with shared_norms(self.model):  # not before: statistics are renewed by every process on all pictures
            return self._until_the_end()

    def _until_the_end(self) -> Ended:
        self.net.train()
        if self.frozen:
            freeze_norms(self.net)
        started, saved = time.perf_counter() - self.seconds, time.perf_counter()
        batches = self.data.between(self.step, self.total, workers=self.around.workers)
        for images, targets in batches:
            self._one_step(images, targets)
            self.seconds = time.perf_counter() - started
            self._tell()
            ended = self._why_end()
            if ended != "finished" or time.perf_counter() - saved >= self.training.save_seconds:
                self._save()
                saved = time.perf_counter()
            if ended != "finished":
                return ended
        return "finished"

    def hand_over(self) -> None:
        """The averaged weights, if any, become the model's; of a model that was spread, all of them."""
        if self.ema is not None:
            self.model.load_state_dict(self.ema.module.state_dict())
        elif self.spread:
            self.model.load_state_dict(_tensors(self.net))
        self.model.eval()

    def _one_step(self, images: Tensor, targets: Any) -> None:
        self._seed(mixed(self.data.seed, self.step, self.processes.rank))
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.training, self.step, self.total, self.data.per_epoch)
        images, targets = self._placed(images), tree_map_only(Tensor, self._moved, targets)
        images, targets = self.mix(images, targets, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.device, self.training.precision):
            dense = None if self.teacher is None else self._answers(images)
            loss = self.goal.loss(self.forward, images, targets, dense, self.training)
        self.scaler.scale(loss).backward()
        if self.training.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.net.parameters(), self.training.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update(self.net)
        self.losses += torch.stack([loss.detach().double().cpu(), torch.ones((), dtype=torch.float64)])
        self.step += 1

    @torch.no_grad()
    def _answers(self, images: Tensor) -> Any:
        assert self.teacher is not None
        return self.teacher(images)

    def _why_end(self) -> Ended:
        """Processes agree: one that must stop stops all."""
        late = self.training.minutes is not None and self.seconds > 60 * self.training.minutes
        asked = self.processes.mean(torch.tensor([float(self.around.stop()), float(late)], device=self.device))
        return "stopped" if asked[0] > 0 else "out of time" if asked[1] > 0 else "finished"

    def _tell(self) -> None:
        every = max(LEAST_STEPS, self.data.per_epoch // LOGS_PER_EPOCH)
        if self.step % every and self.step != self.total:
            return
        loss = float(self.processes.mean((self.losses[0] / self.losses[1]).to(self.device)))
        self.losses.zero_()
        rate = self.optimizer.param_groups[0]["lr"]
        self.around.note(Progress(self.step, self.total, self.step * self.data.batch, loss, rate, self.seconds))

    # ------------------------------------------------------------------------------------------------- state

    def _save(self) -> None:
        if self.kept is not None and (self.processes.first or self.spread):
            facts = {"seconds": self.seconds, "losses": self.losses.tolist(), "scaler": self.scaler.state_dict()}
            facts |= {"frozen": self.frozen, "lr": self.training.lr}
            tensors = {f"model.{name}": value for name, value in _tensors(self.net).items()}
            if self.ema is not None:
                tensors |= {f"ema.{name}": value for name, value in _tensors(self.ema.module).items()}
            held, numbers = state_of(self.optimizer)
            if self.processes.first:
                self.kept.write(State(self.step, tensors | held, {**facts, "optimizer": numbers}))
        self.processes.wait()

    def _restore(self, state: State) -> None:
        self.step, self.seconds = state.step, state.facts["seconds"]
        self.losses = torch.tensor(state.facts["losses"], dtype=torch.float64)
        self.scaler.load_state_dict(state.facts["scaler"])
        if self.ema is not None:
            self.ema.module.load_state_dict(named(state.tensors, "ema."))
        restore(self.optimizer, named(state.tensors, "optimizer."), state.facts["optimizer"])

    # ---------------------------------------------------------------------------------------------- the machine

    def _suit_the_machine(self) -> None:
        precision = precision_on(self.device, self.training.precision)
        layout = layout_for(self.model, self.device, self.training.channels_last)
        self.around.say(f"training in {precision}, {layout}")
        self.precision = precision.used
        self.layout = torch.channels_last if layout.used == "channels last" else torch.contiguous_format
        for net in filter(None, (self.model, self.teacher)):
            net.to(memory_format=self.layout)

    def _frozen(self, state: State | None) -> bool:
        """Whether norms keep their statistics; what was found when training began stays so."""
        if self.training.norms != "auto" or self.teacher is None:
            return self.training.norms == "frozen"
        if state is not None:
            return bool(state.facts.get("frozen", False))
        domain = domain_of(self.teacher, self._first(ASKED))
        if domain.agreement is not None:
            self.around.say(str(domain))
        return not domain.alike

    def _rate(self, state: State | None) -> float:
        """The peak of the schedule; what was found when training began stays so."""
        if not self.training.probe or self.total * self.training.probe < FEWEST:
            return self.training.lr
        if state is not None:
            return state.facts.get("lr", self.training.lr)
        norms: Norms = "frozen" if self.frozen else "moving"
        outcome = probed(self.model, replace(self.training, norms=norms), self._attempt)
        self.around.say(str(outcome))
        return outcome.best

    def _attempt(self, model: nn.Module, training: Training) -> float:
        """The loss of a copy after this training, on the batches behind the last one of the whole training."""
        quiet = Surroundings(workers=self.around.workers, stop=self.around.stop)
        trial = _Run(model, self.data, training, self.goal, self.mix, self.teacher, quiet)
        if trial.until_the_end() == "stopped":
            raise _Stopped
        trial.hand_over()
        batches = self.data.between(self.total, self.total + JUDGED, workers=self.around.workers)
        loss = mean_loss((trial.judged(images, targets) for images, targets in batches))
        return float(self.processes.mean(torch.tensor(loss, device=self.device)))

    @torch.no_grad()
    def judged(self, images: Tensor, targets: Any) -> Tensor:
        """The loss in evaluation mode."""
        images, targets = self._placed(images), tree_map_only(Tensor, self._moved, targets)
        with autocast(self.device, self.training.precision):
            dense = None if self.teacher is None else self._answers(images)
            return self.goal.loss(self.model, images, targets, dense, self.training)

    def _reestimate(self) -> None:
        if self.training.reestimate and not self.frozen:
            with autocast(self.device, self.training.precision):
                reestimate_(self.model, self._first(self.training.reestimate))

    def _first(self, pictures: int) -> Iterator[Tensor]:
        loader = First(self.data.examples, pictures, self.data.batch, self.data.seed)
        return (self._placed(images) for images, _ in loader)

    def _wrapped(self) -> nn.Module:
        net: Any = self.net
        if self.processes.world > 1 and not self.spread:
            net = DistributedDataParallel(net, device_ids=[self.device] if self.device.type == "cuda" else None)
        network: Any = torch.compile(net) if self.training.compile else net
        return network

    def _placed(self, images: Tensor) -> Tensor:
        layout = self.layout if images.dim() == 4 else torch.contiguous_format
        return images.to(self.device, non_blocking=True, memory_format=layout)

    def _seed(self, seed: int) -> None:
        """torch.manual_seed would write down the call stack for every kind of accelerator, a hundredth of all time."""
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _moved(self, target: Tensor) -> Tensor:
        return target.to(self.device, non_blocking=True)


def _average(model: nn.Module, decay: float | None) -> Any:
    if decay is None:
        return None
    from timm.utils import ModelEmaV3

    return ModelEmaV3(model, decay=decay)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: whole(value) for name, value in model.state_dict().items() if isinstance(value, Tensor)}


def _quiet(message: str) -> None:
    """Worker 0 speaks for all."""
